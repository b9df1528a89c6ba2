"""Neural collapse inspired detection."""

import math
from dataclasses import dataclass
from typing import Any, ClassVar

import torch

from sio_data.detection.banks import scale
from sio_data.detection.detectors.base import Detector
from sio_data.detection.detectors.given import Given, Need
from sio_data.detection.moments import compute_means
from sio_data.detection.outputs import Outputs
from sio_data.errors import InputError


@dataclass
class NCI(Detector):
    """How near a feature lies to the weight of the predicted class: `<w_k, f - m> / |f - m| + alpha |f|_1`.

    Liu & Qin, CVPR 2025. m is the mean of the training features; the first term is 0 at m. Fitted on the training
    features and the head. Cost: O(N_train D) to fit, O(N D) to score.

    Attributes:
        alpha: What the feature's length counts, at least 0.
    """

    name: ClassVar[str] = "nci"
    needs: ClassVar[tuple[Need, ...]] = ("train", "head")
    learned: ClassVar[tuple[str, ...]] = ("_mean", "_weight")
    grid: ClassVar[tuple[dict[str, Any], ...]] = tuple({"alpha": alpha} for alpha in (1e-4, 1e-3, 1e-2, 1e-1))

    alpha: float = 1e-4

    def __post_init__(self) -> None:
        if not 0 <= self.alpha < math.inf:
            raise InputError(f"nci: alpha must be at least 0, not {self.alpha}.")

    def _fit(self, given: Given) -> None:
        self._mean = compute_means(given.train).overall
        self._weight = given.head.weight

    def _floats(self, outputs: Outputs) -> int:
        return 6 * outputs.features.shape[1] + 2 * outputs.logits.shape[1]

    def _score(self, outputs: Outputs) -> torch.Tensor:
        features = outputs.features.double()
        directions = scale(features - self._mean)
        along = (self._weight[outputs.predictions] * directions).sum(1)
        return along + self.alpha * features.abs().sum(1)
