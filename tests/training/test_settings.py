import math
from typing import Any

import pytest

from sio_data.errors import InputError, UnknownNameError
from sio_data.training.settings import TrainingSettings

OUT_OF_RANGE: list[tuple[dict[str, Any], str]] = [
    ({"alpha": 0}, r"alpha must be a number in \(0, 1\], not 0\."),
    ({"alpha": 1.01}, "alpha must be"),
    ({"alpha": math.nan}, "alpha must be"),
    ({"mix": "sum"}, "mix must be one of batch, loss"),
    ({"real_share": 0.5}, "real_share needs mix=loss"),
    ({"real_share": 0, "mix": "loss"}, r"real_share must be a number in \(0, 1\), not 0"),
    ({"real_share": 1, "mix": "loss"}, "real_share must be"),
    ({"epochs": 0}, "epochs must be a whole number from 1 to 1,000,000, not 0"),
    ({"epochs": 2.0}, r"epochs must be a whole number .* not 2\.0"),
    ({"epochs": True}, "epochs must be a whole number"),
    ({"batch_size": 1}, "batch_size must be a whole number from 2"),
    ({"batch_size": 10**12}, "batch_size must be a whole number from 2 to 1,000,000"),
    ({"outlier_batch_size": 0}, "outlier_batch_size must be a whole number from 1"),
    ({"learning_rate": 0}, "learning_rate must be a number above 0"),
    ({"learning_rate": math.inf}, "learning_rate must be"),
    ({"learning_rate": "fast"}, "learning_rate must be a number above 0, not 'fast'"),
    ({"last_rate": -1e-9}, "last_rate must be a number from 0 to learning_rate"),
    ({"last_rate": 0.2}, "last_rate must be a number from 0 to learning_rate"),
    ({"momentum": 1}, r"momentum must be a number in \[0, 1\)"),
    ({"momentum": -0.1}, "momentum must be"),
    ({"weight_decay": -1}, "weight_decay must be a number at least 0"),
    ({"weight_decay": math.nan}, "weight_decay must be"),
    ({"crop_size": 0}, "crop_size must be a whole number from 1 to 4,096"),
    ({"crop_size": 10**6}, "crop_size must be"),
    ({"label_smoothing": 1}, r"label_smoothing must be a number in \[0, 1\)"),
    ({"clip_norm": 0}, "clip_norm must be a number above 0"),
    ({"clip_norm": math.inf}, "clip_norm must be"),
    ({"ema": 0}, r"ema must be a number in \(0, 1\)"),
    ({"ema": 1}, "ema must be"),
    ({"precision": "fp8"}, "precision must be one of fp32, bf16, fp16, not 'fp8'"),
    ({"keep": "first"}, "keep must be one of last, best"),
    ({"mean": [0.5, 0.5, 0.5]}, "mean and std are given together"),
    ({"mean": [0.5, 0.5], "std": [1, 1]}, "three numbers each"),
    ({"mean": 0.5, "std": 1}, "three numbers each"),
    ({"mean": [0, 0, 0], "std": [1, 1, 0]}, "std above 0"),
    ({"nesterov": "maybe"}, "nesterov must be true or false, not 'maybe'"),
    ({"every_real": 1}, "every_real must be true or false"),
    ({"channels_last": None}, "channels_last must be true or false"),
    ({"compile": "no"}, "compile must be true or false"),
    ({"method": 5}, "method must be a text, not 5"),
    ({"network": None}, "network must be a text"),
    ({"method": "logitnorm:temperature=0"}, "temperature must be above 0"),
]


@pytest.mark.parametrize(("fields", "message"), OUT_OF_RANGE)
def test_a_value_out_of_range_is_refused_and_the_message_names_the_field(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        TrainingSettings(**fields)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"method": "logitnrm"}, "unknown method 'logitnrm'. Did you mean 'logitnorm'"),
        ({"method": "logitnorm:temp=1"}, "unknown parameter of logitnorm 'temp'"),
        ({"network": "resnet18"}, "unknown network 'resnet18'"),
        ({"augmentation": "flip"}, "unknown augmentation 'flip'"),
    ],
)
def test_an_unknown_name_is_refused(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(UnknownNameError, match=message):
        TrainingSettings(**fields)


def test_the_ends_of_each_range_are_taken() -> None:
    ends = {"alpha": 1, "batch_size": 2, "last_rate": 0.1, "momentum": 0, "weight_decay": 0, "label_smoothing": 0}
    TrainingSettings(**ends, mean=(0, 0, 0), std=[1e-4, 1, 2], real_share=0.5, mix="loss")  # type: ignore[arg-type]


def test_the_rate_falls_from_the_first_to_the_last_by_half_a_cosine() -> None:
    settings = TrainingSettings(learning_rate=0.3, last_rate=0.1)
    assert [settings.rate(step, 4) for step in (0, 2, 4)] == pytest.approx([0.3, 0.2, 0.1])
    assert settings.rate(1, 4) == pytest.approx(0.1 + 0.2 * 0.5 * (1 + math.cos(math.pi / 4)))
