"""Decoded images in a file of the cache, mapped into memory: opened at once, and no larger in memory than what is used.

An entry of the cache is a folder that appears whole or not at all, with pixels, labels, and a record of both files'
sizes and times. An entry that does not fit its record is made anew.
"""

from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO
from uuid import uuid4

import numpy as np
import torch

from sio_data.engines.claims import sole_writer
from sio_data.errors import FolderInUseError, InputError
from sio_data.files import clear_if_full, flush_tree, read_json, remove_tree, sha256_json, write_json
from sio_data.foreign import cache_named
from sio_data.image_set import ImageSet
from sio_data.images import Pixels

_PIXELS, _LABELS, _RECORD = "pixels.raw", "labels.raw", "record.json"
_FORMAT = "sio-data/mapped/1"

_Tensors = tuple[torch.Tensor, torch.Tensor]  # images and labels


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
    return ImageSet(*(_open(entry) or _make(entry, decode, name)), class_names, name)


def _make(entry: Path, decode: Callable[[], Iterable[tuple[Pixels, int]]], name: str) -> _Tensors:
    """Make an entry, and map it; if it cannot be put in its place, map what was written."""
    entry.parent.mkdir(parents=True, exist_ok=True)
    work = entry.with_name(f".{entry.name}-{uuid4().hex}")
    with clear_if_full(entry.parent, "Make room, or let HF_DATASETS_CACHE name another disk."), sole_writer(work):
        _remove_abandoned(work)
        try:
            made = work / "new"
            made.mkdir(parents=True)
            _write(made, decode(), name)
            mapped = _open(made)  # stays readable whatever becomes of the files' names
            _put(made, entry)
            found = _open(entry) or mapped
        finally:
            remove_tree(work)
    if found is None:
        raise InputError(f"{entry} changes while it is written. Run the same command again.")
    return found


def _remove_abandoned(work: Path) -> None:
    """Delete what killed writers left: that of which the lock is free."""
    with suppress(FolderInUseError), sole_writer(work):
        return  # it was free though it is ours: this file system has no locks
    for lock in list(work.parent.glob("..sio-data-*.lock")):
        abandoned = lock.with_name(lock.name.removeprefix(".").removesuffix(".lock"))
        with suppress(FolderInUseError, OSError), sole_writer(abandoned):  # another user's cannot be locked
            remove_tree(abandoned)


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


def _put(made: Path, entry: Path) -> None:
    """Give a finished folder its name, unless another process was faster: what that made is the same."""
    with suppress(OSError):  # the entry is another user's, or there again
        try:
            made.rename(entry)
        except OSError:
            if _open(entry) is None:
                entry.rename(made.with_name("old"))
                made.rename(entry)


def _open(entry: Path) -> _Tensors | None:
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
