"""The compiled step trains as the plain one does."""

import functools
import shutil
from pathlib import Path

import pytest
import torch
from torch._dynamo.testing import CompileCounter

from sio_data import load_source
from sio_data.training.beginning import TrainingData
from sio_data.training.loop import train_run
from sio_data.training.run import Trained
from sio_data.training.settings import TrainingSettings

SETTINGS: dict[str, dict[str, object]] = {
    "fp32": {},
    "bf16": {"precision": "bf16", "channels_last": True},
    "averaged": {"ema": 0.5, "clip_norm": 1.0, "label_smoothing": 0.1},
    "two rows an image": {"method": "cutmix"},
    "state of its own": {"method": "vos:queue=5,start=0.5"},
    "outliers": {"method": "oe", "outlier_batch_size": 40},
}


def run_once(**settings: object) -> Trained:
    digits = load_source("digits", "train")
    data = TrainingData(digits, load_source("digits", "val"), digits, load_source("textures", "val"))
    torch.compiler.reset()
    return train_run(
        TrainingSettings(epochs=2, batch_size=150, learning_rate=0.02, **settings), data, 0, torch.device("cpu")
    )


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("g++") is None, reason="the compiler of torch needs a C++ compiler")
@pytest.mark.filterwarnings("ignore:`torch._prims_common.check` is deprecated:FutureWarning")  # torch's own
@pytest.mark.parametrize("settings", SETTINGS.values(), ids=SETTINGS)
def test_a_compiled_training_learns_the_same(
    settings: dict[str, object], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(tmp_path))
    plain, compiled = (run_once(compile=choice, **settings) for choice in (False, True))
    tolerance = 0.01 if "precision" in settings else 1e-3
    for one, other in zip(plain.history, compiled.history, strict=True):
        assert other["loss"] == pytest.approx(one["loss"], rel=tolerance)
    for name, value in plain.weights["last"].items():
        torch.testing.assert_close(compiled.weights["last"][name], value, rtol=tolerance, atol=tolerance)
    assert compiled.classifier.state_dict().keys() == plain.classifier.state_dict().keys()


@pytest.mark.parametrize("method", ["ce", "cutmix", "vos:queue=5,start=0.5"])
def test_the_step_is_not_compiled_anew_at_every_step(method: str, monkeypatch: pytest.MonkeyPatch) -> None:
    counter = CompileCounter()
    monkeypatch.setattr(torch, "compile", functools.partial(torch.compile, backend=counter))
    run_once(compile=True, method=method)
    assert 1 <= counter.frame_count <= 2
