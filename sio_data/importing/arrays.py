"""Archives of arrays: one file, or several parts that are joined."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from sio_data.compilation import SourceFile
from sio_data.errors import InputError
from sio_data.images import Pixels, fit_square
from sio_data.importing.archive import Places, hash_files
from sio_data.importing.npy import StoredImages


@dataclass(frozen=True)
class Part:
    """One array of images with its labels.

    Attributes:
        files: The file of the images, and that of the labels if it is another one.
        shape: [N, H, W, 3].
        labels: int32 [N], from 0 on.
        open: Checks the values and makes the images readable in any order; takes a folder for scratch files.
    """

    files: Sequence[Path]
    shape: tuple[int, ...]
    labels: Places
    open: Callable[[Path | None], StoredImages]


class ArrayArchive:
    """Images and labels in arrays; see `sio_data.importing.archive.Archive`.

    Args:
        parts: What it is joined from.
        image_size: Resize to this many pixels; None keeps the size.

    Raises:
        InputError: The parts differ in size, or the images are not square and are not resized.
    """

    class_names = None

    def __init__(self, parts: Sequence[Part], image_size: int | None) -> None:
        height, width = parts[0].shape[1:3]
        for part in parts:
            if part.shape[1:] != parts[0].shape[1:]:
                sizes = f"{width}x{height} and {part.shape[2]}x{part.shape[1]} pixels"
                raise InputError(
                    f"{parts[0].files[0]} and {part.files[0]} hold images of {sizes}: parts must be alike."
                )
        if image_size is None and height != width:
            raise InputError(f"{parts[0].files[0]} holds images of {width}x{height} pixels. Give --image-size.")
        self.labels = np.concatenate([part.labels for part in parts])
        self.image_size = image_size or height
        self.rule = {"format": "arrays"}
        self._parts = parts
        self._starts = np.cumsum([0, *(len(part.labels) for part in parts)])
        self._images: list[StoredImages] = []

    def hash(self) -> tuple[SourceFile, ...]:
        """See `Archive`."""
        return hash_files(path for part in self._parts for path in part.files)

    def settle(self, scratch: Path | None) -> tuple[SourceFile, ...]:
        """See `Archive`."""
        sources = self.hash()
        self._images = [part.open(scratch) for part in self._parts]
        return sources

    def read(self, places: Places) -> Pixels:
        """See `Archive`."""
        part_of = self._part_of(places)
        images = np.empty((len(places), *self._parts[0].shape[1:]), np.uint8)
        for number in np.unique(part_of).tolist():
            here = part_of == number
            images[here] = self._images[number].read(places[here] - self._starts[number])
        if images.shape[1:3] == (self.image_size, self.image_size):
            return images
        return np.stack([fit_square(Image.fromarray(image), self.image_size) for image in images])

    def describe(self, place: int) -> dict[str, Any]:
        """See `Archive`."""
        number = int(self._part_of(place))
        return {"file": self._parts[number].files[0].name, "row": place - int(self._starts[number])}

    def _part_of(self, places: Places | int) -> Any:
        return np.searchsorted(self._starts, places, side="right") - 1
