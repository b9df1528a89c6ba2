"""Detectors that look at the logits alone and learn nothing: MSP, MLS, EBO."""

import math
from dataclasses import dataclass

import torch
from torch import nn

from sio_data.detection.detectors.base import Detector
from sio_data.detection.outputs import Outputs
from sio_data.errors import InputError


class LogitDetector(Detector):
    """A detector without anything to fit."""

    def _fit(self, train: Outputs | None, val: Outputs | None, head: nn.Linear | None) -> None:
        """Learn nothing."""


@dataclass
class MSP(LogitDetector):
    """Maximum softmax probability: `max_c softmax(z)_c` (Hendrycks & Gimpel, ICLR 2017). Cost: O(N C)."""

    def _score(self, outputs: Outputs) -> torch.Tensor:
        return outputs.logits.double().softmax(1).amax(1)


@dataclass
class MLS(LogitDetector):
    """Maximum logit: `max_c z_c` (Hendrycks et al., ICML 2022). Cost: O(N C)."""

    def _score(self, outputs: Outputs) -> torch.Tensor:
        return outputs.logits.amax(1)


@dataclass
class EBO(LogitDetector):
    """Energy: `T log sum_c exp(z_c / T)` (Liu et al., NeurIPS 2020). Cost: O(N C).

    Attributes:
        temperature: T, above 0.
    """

    temperature: float = 1.0

    def __post_init__(self) -> None:
        if not 0 < self.temperature < math.inf:
            raise InputError(f"ebo: temperature must be above 0, not {self.temperature}.")

    def _score(self, outputs: Outputs) -> torch.Tensor:
        return self.temperature * (outputs.logits.double() / self.temperature).logsumexp(1)
