"""From finished shards to a complete set, and back: a set is complete, or visibly incomplete, never in between."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path

from sio_data.compilation import SetRecipe
from sio_data.engines.claims import claim
from sio_data.errors import IncompleteError
from sio_data.files import check_same_settings, is_url, make_folder, remove_leftovers, remove_tree, write_text
from sio_data.layout import Layout
from sio_data.manifest import Manifest, ShardRecord
from sio_data.quality.measures import find_measures
from sio_data.reader_info import INFO, info_fits, write_info
from sio_data.records import RECORDS, Records
from sio_data.recovery import CARD
from sio_data.set_card import card_fits, read_notes, render_incomplete_card, render_set_card, replace_measures
from sio_data.sets import PREVIEW, SyntheticSet

_RUNNING = "running.lock"


def is_whole(folder: Path, manifest: Manifest) -> bool:
    """Tell whether a complete set has its preview, and the card and the `_info.json` that fit its data."""
    return (folder / PREVIEW).is_file() and card_fits(folder, manifest) and info_fits(folder, manifest.recipe)


def reopen(folder: Path, manifest: Manifest, finished: Sequence[ShardRecord]) -> None:
    """Make the folder say that it is not finished, to people, to `load_dataset` and to readers of shards.

    The card comes before the manifest: killed in between, the set is one whose card does not fit, and is not taken for
    whole. The card of a set that was incomplete all along is left alone: another run may be writing the final one.

    Args:
        folder: The set's folder.
        manifest: Its manifest as it was found.
        finished: Of a complete set, the shards that are to be kept.
    """
    for name in ("data", RECORDS):
        make_folder(folder / name)
    if manifest.complete:
        Records(folder).enter(finished)
        (folder / INFO).unlink(missing_ok=True)
    if manifest.complete or not (folder / CARD).is_file():
        write_text(folder / CARD, render_incomplete_card(manifest, read_notes(folder)))
    if manifest.complete:
        replace(manifest, complete=False, shards=()).write(folder)


@contextmanager
def begun(folder: Path, recipe: SetRecipe) -> Iterator[None]:
    """Hold a set that is being made, so that no run with another recipe takes its folder over.

    Raises:
        SettingsMismatchError: One did, just before.
    """
    mine = claim(folder / RECORDS / _RUNNING, wait=True, shared=True)
    with mine or nullcontext():
        check_same_settings(folder, Manifest.read(folder).recipe.to_json(), recipe.to_json())
        yield


def may_take_over(folder: Path) -> bool:
    """Tell whether a folder that was begun, and holds no finished shard, may be begun anew with another recipe.

    Not while a run is at work there; behind a URL that cannot be known.
    """
    if is_url(folder):
        return False
    if not (folder / RECORDS).is_dir():
        return True
    sole = claim(folder / RECORDS / _RUNNING, wait=False)
    if sole is not None:
        sole.release()
    return sole is not None


def close(folder: Path, manifest: Manifest, alone: bool) -> bool:
    """Complete a set if all its shards are there, the manifest last.

    Args:
        folder: The set's folder.
        manifest: Its manifest when it was begun.
        alone: Whether nobody else is expected to make shards of it.

    Returns:
        Whether the set is complete.

    Raises:
        IncompleteError: Nobody else is at work, and shards are missing.
    """
    entered = Records(folder)
    layout = Layout(manifest.recipe)
    records = [record for path in layout.paths() if (record := entered.find(path))]
    if len(records) < len(layout):
        complete = Manifest.read(folder).complete  # another run was first, and has tidied the records away
        if alone and not complete:
            raise IncompleteError(f"shards of {folder} vanished while it was made; run the same command again.")
        return complete
    try:
        write_complete(folder, manifest, records)
    except FileNotFoundError:
        if not Manifest.read(folder).complete:  # otherwise another run was first, and has tidied up
            raise
    return True


def write_complete(folder: Path, manifest: Manifest, records: Sequence[ShardRecord]) -> None:
    """Write the preview, `_info.json`, the card and, last, the manifest of a set whose shards are all there."""
    versions = {name: version(name) for name in ("sio-data", "torch", "pillow")}
    manifest = replace(manifest, complete=True, shards=tuple(records), versions=versions)
    SyntheticSet(folder, manifest).write_preview()
    write_info(folder, manifest.recipe)
    write_card(folder, manifest)
    manifest.write(folder)


def write_card(folder: Path, manifest: Manifest) -> None:
    """Write the card of a complete set, with the measures of its data.

    In a card that fits the data only the measures are written anew: the rest may be its owner's. Of a card that does
    not fit, only the owner's notes below its last line stay.
    """
    measures = find_measures(folder, manifest.digest)
    card = render_set_card(manifest, measures=measures.rows() if measures else (), notes=read_notes(folder))
    if card_fits(folder, manifest):
        card = replace_measures((folder / CARD).read_text(encoding="utf-8"), card)
    write_text(folder / CARD, card)


def tidy(folder: Path) -> None:
    """Remove what only an incomplete set needs."""
    remove_tree(folder / RECORDS)
    for place in (folder, folder / "data"):
        remove_leftovers(place)
