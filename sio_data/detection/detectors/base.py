"""What a detector is."""

from abc import ABC, abstractmethod
from typing import Self

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from sio_data.detection.outputs import Outputs
from sio_data.errors import SioDataError

Scores = npt.NDArray[np.float64]


class Detector(ABC):
    """Scores how much an image looks like the training data: **higher means more in-distribution**, always.

    A detector is a dataclass; its fields are its parameters, with the stock defaults of OpenOOD v1.5.
    """

    def fit(self, *, train: Outputs | None = None, val: Outputs | None = None, head: nn.Linear | None = None) -> Self:
        """Learn what the score needs.

        Args:
            train: Outputs of the in-distribution training images.
            val: Outputs of the in-distribution validation images.
            head: The network's last layer.

        Returns:
            The detector itself.

        Raises:
            InputError: What it needs is missing, or does not fit its parameters.
        """
        self._fit(train, val, head)
        return self

    @abstractmethod
    def _fit(self, train: Outputs | None, val: Outputs | None, head: nn.Linear | None) -> None: ...

    def score(self, outputs: Outputs) -> Scores:
        """Score images.

        Args:
            outputs: Of the same network that the detector was fitted on.

        Returns:
            float64 [N], finite; higher means more in-distribution.

        Raises:
            SioDataError: A score is NaN or infinite.
        """
        scores = self._score(outputs).double().cpu().numpy()
        if not np.isfinite(scores).all():
            raise SioDataError(f"{type(self).__name__} gave NaN or infinite scores.")
        return scores

    @abstractmethod
    def _score(self, outputs: Outputs) -> torch.Tensor: ...
