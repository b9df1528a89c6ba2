"""Directed sparsification."""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch

from sio_data.detection.detectors.base import Detector
from sio_data.detection.detectors.given import Given, Head, Need
from sio_data.detection.moments import compute_means
from sio_data.detection.outputs import Outputs
from sio_data.errors import InputError


@dataclass
class DICE(Detector):
    """Energy of a head that keeps only the weights that contribute most: `log sum_c exp ((W * M) f + b)_c`.

    Sun & Li, ECCV 2022. `M = [V > its percentile]` over all C D entries of the mean contributions
    `V_cd = W_cd mean_train(f)_d`. Fitted on the training features and the head. Cost: O(N_train D) to fit, O(N C D) to
    score.

    Attributes:
        percentile: Share of weights to leave out in %, at least 0, below 100.
    """

    name: ClassVar[str] = "dice"
    needs: ClassVar[tuple[Need, ...]] = ("train", "head")
    learned: ClassVar[tuple[str, ...]] = ("_weight", "_bias")

    percentile: float = 90

    def __post_init__(self) -> None:
        if not 0 <= self.percentile < 100:
            raise InputError(f"dice: percentile must be at least 0 and below 100, not {self.percentile}.")

    def _fit(self, given: Given) -> None:
        head = given.head
        contributions = head.weight * compute_means(given.train).overall
        threshold = float(np.percentile(contributions.cpu().numpy(), self.percentile))
        self._weight, self._bias = head.weight * (contributions > threshold), head.bias

    def _score(self, outputs: Outputs) -> torch.Tensor:
        return Head(self._weight, self._bias).energy(outputs.features.double())
