"""Neural relation graph."""

import math
from dataclasses import dataclass
from typing import Any, ClassVar

import torch

from sio_data.detection.banks import ROWS, average, centre, multiply, split
from sio_data.detection.detectors.base import Detector
from sio_data.detection.detectors.given import Given, Need
from sio_data.detection.outputs import Outputs
from sio_data.errors import InputError

_EDGE = 0.03  # weaker relations are no edges


@dataclass
class Relation(Detector):
    """Sum of an image's relations to the training images: `sum_i r_i^power`, of those with `r_i > 0.03`.

    `r_i = max(<f/|f|, f_i/|f_i|>, 0) * <p, p_i>`, with `p = softmax(z)`. Kim et al., NeurIPS 2023. Fitted on the
    training features and logits, which are kept, not copied: they must not be changed as long as the detector is used.
    Cost: O(N N_train D) in float32, O(N N_train C) in float64.

    Attributes:
        power: Above 0; a high one counts only strong relations.
    """

    name: ClassVar[str] = "relation"
    needs: ClassVar[tuple[Need, ...]] = ("train",)
    learned: ClassVar[tuple[str, ...]] = ("_bank", "_logits", "_middle")
    grid: ClassVar[tuple[dict[str, Any], ...]] = tuple({"power": power} for power in (1, 2, 4, 6, 8))

    power: float = 1

    def __post_init__(self) -> None:
        if not 0 < self.power < math.inf:
            raise InputError(f"relation: power must be above 0, not {self.power}.")

    def _fit(self, given: Given) -> None:
        self._bank, self._logits = given.train.features.detach(), given.train.logits.detach()
        self._middle = given.train.once("mean of the scaled features", lambda: average(self._bank))

    def _floats(self, outputs: Outputs) -> int:
        return 2 * sum(outputs.features.shape[1:] + outputs.logits.shape[1:]) + 4 * ROWS

    def _score(self, outputs: Outputs) -> torch.Tensor:
        queries, likely = centre(outputs.features, self._middle), outputs.logits.double().softmax(1)
        scores = torch.zeros_like(outputs.labels, dtype=torch.float64)
        for others, logits in zip(split(self._bank, self._middle), self._logits.split(ROWS), strict=True):
            relations = multiply(queries, others, self._middle).mul_(likely @ logits.double().softmax(1).T)
            scores += relations.masked_fill_(relations <= _EDGE, 0).pow_(self.power).sum(1)
        return scores
