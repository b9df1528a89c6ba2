"""Every training method from the command line to the evaluation of its checkpoint."""

import math
from pathlib import Path

import pytest
import torch

from sio_data import Classifier, load_source
from sio_data.cli import main
from sio_data.files import read_json
from sio_data.training.beginning import TrainingData
from sio_data.training.loop import train_run
from sio_data.training.methods import METHODS, make_method
from sio_data.training.settings import TrainingSettings

OOD = ["--ood", "near:unknown=digits-unknown"]


def parameters(name: str) -> str:
    """A method with what makes it do all its work on so little data."""
    return {"vos": "vos:queue=10,start=0"}.get(name, name)


@pytest.mark.parametrize("name", METHODS)
def test_a_method_trains_with_and_without_synthetic_data_and_is_evaluated(
    name: str, tiny_set: Path, tmp_path: Path
) -> None:
    words = ["train", "--real", "digits", "--method", parameters(name), "--epochs", "1", "--seeds", "0"]
    words += ["--batch-size", "200", "--learning-rate", "0.01"]
    if METHODS[name].needs_outliers:
        words += ["--outliers", "textures#val", "--outlier-batch-size", "20"]
    for runs, synthetic in (("baseline", []), ("sio", ["--synthetic", str(tiny_set)])):
        assert main([*words, *synthetic, "--out", str(tmp_path / runs)]) == 0
        folder = tmp_path / runs / "seed-0"
        record = read_json(folder / "training.json")
        assert record["settings"]["method"] == parameters(name)
        assert all(math.isfinite(epoch["loss"]) for epoch in record["history"])
        classifier = Classifier.from_pretrained(folder)
        method = make_method(parameters(name))
        assert classifier.config.get("head", "linear") == method.head
        sides = {side: head.out_features for side, head in classifier.side_heads.items()}
        assert sides == method.side_heads(6)
        with torch.inference_mode():
            assert classifier(load_source("digits", "test").images).isfinite().all()
    place = [str(tmp_path / "baseline"), str(tmp_path / "sio")]
    report = tmp_path / "report"
    assert main(["evaluate", *place, "--id", "digits", *OOD, "--detector", "msp", "--out", str(report)]) == 0
    assert {run["checkpoint"] for run in read_json(report / "results.json")["runs"]} == {"baseline", "sio"}


def test_logitnorm_learns_the_digits() -> None:
    """Its gradients are 1 / temperature times as long as those of other losses, which needs clipping on tiny data.

    Without it the first step takes the logits so far that the few steps of the digits' epochs never bring them back:
    the loss sees their direction alone.
    """
    data = TrainingData(load_source("digits", "train"), load_source("digits", "val"))
    settings = TrainingSettings(method="logitnorm", alpha=1.0, epochs=4, clip_norm=1.0)
    assert train_run(settings, data, 0, torch.device("cpu")).accuracy > 0.9
