"""Deep nearest neighbours."""

from dataclasses import dataclass
from typing import Any, ClassVar

import torch

from sio_data.detection.banks import ROWS, average, centre, find_largest, measure, scale, split
from sio_data.detection.detectors.base import Detector
from sio_data.detection.detectors.given import Given, Need
from sio_data.detection.outputs import Outputs
from sio_data.errors import InputError


@dataclass
class KNN(Detector):
    """Minus the squared Euclidean distance to the k-th nearest training feature, all features scaled to length 1.

    Sun et al., ICML 2022. Fitted on the training features. Cost: O(N N_train D). Every training feature is
    compared, in blocks: neighbours are ranked by float32 distances of features less their mean, so that two whose
    squared distances differ by less than 1e-6 of those to the mean may change places; the distance to the k-th is then
    computed in float64. The training features are kept, not copied: they must not be changed as long as the detector
    is used. A feature of zeros stays zero, at distance 1 from every other (OpenOOD's guard against zeros comes too late
    and gives NaN).

    Attributes:
        k: Which neighbour, from 1.
    """

    name: ClassVar[str] = "knn"
    needs: ClassVar[tuple[Need, ...]] = ("train",)
    learned: ClassVar[tuple[str, ...]] = ("_bank", "_middle")
    grid: ClassVar[tuple[dict[str, Any], ...]] = tuple({"k": k} for k in (50, 100, 200, 500, 1000))

    k: int = 50

    def __post_init__(self) -> None:
        if self.k < 1:
            raise InputError(f"knn: k must be at least 1, not {self.k}.")

    def _fit(self, given: Given) -> None:
        if self.k > len(given.train):
            raise InputError(f"knn: k={self.k} is more than the {len(given.train)} training images.")
        self._bank = given.train.features.detach()
        self._middle = given.train.once("mean of the scaled features", lambda: average(self._bank))

    def _floats(self, outputs: Outputs) -> int:
        return 4 * outputs.features.shape[1] + 3 * ROWS + 6 * self.k

    def _score(self, outputs: Outputs) -> torch.Tensor:
        queries = centre(outputs.features, self._middle)
        distances = (measure(queries, others) for others in split(self._bank, self._middle))
        _, neighbours = find_largest((part.neg_() for part in distances), self.k)
        return -(scale(outputs.features) - scale(self._bank[neighbours[:, -1]])).square().sum(1)
