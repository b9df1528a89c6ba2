"""Real data, and any other images: embedded, local folders, sets of ours, and the Hub.

A source is named by a text:

    digits                          an embedded source (see `sio_data.embedded`)
    path/to/folder                  what `datasets.load_dataset(folder)` reads, or a synthetic set made by this package
    path/to/folder#split            the same, and this split of it
    file:///path/to/folder          the same; no other URLs
    path/to/list.txt                a list of pictures in OpenOOD's layout (see `sio_data.image_lists`): one split
    hub:owner/name@revision#split   a data set or a synthetic set on the Hub; revision and split may be left out
    hub:owner/name/configuration    one configuration of it
"""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from PIL import Image

from sio_data.embedded import EMBEDDED, load_embedded, split_indices
from sio_data.errors import InputError, UnknownNameError
from sio_data.foreign import find_columns
from sio_data.hub.names import HubName
from sio_data.image_lists import ImageList, is_image_list
from sio_data.image_set import UNLABELLED, ImageSet
from sio_data.images import IMAGE_ERRORS, Pixels, fit_square
from sio_data.manifest import MANIFEST, Manifest
from sio_data.mapped import map_images
from sio_data.progress import progress
from sio_data.recipe import MAX_IMAGE_SIZE
from sio_data.sets import open_set
from sio_data.source_names import SourceName, Split, choose_split, find_split
from sio_data.splits import open_splits

Storage = Literal["memory", "mapped"]

STORAGES = ("memory", "mapped")
_HELD_OUT = 0.1  # of the training split, where a data set has no validation split


def load_source(
    name: str | Path,
    split: Split = "train",
    *,
    image_size: int | None = None,
    labelled: bool = True,
    hold_out: bool = True,
    storage: Storage = "memory",
) -> ImageSet:
    """Load a split of a source.

    Where a data set has no validation split, a tenth of its training split is held out for it: the same tenth always,
    class by class, and never part of `train`. A `#split` in the name stands for a data set of that split alone: `test`
    is all of it, `train` and `val` are cut from it in the same way. So is a list of pictures.

    Args:
        name: See the module's docstring.
        split: `train`, `val` or `test`.
        image_size: Resize to this many pixels (the middle square, with antialiasing). None keeps the size, which must
            then be the same for all images.
        labelled: Whether labels are needed. Without them all labels are -1, and a data set of one split gives that
            split, whichever is asked for.
        hold_out: Whether `train` leaves the held-out tenth out. Synthetic data need no validation split.
        storage: `memory`, or `mapped`: the images are decoded once, into a file in the cache of `datasets`, which takes
            `3 * H * H` bytes for each. It is mapped into memory, so that only what is used takes any; the next call
            opens it at once. Embedded sources stay in memory.

    Returns:
        The images: uint8 [N, 3, H, H], RGB.

    Raises:
        UnknownNameError: There is no such source or split.
        InputError: It is a URL that is not `file://`, or holds no images, no named labels, or images of several sizes.
    """
    if image_size is not None and not 1 <= image_size <= MAX_IMAGE_SIZE:
        raise InputError(f"image_size must be from 1 to {MAX_IMAGE_SIZE}, not {image_size}.")
    if storage not in STORAGES:
        raise UnknownNameError("storage", storage, STORAGES)
    source = SourceName.parse(name)
    if not source.hub and source.path in EMBEDDED:
        images = _resized(_load_embedded(source, split, hold_out and labelled), image_size)
    elif not source.hub and is_image_list(source.path):
        listed = ImageList.read(source.path, labelled=labelled)
        images = _load_list(listed, source, split, image_size, hold_out and labelled, storage)
    elif storage == "mapped" and (manifest := find_manifest(name)):
        images = _map_synthetic(source, manifest, split, labelled, image_size)
    elif folder := _find_set(source):
        images = _resized(_load_synthetic(source, folder, split, labelled), image_size)
    else:
        images = _load_dataset(source, split, image_size, labelled, hold_out and labelled, storage)
    return images if labelled else images.without_labels()


def find_manifest(name: str | Path) -> Manifest | None:
    """Give the manifest of a synthetic set, here or on the Hub, by its name as a source; None for other sources."""
    source = SourceName.parse(name)
    if source.hub and not source.config:
        from sio_data.hub.caching import cached_manifest
        from sio_data.hub.calls import quiet

        with quiet():
            folder = cached_manifest(HubName(source.path, source.revision))
    else:
        folder = _find_set(source)
    return Manifest.read(folder) if folder else None


def _find_set(source: SourceName) -> Path | None:
    """Give the folder of a synthetic set, on the Hub that of its copy in the cache; None for other sources."""
    if source.hub and source.config:
        return None  # a part of a bundle, or a data set of others
    if source.hub:
        from sio_data.hub.caching import cached_set

        return cached_set(HubName(source.path, source.revision))
    if source.path in EMBEDDED:
        return None
    return Path(source.path) if (Path(source.path) / MANIFEST).is_file() else None


def _load_embedded(source: SourceName, split: Split, hold_out: bool) -> ImageSet:
    wanted = source.split or split
    if wanted not in EMBEDDED[source.path]:
        raise UnknownNameError(f"split of {source.path}", wanted, EMBEDDED[source.path])
    images = load_embedded(source.path, wanted)
    if source.split and hold_out and split != "test":
        return images.select(_held_out(images.labels, source)[split])
    return images


def _load_list(
    listed: ImageList, source: SourceName, split: Split, image_size: int | None, hold_out: bool, storage: Storage
) -> ImageSet:
    if source.split:
        raise UnknownNameError(f"split of {source.path}", source.split, (), "A list is one split.")
    if hold_out and split != "test":
        listed = listed.select(_held_out(listed.labels, source)[split])
    return listed.load(image_size, mapped=storage == "mapped")


