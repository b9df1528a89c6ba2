"""Mend a set: make again exactly what is not as it was made."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from sio_data.compilation import DROPPED
from sio_data.completion import close, reopen, tidy
from sio_data.engines.drawing import drawing_job
from sio_data.errors import CorruptSetError, InputError
from sio_data.files import as_folder, sha256_file
from sio_data.layout import Layout
from sio_data.manifest import Manifest, ShardRecord
from sio_data.plan import Plan
from sio_data.progress import progress
from sio_data.recipe import Recipe
from sio_data.records import Records
from sio_data.regeneration import reopen_generator
from sio_data.sets import unknown_shards
from sio_data.verification import Fault, examine, shard_fault


@dataclass(frozen=True)
class Repaired:
    """What `repair` did.

    Attributes:
        folder: The set, sound now.
        faults: What was wrong before.
        remade: Paths of the shards that were made again.
        removed: Paths of doubled shards that were deleted.
    """

    folder: Path
    faults: tuple[Fault, ...]
    remade: tuple[str, ...]
    removed: tuple[str, ...]


def repair(
    folder: str | Path,
    *,
    weights: str | None = None,
    sampling: Mapping[str, str] | None = None,
    device: str | None = None,
) -> Repaired:
    """Mend a set: recover its manifest, make bad shards again, delete doubled ones. Sound shards are not touched.

    The generator is needed only if a shard is bad. Killed and called again, it goes on.

    Args:
        folder: The set's folder or URL.
        weights: Where the generator's weights are; None takes what the set says.
        sampling: Options of the back end whose recorded value is no longer what it takes, like a classifier's folder.
        device: Where to run.

    Raises:
        InputError: It is no set, its recipe is lost, or the generator cannot be opened. Nothing was changed.
        CorruptSetError: A file in `data/` is neither part of the set nor a copy of a part. Nothing was changed.
    """
    folder = as_folder(folder)
    manifest, faults = examine(folder)
    layout = Layout(manifest.recipe)
    doubles = _doubled_shards(folder, manifest)
    if any(fault.path == DROPPED for fault in faults):
        _own_recipe(manifest, [DROPPED])
    sound = _sound_records(folder, manifest, faults)
    missing = [index for index, path in enumerate(layout.paths()) if path not in sound]
    if faults or missing or not manifest.complete:
        if missing:
            recipe = _own_recipe(manifest, [layout.path(index) for index in missing])
            generator = reopen_generator(manifest, weights, sampling, device)
        for path in doubles:
            path.unlink()
        Records(folder).drop(layout.path(index) for index in missing)
        reopen(folder, replace(manifest, complete=True), list(sound.values()))  # all of it is written anew
        if missing:
            with progress("mending", sum(map(layout.size, missing))) as advance:
                drawing_job(folder, Plan(recipe), generator).make(missing, advance)
        close(folder, manifest, alone=True)
    tidy(folder)
    remade, removed = tuple(layout.path(index) for index in missing), tuple(f"data/{path.name}" for path in doubles)
    return Repaired(folder, tuple(faults), remade, removed)


def _own_recipe(manifest: Manifest, damaged: Sequence[str]) -> Recipe:
    """Give the recipe that damaged files are made again by."""
    if isinstance(manifest.recipe, Recipe):
        return manifest.recipe
    raise InputError(
        f"no generator makes these again: {', '.join(damaged)}. Delete what is there of them, and run this again with "
        f"the same --out: {manifest.origin.command}"
    )


def _sound_records(folder: Path, manifest: Manifest, faults: Sequence[Fault]) -> dict[str, ShardRecord]:
    """Give the records of the shards that can stay, by path."""
    if manifest.complete:
        bad = {fault.path for fault in faults}
        return {record.path: record for record in manifest.shards if record.path not in bad}
    entered = {path: Records(folder).find(path) for path in Layout(manifest.recipe).paths()}
    return {path: record for path, record in entered.items() if record and not shard_fault(folder, record, manifest)}


def _doubled_shards(folder: Path, manifest: Manifest) -> list[Path]:
    """List the files in `data/` that are copies of shards of the set.

    Raises:
        CorruptSetError: A file is neither a shard nor a copy of one.
    """
    hashes = {record.sha256 for record in manifest.shards}
    strange = unknown_shards(folder, Layout(manifest.recipe).paths())
    for path in strange:
        if not path.is_file() or sha256_file(path) not in hashes:
            raise CorruptSetError(f"{path} is not part of the set, nor a copy of a part. Move it out of there.")
    return strange
