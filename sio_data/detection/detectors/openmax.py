"""OpenMax."""

from dataclasses import dataclass
from typing import ClassVar

import torch

from sio_data.detection.detectors.base import Detector
from sio_data.detection.detectors.given import Given, Need
from sio_data.detection.outputs import Outputs
from sio_data.detection.weibull import fit_weibull
from sio_data.errors import InputError


@dataclass
class OpenMax(Detector):
    """Minus the probability of an unknown class, `-P(unknown)` (Bendale & Boult, CVPR 2016).

    For each class the mean m_c of the logits of its training images that are predicted right, and a Weibull
    distribution of the largest of their distances `|z - m_c|_2`, shifted so that the smallest of these is 1. An image
    is as unlikely to be of class c as the distribution function w_c of its own distance says. So much, times 1, 2/3,
    1/3 for its first, second and third largest logit (alpha = 3), goes from the logit to that of the unknown class.

    With fewer than `tail` right images a class has a shorter tail; with fewer than two its logits are left as they
    are. Equal distances give a step: w_c is 0 below them and 1 above. With fewer than alpha classes only the first
    weights are used. Fitted on the training logits and labels. Cost: O(N_train (C + log N_train)) to fit,
    O(N alpha C) to score.

    Attributes:
        tail: How many distances of each class the distribution is fitted to, if it has so many; at least 2.
        alpha: How many of the largest logits are corrected; at least 1.
    """

    name: ClassVar[str] = "openmax"
    needs: ClassVar[tuple[Need, ...]] = ("train", "train labels")
    learned: ClassVar[tuple[str, ...]] = ("_means", "_known", "_smallest", "_scale", "_shape")

    tail: int = 20
    alpha: int = 3

    def __post_init__(self) -> None:
        if self.tail < 2 or self.alpha < 1:
            raise InputError(
                f"openmax: tail must be at least 2 and alpha at least 1, not {self.tail} and {self.alpha}."
            )

    def _fit(self, given: Given) -> None:
        self._means, counts = _mean_right_logits(given.train)
        longest = max(1, min(self.tail, int(counts.max())))
        tails = _largest_distances(given.train, self._means, counts, longest)
        self._known = counts > 1
        self._smallest = tails.nan_to_num(nan=torch.inf).amin(1).where(self._known, 0)
        self._scale, self._shape = fit_weibull(tails - self._smallest[:, None] + 1)

    def _floats(self, outputs: Outputs) -> int:
        return 8 * outputs.logits.shape[1]

    def _score(self, outputs: Outputs) -> torch.Tensor:
        logits = outputs.logits.double()
        count = min(self.alpha, logits.shape[1])
        largest = logits.topk(count, dim=1).indices
        moved = torch.zeros_like(logits)
        for rank in range(count):
            chosen = largest[:, rank : rank + 1]
            share = self._unlikelihood(logits, chosen[:, 0])[:, None] * (self.alpha - rank) / self.alpha
            moved.scatter_(1, chosen, logits.gather(1, chosen) * share)
        unknown = moved.sum(1, keepdim=True)
        return -torch.cat([logits - moved, unknown], 1).softmax(1)[:, -1]

    def _unlikelihood(self, logits: torch.Tensor, classes: torch.Tensor) -> torch.Tensor:
        """Give `w_c(z)` for one class c of each image, float64 [n]."""
        distances = (logits - self._means[classes]).norm(dim=1) - self._smallest[classes] + 1
        power = (distances.clamp(min=0) / self._scale[classes]) ** self._shape[classes]
        return -torch.expm1(-power) * self._known[classes]


def _mean_right_logits(train: Outputs) -> tuple[torch.Tensor, torch.Tensor]:
    """Give the mean logits of the images of each class that are predicted right, float64 [C, C], and their count."""
    classes = train.logits.shape[1]
    sums = torch.zeros(classes, classes, dtype=torch.float64, device=train.logits.device)
    counts = torch.zeros(classes, dtype=torch.int64, device=train.logits.device)
    for block in train.blocks(4 * classes):
        right = block.predictions == block.labels
        sums.index_add_(0, block.labels[right], block.logits[right].double())
        counts += block.labels[right].bincount(minlength=classes)
    return sums / counts.clamp(min=1)[:, None], counts


def _largest_distances(train: Outputs, means: torch.Tensor, counts: torch.Tensor, tail: int) -> torch.Tensor:
    """Give the largest distances of right images to the mean of their class, float64 [C, tail], NaN where none is."""
    labels = train.labels[train.predictions == train.labels]
    distances, start = means.new_empty(len(labels)), 0
    for block in train.blocks(4 * train.logits.shape[1]):
        right = block.predictions == block.labels
        part = distances[start : (start := start + int(right.sum()))]
        torch.linalg.vector_norm(block.logits[right].double() - means[block.labels[right]], dim=1, out=part)
    far, places_of = distances.sort(descending=True)
    order = labels[places_of].sort(stable=True).indices
    places = torch.arange(tail, device=counts.device).expand(len(counts), tail)
    there = places < counts[:, None]
    chosen = (counts.cumsum(0) - counts)[:, None] + places
    tails = torch.full_like(chosen, torch.nan, dtype=torch.float64)
    tails[there] = far[order][chosen[there]]
    return tails