def _load_synthetic(source: SourceName, folder: Path, split: Split, labelled: bool) -> ImageSet:
    _check_synthetic_split(source, split, labelled)
    return replace(_read_set(source, folder), name=source.path)


def _map_synthetic(
    source: SourceName, manifest: Manifest, split: Split, labelled: bool, image_size: int | None
) -> ImageSet:
    _check_synthetic_split(source, split, labelled)
    size = image_size or manifest.recipe.image_size
    key = ["set", manifest.digest, size]
    return map_images(key, lambda: _decode_set(source, size), manifest.recipe.class_names, source.path)


def _decode_set(source: SourceName, size: int) -> Iterator[tuple[Pixels, int]]:
    folder = _find_set(source)
    if folder is None:
        raise InputError(f"{source} is no synthetic set any more.")
    if source.hub:
        from sio_data.hub.caching import check_cached

        check_cached(HubName(source.path, source.revision), folder)
    synthetic = open_set(folder)
    with progress(f"decoding {source.path}", synthetic.manifest.recipe.samples) as advance:
        for sample in synthetic.samples():
            image = sample.image if len(sample.image) == size else fit_square(Image.fromarray(sample.image), size)
            yield image, sample.label
            advance(1, "")


def _check_synthetic_split(source: SourceName, split: Split, labelled: bool) -> None:
    if source.split not in (None, "train") or (labelled and split != "train"):
        hint = "A synthetic set goes beside real data (--synthetic), not in their place."
        raise UnknownNameError(f"split of the synthetic set {source.path}", source.split or split, ["train"], hint)


def _read_set(source: SourceName, folder: Path) -> ImageSet:
    if not source.hub:
        return open_set(folder).read()
    from sio_data.hub.caching import read_cached_set

    return read_cached_set(HubName(source.path, source.revision), folder)


def _resized(images: ImageSet, size: int | None) -> ImageSet:
    if size is None or images.image_size == size:
        return images
    pictures = (Image.fromarray(image) for image in images.images.permute(0, 2, 3, 1).numpy())
    return replace(images, images=_stack([fit_square(picture, size) for picture in pictures]))


def _load_dataset(
    source: SourceName, split: Split, image_size: int | None, labelled: bool, hold_out: bool, storage: Storage
) -> ImageSet:
    whole = open_splits(source)
    chosen = _choose_split(source, list(whole), split, labelled)
    rows = whole[chosen]
    image_column, label_column = find_columns(rows.features, source, labelled)
    if label_column:
        labels = torch.tensor([UNLABELLED if label is None else label for label in rows[label_column]])
        class_names = tuple(rows.features[label_column].names)
    else:
        labels, class_names = torch.full((len(rows),), UNLABELLED), ()
    cut = hold_out and split != "test" and bool(source.split or find_split(list(whole), "val") is None)
    key = ["dataset", [file["filename"] for file in rows.cache_files], cut and split, image_column, image_size]
    if cut:
        part = _held_out(labels, source)[split]
        rows, labels = rows.select(part), labels[part]
    if not len(rows):
        raise InputError(f"{source.path} holds no image.")
    pictures = _read_images(rows, image_column, image_size, source)
    if storage == "mapped" and rows.cache_files:
        mapped = map_images(key, lambda: zip(pictures, labels.tolist(), strict=True), class_names, source.path)
        return replace(mapped, labels=labels)
    return ImageSet(_stack(list(pictures)), labels, class_names, source.path)


def _held_out(labels: torch.Tensor, source: SourceName) -> dict[str, list[int]]:
    parts = split_indices(labels, {"train": 1 - _HELD_OUT, "val": _HELD_OUT}, "held-out")
    if not parts["val"]:
        raise InputError(
            f"{source.path} has no validation split and too few images of each class to hold a tenth out: add one."
        )
    return parts


def _choose_split(source: SourceName, names: list[str], split: Split, labelled: bool) -> str:
    found = choose_split(source, names, split)
    if found is None and split == "val" and labelled:
        found = find_split(names, "train")
    if found is None and not labelled and len(names) == 1:
        found = names[0]
    if found is None:
        raise UnknownNameError(
            f"split of {source.path}", split, names, f"Name another with #split, or add a folder {split}/."
        )
    return found


def _read_images(rows: Any, column: str, image_size: int | None, source: SourceName) -> Iterator[Pixels]:
    size = image_size
    pictures = iter(rows.select_columns(column))
    with progress(f"reading {source.path}", len(rows)) as advance:
        for index in range(len(rows)):
            picture = _next_picture(pictures, column, f"{source.path}: image {index}")
            size = picture.width if size is None else size
            if image_size is None and picture.size != (size, size):
                raise InputError(
                    f"{source.path}: images differ in size or are not square "
                    f"({size}x{size}, {picture.width}x{picture.height}). Give --image-size."
                )
            yield fit_square(picture, size)
            advance(1, "")


def _next_picture(rows: Iterator[dict[str, Any]], column: str, what: str) -> Image.Image:
    try:
        picture = next(rows)[column]
    except IMAGE_ERRORS as error:
        raise InputError(f"{what} cannot be read ({error}).") from error
    if not isinstance(picture, Image.Image):
        raise InputError(f"{what} is missing.")
    return picture


def _stack(images: list[Pixels]) -> torch.Tensor:
    """Stack uint8 [H, W, 3] images into uint8 [N, 3, H, W]."""
    return torch.from_numpy(np.ascontiguousarray(np.stack(images).transpose(0, 3, 1, 2)))
