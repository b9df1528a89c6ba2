"""A grid by class of any images: of a synthetic set, read only as far as it takes, or of any other source."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from sio_data.errors import InputError, UnknownNameError
from sio_data.files import as_folder
from sio_data.images import Pixels, first_of_each, write_class_grid
from sio_data.manifest import MANIFEST
from sio_data.recipe import MAX_IMAGE_SIZE
from sio_data.sets import open_set
from sio_data.sources import load_source

_LARGEST_TILE = 256
_MOST_PIXELS = 50_000_000


@dataclass(frozen=True)
class Preview:
    """What `draw_preview` drew.

    Attributes:
        path: Of the picture.
        class_names: The classes shown, from top to bottom; none for images without labels.
        classes: How many classes there are.
        images: How many images are shown.
    """

    path: Path
    class_names: tuple[str, ...]
    classes: int
    images: int


@dataclass(frozen=True)
class _Labelled:
    """Images that come one after the other with their labels, their size, and how many there are of each class."""

    image_size: int
    counts: Mapping[str, int]
    samples: Iterator[tuple[int, Pixels]]


def draw_preview(
    source: str | Path,
    out: str | Path,
    *,
    classes: Sequence[str] | None = None,
    columns: int = 12,
    rows: int = 20,
    image_size: int | None = None,
) -> Preview:
    """Draw a picture with one row a class: its name, then its first images.

    Shards of a synthetic set are read, and checked on the way, until there is enough: memory depends on the picture
    alone. Images above 256 pixels are made smaller.

    Args:
        source: A synthetic set's folder or URL, or any source; see `sio_data.sources`.
        out: The picture, a PNG file that is not there yet.
        classes: The classes to show, in this order; None shows the first ones that have images.
        columns: Images of each class.
        rows: The most classes to show where none are named; of images without labels, the most rows.
        image_size: Resize to this many pixels; None keeps the size.

    Raises:
        UnknownNameError: There is no such source or class.
        InputError: The file is there already, a number is out of range, or the picture would be too large.
        CorruptSetError: A shard that was read is damaged.
    """
    out = as_folder(out)
    _check(out, columns, rows, image_size)
    found = _open(source, image_size)
    chosen = _choose(found.counts, classes, rows)
    tile = min(image_size or found.image_size, _LARGEST_TILE)
    if (len(chosen) or rows) * columns * tile**2 > _MOST_PIXELS:
        raise InputError(f"{columns} images of {tile} pixels a row, and so many rows, are too many: show fewer.")
    grid = _pick(found, chosen, columns, rows, tile)
    write_class_grid(out, grid, columns)
    return Preview(out, tuple(chosen), len(found.counts), sum(len(images) for _, images in grid))


def _check(out: Path, columns: int, rows: int, image_size: int | None) -> None:
    for name, number in (("columns", columns), ("rows", rows)):
        if number < 1:
            raise InputError(f"{name} must be at least 1, not {number}.")
    if image_size is not None and not 1 <= image_size <= MAX_IMAGE_SIZE:
        raise InputError(f"image_size must be from 1 to {MAX_IMAGE_SIZE}, not {image_size}.")
    if out.exists():
        raise InputError(f"{out} is there already; name another file.")
    if not out.parent.is_dir():
        raise InputError(f"{out.parent}: no such folder.")


def _open(source: str | Path, image_size: int | None) -> _Labelled:
    if (folder := _folder_of_set(source)) is not None:
        synthetic = open_set(folder)
        recipe = synthetic.manifest.recipe
        counts = dict(zip(recipe.class_names, recipe.counts, strict=True))
        return _Labelled(recipe.image_size, counts, ((one.label, one.image) for one in synthetic.samples()))
    images = load_source(str(source), image_size=image_size, hold_out=False)
    pixels = images.images.permute(0, 2, 3, 1).numpy()
    numbers = np.bincount(images.labels[images.labels >= 0].numpy(), minlength=len(images.class_names)).tolist()
    samples = zip(images.labels.tolist(), pixels, strict=True)
    return _Labelled(images.image_size, dict(zip(images.class_names, numbers, strict=True)), samples)


def _folder_of_set(source: str | Path) -> Path | None:
    if str(source).startswith("hub:"):
        return None
    folder = as_folder(source)
    return folder if (folder / MANIFEST).is_file() else None


def _choose(counts: Mapping[str, int], classes: Sequence[str] | None, rows: int) -> list[str]:
    unknown = next((name for name in classes or () if name not in counts), None)
    if unknown is not None:
        raise UnknownNameError("class", unknown, counts)
    return list(dict.fromkeys(classes)) if classes else [name for name in counts if counts[name]][:rows]


def _pick(
    found: _Labelled, chosen: Sequence[str], columns: int, rows: int, tile: int
) -> list[tuple[str, list[Pixels]]]:
    if not found.counts:
        images = first_of_each(((0, image) for _, image in found.samples), {0: columns * rows}, tile)[0]
        return [("", images[start : start + columns]) for start in range(0, len(images), columns)]
    labels = {name: label for label, name in enumerate(found.counts)}
    wanted = {labels[name]: min(columns, found.counts[name]) for name in chosen}
    picked = first_of_each(found.samples, wanted, tile)
    return [(name, picked[labels[name]]) for name in chosen]
