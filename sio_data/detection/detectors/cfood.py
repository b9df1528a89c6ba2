"""CFOOD: how deep among its neighbours the training images would have to count an image."""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch

from sio_data.detection.banks import ROWS, average, centre, draw, measure, split
from sio_data.detection.detectors.base import Detector
from sio_data.detection.detectors.given import Given, Need
from sio_data.detection.outputs import Outputs
from sio_data.errors import InputError

_TIE = 1e-6  # of the mean squared distance to the reference's mean: distances in float32 are equal up to this,
_SAME = 1e-13  # or up to this, if float32 features are alike but for rounding
_FRACTIONS = np.concatenate([np.linspace(0.001, 0.1, 100), np.linspace(0.105, 0.5, 81), np.linspace(0.51, 0.99, 49)])


@dataclass
class CFOOD(Detector):
    """Minus the smallest fraction of neighbours at which enough reference images take an image in.

    The reference is n training features, drawn by a fixed seed; all features are scaled to length 1. A reference image
    takes `f` in at a fraction if its neighbour of rank `fraction * n` in the reference is at least as far as `f`. The
    score is minus the smallest of 230 fractions, 0.001 to 0.99, at which a share k of the reference does so; -1 if at
    none. Squared distances are float32, and count as equal if they differ by less than 1e-6 of the mean one to the
    reference's mean. No paper; defined by OpenOOD v1.5. Fitted on the training features. Cost: O(n^2 (D + log n)) to
    fit, with a table of n x 230 distances; O(N n D) to score.

    Attributes:
        alpha: The reference's share of the training images, above 0, 1 at most.
        k: Which share of the reference is enough, above 0, 1 at most.
    """

    name: ClassVar[str] = "cfood"
    needs: ClassVar[tuple[Need, ...]] = ("train",)
    learned: ClassVar[tuple[str, ...]] = ("_bank", "_middle", "_reaches", "_fractions")

    alpha: float = 0.1
    k: float = 0.01

    def __post_init__(self) -> None:
        for parameter, value in (("alpha", self.alpha), ("k", self.k)):
            if not 0 < value <= 1:
                raise InputError(f"cfood: {parameter} must be above 0 and at most 1, not {value}.")

    def _fit(self, given: Given) -> None:
        train = given.train
        count = int(self.alpha * len(train))
        if count < 2:
            raise InputError(
                f"cfood: alpha={self.alpha} of {len(train)} training images leaves {count} for the reference, "
                "which needs 2; give a larger alpha."
            )
        ranks = (_FRACTIONS * count - 1).astype(int)
        fractions = _FRACTIONS[np.diff(ranks, prepend=-1) > 0]  # in a small reference, several are the same rank
        device = train.features.device
        self._fractions = torch.tensor([*fractions, 1.0], dtype=torch.float64, device=device)
        self._bank = train.features.detach()[draw(len(train), count)]
        self._middle = average(self._bank)
        nearest = torch.tensor(np.unique(ranks) + 1, device=device)  # 0 is the image itself
        rows = max(1, train.memory // (16 * count))
        self._reaches = torch.empty(count, len(nearest), device=device)
        for part, reaches in zip(self._bank.split(rows), self._reaches.split(rows), strict=True):
            reaches.copy_(self._measure(part).sort(1).values[:, nearest])

    def _measure(self, features: torch.Tensor) -> torch.Tensor:
        """Give the squared distances to the reference, float32 [n, number of references]."""
        queries = centre(features, self._middle)
        distances = queries.new_empty(len(queries), len(self._bank))
        for part, others in zip(distances.split(ROWS, 1), split(self._bank, self._middle), strict=True):
            part.copy_(measure(queries, others))
        return distances

    def _floats(self, outputs: Outputs) -> int:
        return 2 * outputs.features.shape[1] + 4 * ROWS + 4 * len(self._fractions)

    def _score(self, outputs: Outputs) -> torch.Tensor:
        queries = centre(outputs.features, self._middle)
        tie = float(_SAME + _TIE * (1 - self._middle.square().sum()).clamp(min=0))
        counts = queries.new_zeros(len(queries), len(self._fractions), dtype=torch.int64)
        for others, reaches in zip(split(self._bank, self._middle), self._reaches.split(ROWS), strict=True):
            first = torch.searchsorted(reaches, measure(others, queries) - tie).T
            counts.scatter_add_(1, first, torch.ones_like(first))
        shares = counts.cumsum(1) / len(self._bank)
        return -self._fractions[(shares < self.k).sum(1)]
