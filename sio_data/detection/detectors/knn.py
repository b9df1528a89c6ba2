"""Deep nearest neighbours."""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import nn

from sio_data.detection.detectors.base import Detector
from sio_data.detection.outputs import Outputs
from sio_data.errors import InputError

_BLOCK_BYTES = 64 << 20


@dataclass
class KNN(Detector):
    """Minus the squared Euclidean distance to the k-th nearest training feature, all features scaled to length 1.

    Sun et al., ICML 2022. Fitted on the training features. Cost: O(N N_train D); the search is exact, in blocks of at
    most 64 MiB. A feature of zeros stays zero, at distance 1 from every other.

    Attributes:
        k: Which neighbour, from 1.
    """

    k: int = 50

    def __post_init__(self) -> None:
        if self.k < 1:
            raise InputError(f"knn: k must be at least 1, not {self.k}.")

    def _fit(self, train: Outputs | None, val: Outputs | None, head: nn.Linear | None) -> None:
        if train is None:
            raise InputError("knn is fitted on the outputs of the training images: give train=.")
        if self.k > len(train):
            raise InputError(f"knn: k={self.k} is more than the {len(train)} training images.")
        self._bank = F.normalize(train.features.double())

    def _score(self, outputs: Outputs) -> torch.Tensor:
        rows = max(1, _BLOCK_BYTES // (8 * len(self._bank)))
        return torch.cat([self._score_block(block) for block in outputs.features.split(rows)])

    def _score_block(self, features: torch.Tensor) -> torch.Tensor:
        queries = F.normalize(features.double().to(self._bank.device))
        lengths = queries.square().sum(1, keepdim=True) + self._bank.square().sum(1)
        squared = (lengths - 2 * queries @ self._bank.T).clamp_(min=0)
        return -squared.kthvalue(self.k, dim=1).values
