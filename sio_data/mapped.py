"""Decoded images in a file of the cache, mapped into memory: opened at once, and no larger in memory than what is used.

An entry of the cache is a folder that appears whole or not at all, with pixels, labels, and a record of both files'
sizes and times. An entry that does not fit its record is made anew.
"""

import tempfile
from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO

import numpy as np
import torch

from sio_data.errors import InputError
from sio_data.files import clear_if_full, flush_tree, read_json, remove_tree, sha256_json, write_json
from sio_data.foreign import cache_named
from sio_data.image_set import ImageSet
from sio_data.images import Pixels

_PIXELS, _LABELS, _RECORD = "pixels.raw", "labels.raw", "record.json"
_FORMAT = "sio-data/mapped/1"


def map_images(
    key: object, decode: Callable[[], Iterable[tuple[Pixels, int]]], class_names: tuple[str, ...], name: str
) -> ImageSet:
    """Give images whose pixels lie in a file of the cache. They are decoded if it is not there, one by one.

    Args:
        key: What the images are, as a JSON value: other images have another one.
        decode: Gives the images, uint8 [H, H, 3], all of one size, with their labels.
        class_names: The class map.
        name: What to call the set.

    Raises:
        InputError: There is no image.
        SioDataError: The disk is full.
    """
    entry = Path(cache_named(sha256_json([_FORMAT, key])))
    found = _open(entry)
    if found is None:
        entry.parent.mkdir(parents=True, exist_ok=True)
        with (
            clear_if_full(entry.parent, "Make room, or let HF_DATASETS_CACHE name another disk."),
            tempfile.TemporaryDirectory(prefix=f".{entry.name}-", dir=entry.parent, ignore_cleanup_errors=True) as work,
        ):
            _write(Path(work), decode(), name)
            _put(Path(work), entry)
            found = _open(entry)
    if found is None:
        raise InputError(f"{entry} changes while it is read. Delete it, and run the same command again.")
    return ImageSet(*found, class_names, name)


def _write(folder: Path, samples: Iterable[tuple[Pixels, int]], name: str) -> None:
    with (folder / _PIXELS).open("wb") as pixels, (folder / _LABELS).open("wb") as labels:
        count, size = _write_samples(samples, pixels, labels)
    if not count:
        raise InputError(f"{name} holds no image.")
    flush_tree(folder)
    write_json(folder / _RECORD, {"images": count, "image_size": size, "files": _state(folder)})


def _write_samples(samples: Iterable[tuple[Pixels, int]], pixels: BinaryIO, labels: BinaryIO) -> tuple[int, int]:
    count = size = 0
    for image, label in samples:
        pixels.write(image.transpose(2, 0, 1).tobytes())
        labels.write(np.int64(label).tobytes())
        count, size = count + 1, len(image)
    return count, size


def _state(folder: Path) -> list[list[int]]:
    """Give the size and the time of the last change of both files."""
    return [[stat.st_size, stat.st_mtime_ns] for stat in ((folder / path).stat() for path in (_PIXELS, _LABELS))]


def _put(work: Path, entry: Path) -> None:
    """Give the finished folder its name. Another process may have been faster; what it made is the same."""
    if _open(entry) is None:
        remove_tree(entry)
        with suppress(OSError):  # an entry that is there again
            work.rename(entry)


def _open(entry: Path) -> tuple[torch.Tensor, torch.Tensor] | None:
    """Map a finished entry; None if it is not there or not as it was made."""
    try:
        record = read_json(entry / _RECORD)
        count, size = record["images"], record["image_size"]
        lengths = [[count * 3 * size * size], [count * 8]]
        state = _state(entry)
        if state != record["files"] or [[length] for length, _ in state] != lengths:
            return None
        # A change of the tensor stays in memory, and never reaches the file.
        pixels = np.memmap(entry / _PIXELS, np.uint8, "c", shape=(count, 3, size, size))
        labels = np.fromfile(entry / _LABELS, np.int64)
    except (InputError, KeyError, OSError, TypeError, ValueError):
        return None
    return torch.from_numpy(pixels), torch.from_numpy(labels)
