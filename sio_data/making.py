"""Make a set, or go on with one that was begun: what is missing -> shards -> a complete set."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeAlias

from sio_data.compilation import SetRecipe
from sio_data.completion import begun, close, is_whole, may_take_over, reopen, tidy
from sio_data.engines.job import Advance
from sio_data.errors import FolderInUseError
from sio_data.files import check_output_folder, check_same_settings, make_folder
from sio_data.layout import Layout
from sio_data.manifest import MANIFEST, Manifest
from sio_data.progress import progress
from sio_data.records import Records
from sio_data.sets import refuse_unknown_shards
from sio_data.shards import check_shard

MakeShards: TypeAlias = Callable[[Sequence[int], Advance], None]
"""Makes the shards of these numbers and enters a record of each; tells after each batch how many samples it held."""


def begin(folder: Path, fresh: Manifest) -> Manifest:
    """Give the manifest of a folder that was begun with this recipe; begin it if no shard of it is finished.

    Args:
        folder: New, empty, or begun with the same recipe.
        fresh: The manifest of a set that is not begun.

    Raises:
        FolderInUseError: The folder holds something else.
        SettingsMismatchError: It was begun with another recipe.
    """
    if (folder / MANIFEST).is_file():
        manifest = Manifest.read(folder)
        if manifest.recipe == fresh.recipe or is_settled(folder, manifest):
            check_same_settings(folder, manifest.recipe.to_json(), fresh.recipe.to_json())
            return manifest
    else:
        try:
            check_output_folder(folder, is_ours=lambda entry: False)
        except FolderInUseError:
            if not (folder / MANIFEST).is_file():
                raise
            return begin(folder, fresh)  # another run began it just now
    make_folder(folder)
    fresh.write(folder)
    return fresh


def is_settled(folder: Path, manifest: Manifest) -> bool:
    """Tell whether a folder that was begun keeps its recipe: it holds finished shards, or a run is at work there."""
    return manifest.complete or Records(folder).any() or not may_take_over(folder)


def finish(
    folder: Path, manifest: Manifest, make: MakeShards, doing: str, share: range | None = None, alone: bool = True
) -> tuple[int, bool]:
    """Make what is missing of a set that was begun, and close it if all is there.

    Args:
        folder: The set's folder.
        manifest: As `begin` gave it.
        make: Makes shards.
        doing: What the progress bar says.
        share: Numbers of the shards that this process is to make; None means all.
        alone: Whether nobody else is expected to make shards of it.

    Returns:
        How many samples of the share were missing, and whether the whole set is there now.

    Raises:
        CorruptSetError: A finished shard was changed.
    """
    layout = Layout(manifest.recipe)
    share = range(len(layout)) if share is None else share
    finished = _check_finished(folder, layout, manifest, share)
    refuse_unknown_shards(folder, layout.paths())
    missing = [index for index in share if layout.path(index) not in finished]
    made = sum(map(layout.size, missing))
    there = [record for record in manifest.shards if (folder / record.path).is_file()]
    if missing or len(there) < len(layout) or not is_whole(folder, manifest):
        reopen(folder, manifest, there)
        total = manifest.recipe.samples
        with begun(folder, manifest.recipe), progress(doing, total, total - made) as advance:
            make(missing, advance)
        if not close(folder, manifest, alone):
            return made, False
    tidy(folder)
    return made, True


def _check_finished(folder: Path, layout: Layout[SetRecipe], manifest: Manifest, share: range) -> set[str]:
    """List the paths of a share's shards that are there, after checking that they are what they were."""
    finished = set()
    entered = Records(folder)
    with progress("checking what is there", len(share)) as advance:
        for index in share:
            record = manifest.shards[index] if manifest.complete else entered.find(layout.path(index))
            if record and (folder / record.path).is_file():
                check_shard(folder, record)
                finished.add(record.path)
            advance(1, "")
    return finished
