"""Fast decision boundary distances."""

import math
from dataclasses import dataclass
from typing import Any, ClassVar

import torch

from sio_data.detection.detectors.base import Detector
from sio_data.detection.detectors.given import Given, Need
from sio_data.detection.moments import compute_means
from sio_data.detection.outputs import Outputs

_TINY = 1e-12  # of the length of m


@dataclass
class FDBD(Detector):
    """Distances to the decision boundaries of the predicted class, relative to how far out the feature is.

    `sum_{c != k} |z_k - z_c| / |w_k - w_c|` over `|f - m|`, m the mean of the training features, or over `|f|`. Liu &
    Qin, ICML 2024. Two classes with the same weights have no boundary, and count nothing. A feature at m (or at 0) is
    taken to be 1e-12 |m| away, or 1e-12 if m is 0. Fitted on the training features and the head. Cost:
    O(N_train D + C^2 D) to fit, O(N (D + C)) to score.

    Attributes:
        distance_as_normalizer: Whether to divide by `|f - m|`; else by `|f|`.
    """

    name: ClassVar[str] = "fdbd"
    needs: ClassVar[tuple[Need, ...]] = ("train", "head")
    learned: ClassVar[tuple[str, ...]] = ("_mean", "_gaps")
    grid: ClassVar[tuple[dict[str, Any], ...]] = ({"distance_as_normalizer": True}, {"distance_as_normalizer": False})

    distance_as_normalizer: bool = True

    def _fit(self, given: Given) -> None:
        weight = given.head.weight
        self._mean = compute_means(given.train).overall
        gaps = torch.cdist(weight, weight, compute_mode="donot_use_mm_for_euclid_dist")
        self._gaps = gaps.masked_fill(gaps == 0, math.inf)

    def _score(self, outputs: Outputs) -> torch.Tensor:
        logits, features = outputs.logits.double(), outputs.features.double()
        distances = (logits.amax(1, keepdim=True) - logits) / self._gaps[outputs.predictions]
        origin = self._mean if self.distance_as_normalizer else torch.zeros_like(self._mean)
        lengths: torch.Tensor = torch.linalg.vector_norm(features - origin, dim=1)
        least = _TINY * torch.linalg.vector_norm(self._mean)
        return distances.sum(1) / lengths.where(lengths > least, least.where(least > 0, _TINY))
