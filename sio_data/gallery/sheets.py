"""Sheets of thumbnails: up to 100 images of one class in one file, so that many images are few files."""

import hashlib
import io
import os
import re
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import accumulate
from pathlib import Path
from typing import IO, Any

import numpy as np
from PIL import Image

from sio_data.files import write_bytes
from sio_data.images import Pixels, fit_square
from sio_data.progress import progress
from sio_data.sets import SyntheticSet

COLUMNS = 10
IMAGES_PER_SHEET = 100
_LARGEST_SIDE = 256
_LARGEST_LOSSLESS = 64  # above it, exact pixels cost five times the bytes and nobody sees them
_NAME = re.compile(r"sheet-[0-9a-f]{32}\.webp")
_BYTES_IN_MEMORY = 1 << 26


@dataclass(frozen=True)
class Taken:
    """The samples that a gallery shows, class by class.

    Attributes:
        side: Height and width of their thumbnails in pixels.
        metadata: Of each class, the JSON of its samples, in the order of the set.
    """

    side: int
    metadata: Sequence[Sequence[Mapping[str, Any]]]
    _file: IO[bytes]
    _starts: Sequence[int]

    def pixels(self, label: int, first: int, count: int) -> Pixels:
        """Read thumbnails of a class, uint8 [count, side, side, 3]."""
        size = self.side**2 * 3
        self._file.seek((self._starts[label] + first) * size)
        return np.frombuffer(self._file.read(count * size), np.uint8).reshape(count, self.side, self.side, 3)


@contextmanager
def take_samples(synthetic: SyntheticSet, shown: Sequence[int]) -> Iterator[Taken]:
    """Take the first samples of each class, reading no more shards than that takes.

    Classes alternate in a set, so that their sheets all fill up at the same time: the thumbnails wait in a temporary
    file, which is written, not mapped, because a full disk must be an error and not a signal.

    Args:
        synthetic: The set.
        shown: How many samples of each class to take; at most as many as there are.
    """
    side = min(synthetic.manifest.recipe.image_size, _LARGEST_SIDE)
    metadata: list[list[Mapping[str, Any]]] = [[] for _ in shown]
    starts = [0, *accumulate(shown)]
    missing = sum(shown)
    with tempfile.SpooledTemporaryFile(max_size=_BYTES_IN_MEMORY) as file, progress("reading", missing) as advance:
        for sample in synthetic.samples():
            place = len(metadata[sample.label])
            if place < shown[sample.label]:
                small = sample.image if len(sample.image) == side else fit_square(Image.fromarray(sample.image), side)
                file.seek((starts[sample.label] + place) * small.nbytes)
                file.write(small.tobytes())
                metadata[sample.label].append(sample.metadata)
                missing -= 1
                advance(1, "")
            if not missing:
                break
        yield Taken(side, metadata, file, starts)


def write_sheets(folder: Path, taken: Taken) -> list[list[str]]:
    """Write the sheets that are not there yet.

    A sheet's name follows from its pixels. So a page's sheets are never overwritten by those of another page, and an
    interrupted call is soon where it was.

    Args:
        folder: Where they go.
        taken: What they show.

    Returns:
        For each class the names of its sheets.
    """
    names: list[list[str]] = [[] for _ in taken.metadata]
    there = {path.name for path in folder.glob("sheet-*")}
    pieces = [
        (label, first, min(IMAGES_PER_SHEET, len(samples) - first))
        for label, samples in enumerate(taken.metadata)
        for first in range(0, len(samples), IMAGES_PER_SHEET)
    ]
    workers = min(8, os.cpu_count() or 1)
    with ThreadPoolExecutor(workers) as pool, progress("drawing", len(pieces)) as advance:
        for start in range(0, len(pieces), workers):
            some = pieces[start : start + workers]
            arrays = [taken.pixels(*piece) for piece in some]
            for (label, _, _), name in zip(some, pool.map(lambda one: _write(folder, one, there), arrays), strict=True):
                names[label].append(name)
                advance(1, "")
    return names


def is_sheet(name: str) -> bool:
    """Tell whether a file has the name of a sheet."""
    return bool(_NAME.fullmatch(name))


def _write(folder: Path, images: Pixels, there: set[str]) -> str:
    count, side = images.shape[:2]
    columns = min(COLUMNS, count)
    rows = -(-count // columns)
    cells = np.zeros((rows * columns, side, side, 3), np.uint8)
    cells[:count] = images
    sheet = cells.reshape(rows, columns, side, side, 3).swapaxes(1, 2).reshape(rows * side, columns * side, 3)
    name = f"sheet-{hashlib.sha256(repr(sheet.shape).encode() + sheet.tobytes()).hexdigest()[:32]}.webp"
    if name not in there:
        quality = {"lossless": True, "quality": 0, "method": 0} if side <= _LARGEST_LOSSLESS else {"quality": 90}
        buffer = io.BytesIO()
        Image.fromarray(sheet).save(buffer, "WEBP", **quality)
        write_bytes(folder / name, buffer.getvalue())
    return name
