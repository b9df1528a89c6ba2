"""Labelled images as one tensor, in memory or mapped into it: what sources give and training and detection take."""

import hashlib
from collections.abc import Generator, Iterator, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace
from functools import cached_property

import torch

from sio_data.class_maps import match_classes
from sio_data.errors import ClassMapError, InputError
from sio_data.progress import progress
from sio_data.shuffling import look_up_order

UNLABELLED = -1
_PART = 1024  # images: those on another device come over part by part
_LARGE = 1 << 30  # bytes: to read them takes seconds


@dataclass(frozen=True, eq=False)
class ImageSet:
    """Images of one size with their labels.

    Attributes:
        images: uint8 [N, 3, H, H], RGB.
        labels: int64 [N], indices into `class_names`; -1 for an image without a label.
        class_names: The class map; empty if no image has a label.
        name: What to call the set in messages.

    Raises:
        InputError: A tensor has the wrong type or shape, or there is no image.
        ClassMapError: A label is outside the class map.
    """

    images: torch.Tensor
    labels: torch.Tensor
    class_names: tuple[str, ...]
    name: str = "image set"

    def __post_init__(self) -> None:
        object.__setattr__(self, "class_names", tuple(self.class_names))
        shape = tuple(self.images.shape)
        if self.images.dtype != torch.uint8 or len(shape) != 4 or shape[1] != 3 or shape[2] != shape[3]:
            raise InputError(f"{self.name}: images must be uint8 [N, 3, H, H], not {self.images.dtype} {shape}.")
        if self.labels.dtype != torch.int64 or self.labels.shape != shape[:1]:
            raise InputError(
                f"{self.name}: labels must be int64 [{shape[0]}], not {self.labels.dtype} {list(self.labels.shape)}."
            )
        if not len(self):
            raise InputError(f"{self.name} holds no image.")
        wrong = self.labels[(self.labels < UNLABELLED) | (self.labels >= len(self.class_names))]
        if len(wrong):
            raise ClassMapError(
                f"{self.name}: label {int(wrong[0])} is outside the class map of {len(self.class_names)} classes."
            )

    def __len__(self) -> int:
        return len(self.images)

    @property
    def image_size(self) -> int:
        """Height and width in pixels."""
        return int(self.images.shape[-1])

    @cached_property
    def digest(self) -> str:
        """SHA-256 of pixels, labels and class names."""
        digest = hashlib.sha256("\0".join(self.class_names).encode())
        digest.update(self.labels.cpu().numpy().tobytes())
        for part in self.parts("hashing"):
            digest.update(part.contiguous().numpy().data)
        return digest.hexdigest()

    def parts(self, title: str) -> Iterator[torch.Tensor]:
        """Give all images in order, some at a time, on the CPU; show progress where there are many.

        Args:
            title: What is being done.
        """
        show = progress(f"{title} {self.name}", len(self)) if self.images.nbytes >= _LARGE else nullcontext()
        with show as advance:
            for part in self.images.split(_PART):
                yield part.cpu()
                if advance:
                    advance(len(part), "")

    def require_labels(self) -> "ImageSet":
        """Give this set, if each image has a label.

        Raises:
            ClassMapError: One has none.
        """
        count = int((self.labels == UNLABELLED).sum())
        if count:
            raise ClassMapError(f"{self.name}: {count} of {len(self)} images have no label; each needs one here.")
        return self

    def without_labels(self) -> "ImageSet":
        """Give the same images with no label and no class map."""
        return replace(self, labels=torch.full_like(self.labels, UNLABELLED), class_names=())

    def to(self, device: torch.device | str) -> "ImageSet":
        """Give the same images on a device, all at once; batches are then made there."""
        return replace(self, images=self.images.to(device), labels=self.labels.to(device))

    def read(self, places: Sequence[torch.Tensor], seed: int) -> Generator[tuple[torch.Tensor, torch.Tensor]]:
        """Read batches of a shuffled endless order: one permutation of the images after another.

        Args:
            places: int64 [n] for each batch, positions in that order, ascending over all batches.
            seed: Of the order, from 0.

        Yields:
            Images uint8 [n, 3, H, H] and labels int64 [n] of each batch, on the device where the images lie.
        """
        chosen = look_up_order(len(self), places, seed).to(self.images.device)
        sizes = [len(part) for part in places]
        for part, labels in zip(chosen.split(sizes), self.labels[chosen].split(sizes), strict=True):
            yield self.images.index_select(0, part), labels

    def select(self, indices: Sequence[int] | torch.Tensor) -> "ImageSet":
        """Give the images at these places, in this order."""
        chosen = torch.as_tensor(indices, dtype=torch.int64, device=self.images.device)
        return replace(self, images=self.images[chosen], labels=self.labels[chosen])

    def with_class_names(self, class_names: Sequence[str]) -> "ImageSet":
        """Give the same images with labels that are indices into another class map, matched by name.

        Args:
            class_names: The class map wanted; it may hold more classes than this set's.

        Raises:
            ClassMapError: This set has a class that is not in the map wanted.
        """
        lookup = torch.tensor([*match_classes(self.class_names, class_names, self.name), UNLABELLED])
        lookup = lookup.to(self.labels.device)
        return replace(self, labels=lookup[self.labels], class_names=tuple(class_names))
