"""What a detector is."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar, Self

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from sio_data.detection.detectors.given import Given, Need
from sio_data.detection.outputs import Outputs
from sio_data.errors import InputError, SioDataError

if TYPE_CHECKING:
    from sio_data.training.checkpoint import Classifier

Scores = npt.NDArray[np.float64]


class Detector(ABC):
    """Scores how much an image looks like the training data: **higher means more in-distribution**, always.

    A detector is a dataclass; its fields are its parameters, with the stock defaults of OpenOOD v1.5.

    Attributes:
        name: What it is called.
        needs: What it is fitted on.
        learned: Its attributes that hold what it learned, tensors, by name: its state.
        grid: The settings that the parameter search tries, those of OpenOOD v1.5; none if there is nothing to search.
    """

    name: ClassVar[str]
    needs: ClassVar[tuple[Need, ...]] = ()
    learned: ClassVar[tuple[str, ...]] = ()
    grid: ClassVar[tuple[Mapping[str, Any], ...]] = ()

    _device: torch.device | None = None
    _fitted_shape: tuple[int, int] | None = None
    _is_fitted: bool = False

    def fit(
        self,
        *,
        train: Outputs | None = None,
        val: Outputs | None = None,
        head: nn.Linear | None = None,
        network: "Classifier | None" = None,
    ) -> Self:
        """Learn what the score needs.

        Args:
            train: Outputs of the in-distribution training images.
            val: Outputs of the in-distribution validation images.
            head: The network's last layer; None means that of `network`, if it is linear.
            network: The network, for detectors that look at more than its outputs.

        Returns:
            The detector itself.

        Raises:
            InputError: What it needs is missing, or does not fit its parameters.
        """
        given = Given(self.name, train, val, head, network)
        given.check(self.needs)
        self._forget()
        self._device, self._fitted_shape = given.device, given.shape
        try:
            with torch.no_grad():
                self._fit(given)
            self._is_fitted = True
        finally:
            if not self._is_fitted:
                self._forget()
        return self

    @property
    def is_fitted(self) -> bool:
        """Whether it has learned what it needs, by `fit` or `load_state`."""
        return self._is_fitted

    def misfit(self, network: "Classifier") -> str | None:
        """Say why this detector cannot be used with a network; None if it can."""
        if "head" in self.needs and not isinstance(network.head, nn.Linear):
            return "it needs a linear head"
        return None

    def score(self, outputs: Outputs) -> Scores:
        """Score images.

        Args:
            outputs: Of the same network that the detector was fitted on.

        Returns:
            float64 [N], finite; higher means more in-distribution.

        Raises:
            InputError: The detector was not fitted, or the outputs do not fit.
            SioDataError: A score is NaN or infinite.
        """
        self._check_fitted()
        self._check_shape(outputs)
        scores: Scores = np.empty(len(outputs))
        done = 0
        with torch.no_grad():
            for block in outputs.blocks(self._floats(outputs)):
                found = self._score(block if self._device is None else block.to(self._device))
                scores[done : done + len(block)] = found.double().cpu().numpy()
                done += len(block)
        if not np.isfinite(scores).all():
            raise SioDataError(f"{self.name} gave NaN or infinite scores.")
        return scores

    def state(self) -> dict[str, torch.Tensor]:
        """Give what was learned, by name; a detector with the same parameters and this state scores the same.

        `shape` is how many logits and features there are, int64 [2]; zeros if it was fitted on neither.
        """
        return {"shape": torch.tensor(self._fitted_shape or (0, 0))} | {
            name: getattr(self, name) for name in self.learned
        }

    def load_state(self, state: Mapping[str, torch.Tensor]) -> Self:
        """Take what another one learned.

        Raises:
            InputError: It is not what such a detector learns.
        """
        if {*state} != {"shape", *self.learned}:
            raise InputError(f"{self.name} learns {', '.join(self.learned) or 'nothing'}, not {', '.join(state)}.")
        if not all(isinstance(value, torch.Tensor) for value in state.values()) or state["shape"].numel() != 2:
            raise InputError(f"the state of {self.name} must be tensors, and its shape two numbers.")
        self._forget()
        for name in self.learned:
            setattr(self, name, state[name])
            self._device = state[name].device
        classes, width = state["shape"].tolist()
        self._fitted_shape = (classes, width) if classes and width else None
        self._is_fitted = True
        return self

    def attach(self, network: "Classifier") -> Self:
        """Take the network that images are run through to be scored; only some detectors need it."""
        return self

    def _forget(self) -> None:
        """Go back to what it was before it was fitted."""
        self._is_fitted, self._device, self._fitted_shape = False, None, None
        for name in self.learned:
            self.__dict__.pop(name, None)

    def _check_fitted(self) -> None:
        if self.learned and not self._is_fitted:
            raise InputError(f"{self.name} is not fitted: call fit first.")

    def _check_shape(self, outputs: Outputs) -> None:
        shape = (outputs.logits.shape[1], outputs.features.shape[1])
        if self._fitted_shape not in (None, shape):
            found = "{} logits and {} features".format
            raise InputError(
                f"{self.name} was fitted on {found(*self._fitted_shape)}; these outputs have {found(*shape)}."
            )

    def _fit(self, given: Given) -> None:  # noqa: B027  many learn nothing
        """Learn, without gradients; what `needs` names is there."""

    @abstractmethod
    def _score(self, outputs: Outputs) -> torch.Tensor:
        """Give the scores of a block of images, floating [N], without gradients."""

    def _floats(self, outputs: Outputs) -> int:
        """Give how many float64 the work on one image takes."""
        return 4 * (outputs.logits.shape[1] + outputs.features.shape[1])
