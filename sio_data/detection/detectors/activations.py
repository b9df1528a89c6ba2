"""What the detectors share that change the activations before the head."""

from abc import abstractmethod
from typing import ClassVar

import torch

from sio_data.detection.detectors.base import Detector
from sio_data.detection.detectors.given import Given, Head, Need
from sio_data.detection.outputs import Outputs
from sio_data.errors import InputError


class ChangedActivations(Detector):
    """Energy of the logits that the head gives for changed features: `log sum_c exp (W change(f) + b)_c`."""

    needs: ClassVar[tuple[Need, ...]] = ("head",)
    learned: ClassVar[tuple[str, ...]] = ("_weight", "_bias")

    def _fit(self, given: Given) -> None:
        self._weight, self._bias = given.head.weight, given.head.bias

    def _score(self, outputs: Outputs) -> torch.Tensor:
        return Head(self._weight, self._bias).energy(self._change(outputs.features.double()))

    @abstractmethod
    def _change(self, features: torch.Tensor) -> torch.Tensor:
        """Give the features as the head shall see them, float64 [n, D]."""


def check_percent(detector: str, parameter: str, value: float) -> None:
    """Refuse a percentile that is not from 0 to 100.

    Raises:
        InputError: It is not.
    """
    if not 0 <= value <= 100:
        raise InputError(f"{detector}: {parameter} must be from 0 to 100, not {value}.")
