"""The reference scores beside the repository, computed by OpenOOD v1.5, with the network and the images behind them."""

import json
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from torch import nn

from sio_data import Classifier
from sio_data.image_set import ImageSet
from sio_data.training.networks import NETWORKS
from sio_data.training.networks.resnet import BasicBlock, ResNet18At32

FOLDER = Path(__file__).parents[2].parent / "shared" / "golden" / "set_a"
needs_golden = pytest.mark.skipif(not FOLDER.is_dir(), reason="no reference scores beside the repository")


class ShortResNet(ResNet18At32):
    """A ResNet of one block in each stage."""

    def __init__(self) -> None:
        super().__init__()
        for number, (inputs, outputs) in enumerate(((64, 64), (64, 128), (128, 256), (256, 512)), 1):
            setattr(self, f"layer{number}", nn.Sequential(BasicBlock(inputs, outputs, 2 if number > 1 else 1)))


@cache
def arrays(name: str) -> dict[str, np.ndarray]:
    with np.load(FOLDER / f"{name}.npz") as file:
        return dict(file)


def classifier(monkeypatch: pytest.MonkeyPatch) -> Classifier:
    """Give the network behind the scores, of our own modules."""
    monkeypatch.setitem(NETWORKS, "short-resnet", ShortResNet)
    config = json.loads((FOLDER / "net.json").read_text())
    made = Classifier("short-resnet", list("abcdefghij"), 32, config["mean"], config["std"])
    weights: dict[str, Any] = {}
    for name, value in load_file(FOLDER / "net.safetensors").items():
        ours = name.replace("shortcut", "downsample").replace("fc.", "head.")
        weights[ours if ours.startswith("head.") else f"network.{ours}"] = value
    made.load_state_dict(
        {name: value.float() if value.is_floating_point() else value for name, value in weights.items()}
    )
    return made.eval()


def images(part: str, every: int = 1) -> ImageSet:
    """Give the images of `train`, `val`, `test`, `oodval` or `ood`; only every n-th one if asked for."""
    found = arrays("images")
    pixels = torch.from_numpy(found[f"{part}_images"][::every]).permute(0, 3, 1, 2).contiguous()
    labels = torch.from_numpy(found[f"{part}_labels"][::every]) if f"{part}_labels" in found else None
    if labels is None or labels.min() < 0:
        return ImageSet(pixels, torch.full((len(pixels),), -1), ())
    return ImageSet(pixels, labels, tuple("abcdefghij"))


def scores(tag: str) -> np.ndarray:
    """Give the reference scores of the test images and then of the OOD images."""
    found = arrays("scores")
    return np.concatenate([found[f"scores_{tag}_id"], found[f"scores_{tag}_ood"]]).ravel()
