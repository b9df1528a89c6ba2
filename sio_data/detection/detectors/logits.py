"""Detectors that look at the logits alone and learn nothing: MSP, MLS, EBO, GEN."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import torch

from sio_data.detection.detectors.base import Detector
from sio_data.detection.outputs import Outputs
from sio_data.errors import InputError


@dataclass
class MSP(Detector):
    """Maximum softmax probability: `max_c softmax(z)_c` (Hendrycks & Gimpel, ICLR 2017). Cost: O(N C)."""

    name: ClassVar[str] = "msp"

    def _score(self, outputs: Outputs) -> torch.Tensor:
        return outputs.logits.double().softmax(1).amax(1)


@dataclass
class MLS(Detector):
    """Maximum logit: `max_c z_c` (Hendrycks et al., ICML 2022). Cost: O(N C)."""

    name: ClassVar[str] = "mls"

    def _score(self, outputs: Outputs) -> torch.Tensor:
        return outputs.logits.amax(1)


@dataclass
class EBO(Detector):
    """Energy: `T log sum_c exp(z_c / T)` (Liu et al., NeurIPS 2020). Cost: O(N C).

    Attributes:
        temperature: T, above 0.
    """

    name: ClassVar[str] = "ebo"
    grid: ClassVar[tuple[Mapping[str, Any], ...]] = ({"temperature": 1.0},)

    temperature: float = 1.0

    def __post_init__(self) -> None:
        if not 0 < self.temperature < math.inf:
            raise InputError(f"ebo: temperature must be above 0, not {self.temperature}.")

    def _score(self, outputs: Outputs) -> torch.Tensor:
        return self.temperature * (outputs.logits.double() / self.temperature).logsumexp(1)


@dataclass
class GEN(Detector):
    """Minus generalised entropy: `-sum p^gamma (1 - p)^gamma` over the largest probabilities p (Liu et al., CVPR 2023).

    Computed from logarithms, so that it tells images apart whose largest probability rounds to 1. Cost: O(N C).

    Attributes:
        gamma: Exponent, above 0.
        largest: How many of the probabilities count; of fewer classes, all.
    """

    name: ClassVar[str] = "gen"
    grid: ClassVar[tuple[Mapping[str, Any], ...]] = tuple(
        {"gamma": gamma, "largest": largest}
        for largest in (10, 50, 100, 200, 500, 1000)
        for gamma in (0.01, 0.1, 0.5, 1, 2, 5, 10)
    )

    gamma: float = 0.1
    largest: int = 100

    def __post_init__(self) -> None:
        if not 0 < self.gamma < math.inf or self.largest < 1:
            raise InputError(f"gen: gamma must be above 0 and largest at least 1, not {self.gamma} and {self.largest}.")

    def _score(self, outputs: Outputs) -> torch.Tensor:
        logs = outputs.logits.double().log_softmax(1)
        largest = logs.topk(min(self.largest, logs.shape[1]), dim=1)
        of_rest = torch.log1p(-largest.values.exp())
        # the complement of the largest is known even where it rounds to 1
        of_rest[:, 0] = logs.scatter(1, largest.indices[:, :1], -torch.inf).logsumexp(1)
        return -(self.gamma * (largest.values + of_rest)).exp().sum(1)
