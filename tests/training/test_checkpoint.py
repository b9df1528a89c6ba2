import errno
import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from sio_data import Classifier
from sio_data.errors import InputError, SioDataError
from tests.conftest import snapshot


@pytest.fixture
def classifier() -> Classifier:
    torch.manual_seed(0)
    return Classifier("convnet", ["a", "b"], 8, mean=[0.1, 0.2, 0.3], std=[0.4, 0.5, 0.6]).eval()


@pytest.fixture
def folder(classifier: Classifier, tmp_path: Path) -> Path:
    classifier.save_pretrained(tmp_path / "checkpoint")
    return tmp_path / "checkpoint"


IMAGES = torch.randint(0, 256, (5, 3, 8, 8), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))


def test_round_trip_gives_the_same_logits(classifier: Classifier, folder: Path) -> None:
    again = Classifier.from_pretrained(folder)
    assert not again.training
    assert again.class_names == ("a", "b")
    assert torch.equal(again(IMAGES), classifier(IMAGES))


def test_logits_are_the_head_of_the_features_and_normalisation_is_inside(classifier: Classifier) -> None:
    assert torch.equal(classifier.head(classifier.features(IMAGES)), classifier(IMAGES))
    assert torch.allclose(classifier(IMAGES), classifier(IMAGES.float() / 255))
    mean = torch.tensor([0.1, 0.2, 0.3]).view(3, 1, 1)
    plain = Classifier("convnet", ["a", "b"], 8, [0.0] * 3, [1.0] * 3).eval()
    plain.load_state_dict(classifier.state_dict())
    std = torch.tensor([0.4, 0.5, 0.6]).view(3, 1, 1)
    assert torch.allclose(plain((IMAGES / 255 - mean) / std), classifier(IMAGES), atol=1e-5)


def test_the_weights_are_as_readable_as_any_other_file(folder: Path) -> None:
    modes = {(folder / name).stat().st_mode for name in ("config.json", "model.safetensors")}
    assert len(modes) == 1


def test_a_full_disk_is_told_and_leaves_the_weights_that_were_there(
    classifier: Classifier, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(path: Path, data: bytes) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    before = snapshot(folder)
    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(SioDataError, match="no space is left for"):
        classifier.save_pretrained(folder)
    assert snapshot(folder) == before


def test_a_missing_or_extra_or_misshapen_weight_is_refused(folder: Path) -> None:
    whole = load_file(folder / "model.safetensors")
    for weights in (
        {name: tensor for name, tensor in whole.items() if name != "head.bias"},
        {**whole, "extra": torch.zeros(1)},
        {**whole, "head.bias": torch.zeros(3)},
    ):
        save_file(weights, folder / "model.safetensors")
        with pytest.raises(InputError, match="no sound checkpoint"):
            Classifier.from_pretrained(folder)


@pytest.mark.parametrize(
    "change",
    [
        {"network": "resnet9000"},
        {"class_names": ["a", "a"]},
        {"class_names": ["a"]},
        {"std": [0, 1, 1]},
        {"strange": 1},
        {"mean": ["a", "b", "c"]},
        {"image_size": "big"},
        {"image_size": 0},
        {"class_names": [0, 1]},
    ],
)
def test_a_damaged_config_is_refused(folder: Path, change: dict[str, object]) -> None:
    path = folder / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    with pytest.raises(InputError):
        Classifier.from_pretrained(folder)


def test_pickled_weights_are_never_read(folder: Path) -> None:
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")
    with pytest.raises(InputError, match="no sound checkpoint"):
        Classifier.from_pretrained(folder)


def test_a_folder_of_runs_says_which_there_are(classifier: Classifier, tmp_path: Path) -> None:
    for seed in (0, 1):
        classifier.save_pretrained(tmp_path / f"seed-{seed}")
    with pytest.raises(InputError, match="holds the runs seed-0, seed-1"):
        Classifier.from_pretrained(tmp_path)


def test_what_is_not_there_is_said_so(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such folder"):
        Classifier.from_pretrained(tmp_path / "nothing")
    with pytest.raises(SioDataError, match="cannot be had from the Hub"):
        Classifier.from_pretrained("owner/name")
