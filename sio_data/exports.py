"""`export`: a set in the form that another program reads."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

from sio_data.engines.claims import sole_writer
from sio_data.errors import FolderInUseError, InputError, UnknownNameError
from sio_data.export_formats import write_arrays, write_class_folders, write_parquet
from sio_data.files import as_folder, check_output_folder, clear_if_full, is_url, remove_leftovers, remove_tree
from sio_data.progress import progress
from sio_data.sets import open_set

Format = Literal["npy", "folder", "parquet"]

_WRITERS = {"npy": write_arrays, "folder": write_class_folders, "parquet": write_parquet}


@dataclass(frozen=True)
class Exported:
    """What `export` wrote.

    Attributes:
        folder: Where it lies.
        samples: How many images it holds.
    """

    folder: Path
    samples: int


def export(folder: str | Path, out: str | Path, *, format: Format) -> Exported:
    """Write a set in another form. The same set gives the same bytes.

    The hash of each shard is checked on the way, no more than a few images are in memory at once, and `out` appears
    when it is complete: an export that was killed is done again.

    Args:
        folder: The set's folder or URL.
        out: A new or empty folder.
        format: `npy` writes `images.npy` (uint8 [N, H, W, 3], RGB), `labels.npy` (int64 [N]) and `class_names.json`.
            `folder` writes a folder for each class, with the picture files as they are in the set, and
            `classes.json`, which says which folder is which class. `parquet` writes parquet files for `load_dataset`.

    Raises:
        UnknownNameError: There is no such format.
        InputError: It is no set, or `out` is a URL or lies in the set.
        IncompleteError: The set is not finished.
        FolderInUseError: `out` holds something, or another export is writing it.
        CorruptSetError: A shard is not as it was made.
        SioDataError: The disk is full.
    """
    if format not in _WRITERS:
        raise UnknownNameError("format", format, get_args(Format))
    synthetic = open_set(as_folder(folder))
    target = _check_target(out, synthetic.folder)
    samples = synthetic.manifest.recipe.samples
    full = clear_if_full(target, "Nothing was kept of this export: make space and run the same command again.")
    with full, _staged(target) as staging, progress(f"exporting {synthetic.folder}", samples) as advance:
        _WRITERS[format](staging, synthetic, advance)
    return Exported(target, samples)


def _check_target(out: str | Path, source: Path) -> Path:
    if is_url(out):
        raise InputError(f"{out} is no local folder: export to one, and copy it from there.")
    target = as_folder(out).resolve()
    if not is_url(source) and target.is_relative_to(source.resolve()):
        raise InputError(f"{out} lies in the set itself; name a folder outside of it.")
    _check_free(target)
    return target


def _check_free(target: Path) -> None:
    check_output_folder(target, is_ours=lambda entry: False)


@contextmanager
def _staged(target: Path) -> Iterator[Path]:
    """Give a hidden folder beside `target`, and make it `target` if all went well; else nothing is left of it."""
    staging = target.with_name(f".{target.name}.unfinished")
    if staging.is_symlink():
        raise FolderInUseError(f"{staging} is a link, and exports are made there first. Move it away.")
    target.parent.mkdir(parents=True, exist_ok=True)
    with sole_writer(target):
        _check_free(target)  # another export may have ended just before
        try:
            remove_tree(staging)  # of an export that was killed
            staging.mkdir()
            yield staging
            os.sync()  # once for all files: one by one takes minutes for many small ones
            if target.is_dir():
                remove_leftovers(target)
            staging.replace(target)
        finally:
            remove_tree(staging)
