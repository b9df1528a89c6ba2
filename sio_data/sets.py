"""Synthetic sets: open one, and read it into memory."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import numpy as np
import torch

from sio_data.errors import CorruptSetError, IncompleteError, InputError
from sio_data.files import as_folder
from sio_data.image_set import ImageSet
from sio_data.images import first_of_each, write_class_grid
from sio_data.manifest import MANIFEST, Manifest, find_sets
from sio_data.progress import progress
from sio_data.shards import Sample, read_shard

PREVIEW = "preview.png"
_PREVIEW_COLUMNS = 12
_PREVIEW_ROWS = 100
_PREVIEW_SIDE = 256  # larger images are made smaller, so that the picture stays one that can be opened


@dataclass(frozen=True)
class SyntheticSet:
    """A complete synthetic set.

    Attributes:
        folder: Where it lies.
        manifest: What it holds and where it came from.
    """

    folder: Path
    manifest: Manifest

    def read(self) -> ImageSet:
        """Read the whole set into memory; each shard's hash is checked on the way.

        Returns:
            Images and labels in the order of the set.

        Raises:
            CorruptSetError: A shard is truncated, edited, missing or not what the recipe asks for.
        """
        recipe = self.manifest.recipe
        try:
            images = np.empty((recipe.samples, 3, recipe.image_size, recipe.image_size), np.uint8)
        except MemoryError as error:
            raise InputError(f"{self.folder} does not fit in memory: {recipe.samples:,} images.") from error
        labels = np.empty(recipe.samples, np.int64)
        with progress(f"reading {self.folder}", recipe.samples) as advance:
            for place, sample in enumerate(self.samples()):
                images[place], labels[place] = sample.image.transpose(2, 0, 1), sample.label
                advance(1, "")
        return ImageSet(torch.from_numpy(images), torch.from_numpy(labels), recipe.class_names, str(self.folder))

    def samples(self) -> Iterator[Sample]:
        """Read the samples one after the other, in the order of the set; the hash of each shard is checked before.

        Raises:
            CorruptSetError: A shard is truncated, edited, missing or not what the recipe asks for.
        """
        for record in self.manifest.shards:
            yield from read_shard(self.folder, record, self.manifest.recipe)

    def batches(self, size: int) -> Iterator[list[Sample]]:
        """Read the samples in batches of `size`, in the order of the set; the last one may be smaller.

        Raises:
            CorruptSetError: A shard is truncated, edited, missing or not what the recipe asks for.
        """
        samples = self.samples()
        while batch := list(islice(samples, size)):
            yield batch

    def write_preview(self) -> None:
        """Draw `preview.png` from as many shards as it takes: one row a class, up to 100."""
        recipe = self.manifest.recipe
        shown = [label for label, count in enumerate(recipe.counts) if count][:_PREVIEW_ROWS]
        wanted = {label: min(_PREVIEW_COLUMNS, recipe.counts[label]) for label in shown}
        side = min(recipe.image_size, _PREVIEW_SIDE)
        rows = first_of_each(((sample.label, sample.image) for sample in self.samples()), wanted, side)
        grid = [(recipe.class_names[label], images) for label, images in rows.items()]
        write_class_grid(self.folder / PREVIEW, grid, max(wanted.values()))


def open_set(folder: str | Path) -> SyntheticSet:
    """Open a synthetic set.

    Args:
        folder: A folder or URL that `generate` made.

    Raises:
        InputError: It is no synthetic set.
        CorruptSetError: Its manifest is damaged.
        IncompleteError: Shards are still to be made.
    """
    folder = as_folder(folder)
    if not (folder / MANIFEST).is_file():
        raise no_set(folder)
    manifest = Manifest.read(folder)
    if not manifest.complete:
        raise IncompleteError(f"{folder} is incomplete. Run the command that began it again.")
    refuse_unknown_shards(folder, (record.path for record in manifest.shards))
    return SyntheticSet(folder, manifest)


def no_set(folder: Path) -> InputError:
    """Make the error for a folder that is no synthetic set."""
    several = find_sets(folder)
    if several:
        return InputError(f"{folder} is no synthetic set, but holds some: name one of them, like {several[0]}.")
    return InputError(f"{folder} is no synthetic set: it holds no {MANIFEST}.")


def refuse_unknown_shards(folder: Path, paths: Iterable[str]) -> None:
    """Refuse a set whose `data/` holds anything but its shards; hidden files do not count.

    Raises:
        CorruptSetError: There is one.
    """
    strange = unknown_shards(folder, paths)
    if strange:
        raise CorruptSetError(f"{strange[0]} is not part of the set. Move it out of there.")


def unknown_shards(folder: Path, paths: Iterable[str]) -> list[Path]:
    """List what a set's `data/` holds but for its shards; hidden files do not count."""
    known = {*paths}
    return [
        path
        for path in sorted((folder / "data").glob("*"), key=lambda path: path.name)
        if (f"data/{path.name}" not in known or not path.is_file()) and not path.name.startswith(".")
    ]
