"""What one forward pass over a set of images gives; nearly every detector works on it alone."""

import warnings
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Self, TypeVar

import numpy as np
import numpy.typing as npt
import torch

from sio_data.errors import InputError
from sio_data.image_set import UNLABELLED, ImageSet

Array = torch.Tensor | npt.NDArray[np.generic]
Value = TypeVar("Value")

MEMORY = 1 << 30
"""Bytes that a detector may hold in working arrays at a time, if nothing else is said."""


class Outputs:
    """Logits, features and labels of a set of images.

    Args:
        logits: Floating [N, C]. NumPy arrays are taken, too, in memory or mapped from a file; nothing is copied.
        features: Floating [N, D], pooled, what the head takes.
        labels: Integers [N]; -1 where an image has none. None means that no image has one.
        images: The images themselves, for detectors that look at the network; None where they are not at hand.
        observed: What such detectors saw in a pass over the images, by name: floating [N, ...].
        memory: Bytes that a detector may hold in working arrays at a time, beside what it learns and its result.

    Attributes:
        logits: As a tensor.
        features: As a tensor.
        labels: As a tensor, int64.

    Raises:
        InputError: The shapes or types do not fit, or a value is NaN or infinite.
    """

    def __init__(
        self,
        logits: Array,
        features: Array,
        labels: Array | None = None,
        *,
        images: ImageSet | None = None,
        observed: Mapping[str, torch.Tensor] | None = None,
        memory: int = MEMORY,
    ) -> None:
        self.logits, self.features = _as_tensor(logits, "logits"), _as_tensor(features, "features")
        self.labels = _as_labels(labels, self.logits)
        self.images = images
        self.observed = dict(observed or {})
        self.memory = memory
        self._memo: dict[str, Any] = {}
        self._check()

    def _check(self) -> None:
        if self.logits.ndim != 2 or self.features.ndim != 2 or self.labels.ndim != 1:
            raise InputError("outputs are logits [N, C], features [N, D] and labels [N].")
        count = len(self.logits)
        if not self.logits.numel() or not self.features.numel() or {len(self.features), len(self.labels)} != {count}:
            raise InputError(
                f"outputs of {count} logits, {len(self.features)} features and {len(self.labels)} labels "
                "do not fit together, or are empty."
            )
        if any(len(values) != count for values in (self.images, *self.observed.values()) if values is not None):
            raise InputError(f"the images, or what was observed of them, do not fit outputs of {count} images.")
        if type(self.memory) is not int or self.memory < 1:
            raise InputError(f"memory must be a whole number of bytes, not {self.memory!r}.")
        for name, values in (("logits", self.logits), ("features", self.features)):
            if not values.is_floating_point():
                raise InputError(f"the {name} must be floating, not {values.dtype}.")
            if not all(bool(torch.isfinite(part).all()) for part in values.split(self._rows(values.shape[1]))):
                raise InputError(f"the {name} hold NaN or infinite values; the network cannot be judged by them.")

    def __len__(self) -> int:
        return len(self.logits)

    @property
    def accuracy(self) -> float:
        """Share of the images whose largest logit is at their label, in [0, 1]."""
        return float((self.predictions == self.labels).double().mean())

    @property
    def predictions(self) -> torch.Tensor:
        """The class of the largest logit, int64 [N]."""
        return self.once("predictions", lambda: self.logits.argmax(1))

    def blocks(self, floats: int) -> Iterator["Outputs"]:
        """Cut the images into blocks, in order, so that the work on one fits into `memory`.

        Args:
            floats: How many float64 the work takes for each image.
        """
        rows = self._rows(floats)
        if rows >= len(self):
            yield self
            return
        for start in range(0, len(self), rows):
            yield self.part(slice(start, start + rows))

    def part(self, rows: slice) -> Self:
        """Give some of the images, as views."""
        part = object.__new__(type(self))
        part.logits, part.features, part.labels = self.logits[rows], self.features[rows], self.labels[rows]
        part.images = None if self.images is None else self.images.select(torch.arange(len(self))[rows])
        part.observed = {name: values[rows] for name, values in self.observed.items()}
        part.memory, part._memo = self.memory, {}
        return part

    def to(self, device: torch.device) -> "Outputs":
        """Give the same outputs on a device; the images stay where they are."""
        if self.logits.device == device:
            return self
        tensors = (values.to(device) for values in (self.logits, self.features, self.labels))
        observed = {name: values.to(device) for name, values in self.observed.items()}
        return Outputs(*tensors, images=self.images, observed=observed, memory=self.memory)

    def once(self, name: str, compute: Callable[[], Value]) -> Value:
        """Give what was computed of these outputs under a name; compute it if it was not.

        So detectors share what costs a pass over all features.
        """
        if name not in self._memo:
            self._memo[name] = compute()
        value: Value = self._memo[name]
        return value

    def _rows(self, floats: int) -> int:
        return max(1, self.memory // (8 * max(1, floats)))


def _as_tensor(value: Array, what: str) -> torch.Tensor:
    if isinstance(value, torch.Tensor):
        return value.detach()
    try:
        array = np.asarray(value)
        if not array.dtype.isnative or any(step < 0 for step in array.strides):
            array = np.ascontiguousarray(array, array.dtype.newbyteorder("="))
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "The given NumPy array is not writable")  # nothing here writes to it
            return torch.as_tensor(array)
    except (TypeError, ValueError) as error:
        raise InputError(f"the {what} make no tensor: {error}") from error


def _as_labels(labels: Array | None, logits: torch.Tensor) -> torch.Tensor:
    if labels is None:
        return torch.full(logits.shape[:1], UNLABELLED, device=logits.device)
    tensor = _as_tensor(labels, "labels")
    if tensor.is_floating_point() or tensor.is_complex() or tensor.dtype == torch.bool:
        raise InputError(f"labels must be whole numbers, not {tensor.dtype}.")
    return tensor.long()
