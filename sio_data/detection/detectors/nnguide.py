"""Nearest-neighbour guidance of the energy."""

import math
from dataclasses import dataclass
from typing import ClassVar

import torch

from sio_data.detection.banks import ROWS, average, centre, draw, find_largest, multiply, split
from sio_data.detection.detectors.base import Detector
from sio_data.detection.detectors.given import Given, Need
from sio_data.detection.outputs import Outputs
from sio_data.errors import InputError


@dataclass
class NNGuide(Detector):
    """Energy times closeness to training images that the network is sure of.

    `E(z) * mean of the k largest <f/|f|, E(z_i) f_i/|f_i|>` over a bank of training images, `E(z) = log sum_c exp z_c`.
    Park et al., ICCV 2023. Fitted on the training features and logits. Cost: O(N n D) for a bank of n.

    OpenOOD's bank is the first whole batches of its loader, more than alpha of the training images: it depends on the
    batch size and the order. Here `ceil(alpha N_train)` images, k at least, are drawn by a fixed seed.

    Attributes:
        k: How many neighbours, from 1.
        alpha: The bank's share of the training images, above 0, 1 at most.
        batch: 0, or OpenOOD's batch size (200 in v1.5), for its bank.
    """

    name: ClassVar[str] = "nnguide"
    needs: ClassVar[tuple[Need, ...]] = ("train",)
    learned: ClassVar[tuple[str, ...]] = ("_bank", "_energies", "_middle")

    k: int = 100
    alpha: float = 0.01
    batch: int = 0

    def __post_init__(self) -> None:
        if self.k < 1 or not 0 < self.alpha <= 1 or self.batch < 0:
            raise InputError(
                "nnguide: k must be at least 1, alpha above 0 and at most 1, and batch at least 0, "
                f"not k={self.k}, alpha={self.alpha}, batch={self.batch}."
            )

    def _fit(self, given: Given) -> None:
        train = given.train
        rows = self._choose(len(train))
        self._bank = train.features.detach()[rows]
        if self.k > len(self._bank):
            raise InputError(f"nnguide: k={self.k} is more than the {len(self._bank)} training images of its bank.")
        self._middle = average(self._bank)
        logits = train.logits[rows]
        self._energies = logits.new_empty(len(logits), dtype=torch.float64)
        for part, energies in zip(logits.split(ROWS), self._energies.split(ROWS), strict=True):
            torch.logsumexp(part.double(), 1, out=energies)

    def _choose(self, count: int) -> torch.Tensor | slice:
        if self.batch:
            return slice(self.batch * (1 + int(self.alpha * count) // self.batch))
        return draw(count, min(count, max(self.k, math.ceil(self.alpha * count))))

    def _floats(self, outputs: Outputs) -> int:
        return 2 * sum(outputs.features.shape[1:] + outputs.logits.shape[1:]) + 3 * ROWS + 6 * self.k

    def _score(self, outputs: Outputs) -> torch.Tensor:
        queries = centre(outputs.features, self._middle)
        guides = zip(split(self._bank, self._middle), self._energies.split(ROWS), strict=True)
        products = (multiply(queries, others, self._middle).mul_(energies) for others, energies in guides)
        closest, _ = find_largest(products, self.k)
        return outputs.logits.double().logsumexp(1) * closest.mean(1)
