"""Check a whole set and name every fault; nothing is changed."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from sio_data.bundle_card import bundle_card_fits
from sio_data.bundles import is_bundle, listed_sets, open_bundle
from sio_data.compilation import DROPPED, SetRecipe, listing_hash
from sio_data.errors import DamagedFileError, IncompleteError, InputError
from sio_data.files import as_folder, sha256_file
from sio_data.layout import Layout
from sio_data.manifest import MANIFEST, Manifest, ShardRecord, find_sets
from sio_data.progress import progress
from sio_data.reader_info import INFO, info_fits
from sio_data.recovery import CARD, is_of_another_set, recover_manifest
from sio_data.regeneration import Comparison, compare_samples
from sio_data.set_card import CARD_UNFIT, card_fits
from sio_data.sets import PREVIEW, SyntheticSet, no_set, unknown_shards
from sio_data.shards import read_shard


@dataclass(frozen=True)
class Fault:
    """Something that is not as it was made.

    Attributes:
        path: Of the file, relative to the set.
        what: What is wrong with it.
    """

    path: str
    what: str


@dataclass(frozen=True)
class Verified:
    """What `verify` found.

    Attributes:
        folder: The set.
        samples: How many samples it should hold.
        faults: Everything that is wrong; empty if the set is sound.
        comparison: How samples that were made again compare to the stored ones; None if none were.
    """

    folder: Path
    samples: int
    faults: tuple[Fault, ...]
    comparison: Comparison | None = None


def verify(
    folder: str | Path,
    *,
    regenerate: int = 0,
    weights: str | None = None,
    sampling: Mapping[str, str] | None = None,
    device: str | None = None,
) -> Verified:
    """Check a set: manifest, card, and of every shard count, hash, key order, labels, seeds and images.

    Args:
        folder: The set's folder or URL; or that of a bundle, of which every set is checked, and its own card.
        regenerate: How many samples, spread over the set, to make again and compare.
        weights: Where the generator's weights are; None takes what the set says.
        sampling: Options of the back end whose recorded value is no longer what it takes, like a classifier's folder.
        device: Where to run.

    Raises:
        InputError: It is no set, or the samples cannot be made again.
        IncompleteError: It is not finished.
    """
    if regenerate < 0:
        raise InputError(f"regenerate must be 0 or more samples, not {regenerate}.")
    folder = as_folder(folder)
    if is_bundle(folder):
        if regenerate:
            raise InputError(f"{folder} holds several sets: make samples again of one, like {find_sets(folder)[0]}.")
        return _verify_bundle(folder)
    manifest, faults = _examine_complete(folder)
    comparison = None
    if regenerate and not faults:
        comparison = compare_samples(SyntheticSet(folder, manifest), regenerate, weights, sampling, device)
        faults += [Fault(key, "made again, it is another picture") for key in comparison.different]
    return Verified(folder, manifest.recipe.samples, tuple(faults), comparison)


def _verify_bundle(folder: Path) -> Verified:
    samples, faults = 0, []
    listed = set(listed_sets(folder))
    for place in sorted(listed.union(find_sets(folder)), key=str):
        path = place.relative_to(folder).as_posix()
        if place.is_dir():
            manifest, found = _examine_complete(place)
            samples += manifest.recipe.samples
            faults += [Fault(f"{path}/{fault.path}", fault.what) for fault in found]
        else:
            faults.append(Fault(path, "is missing"))
    if not (folder / CARD).is_file():
        faults.append(Fault(CARD, "is missing"))
    elif not faults and not bundle_card_fits(open_bundle(folder)):
        faults.append(Fault(CARD, CARD_UNFIT))
    return Verified(folder, samples, tuple(faults))


def _examine_complete(folder: Path) -> tuple[Manifest, list[Fault]]:
    manifest, faults = examine(folder)
    if not manifest.complete:
        raise IncompleteError(f"{folder} is incomplete. Run the command that began it again.")
    return manifest, faults


def examine(folder: Path) -> tuple[Manifest, list[Fault]]:
    """Give the manifest, recovered if it was edited, and all faults of a set.

    Raises:
        InputError: It is no set, or its manifest cannot be recovered.
    """
    if not (folder / MANIFEST).exists() and not any((folder / "data").glob("train-*.tar")):
        raise no_set(folder)
    manifest, faults = _read_manifest(folder)
    layout = Layout(manifest.recipe)
    strange = unknown_shards(folder, layout.paths())
    if manifest.complete:
        sound_manifest = not faults
        faults += _shard_faults(folder, manifest)
        faults += [Fault(name, "is missing") for name in (CARD, PREVIEW, INFO) if not (folder / name).is_file()]
        if (folder / INFO).is_file() and not info_fits(folder, manifest.recipe):
            faults.append(Fault(INFO, "does not fit the data: readers of shards could miss some"))
        if sound_manifest and (folder / CARD).is_file() and not card_fits(folder, manifest):
            faults.append(Fault(CARD, CARD_UNFIT))
        faults += _listing_faults(folder, manifest.recipe)
    return manifest, faults + [Fault(f"data/{path.name}", "is not part of the set") for path in strange]


def _listing_faults(folder: Path, recipe: SetRecipe) -> list[Fault]:
    """Check the list of what a filter dropped."""
    expected = listing_hash(recipe)
    path = folder / DROPPED
    if expected is None or (path.is_file() and sha256_file(path) == expected):
        return []
    return [Fault(DROPPED, "is missing or was edited")]


def _read_manifest(folder: Path) -> tuple[Manifest, list[Fault]]:
    try:
        manifest = Manifest.read(folder)
    except DamagedFileError as error:
        what = error.what if (folder / MANIFEST).exists() else "is missing"
        return recover_manifest(folder), [Fault(MANIFEST, what)]
    if is_of_another_set(folder, manifest):
        return recover_manifest(folder), [Fault(MANIFEST, "is that of another set")]
    return manifest, []


def _shard_faults(folder: Path, manifest: Manifest) -> list[Fault]:
    faults = []
    records = {record.path: record for record in manifest.shards}
    layout = Layout(manifest.recipe)
    with progress(f"verifying {folder}", manifest.recipe.samples) as advance:
        for index, path in enumerate(layout.paths()):
            fault = shard_fault(folder, records.get(path), manifest)
            if fault:
                faults.append(Fault(path, fault))
            advance(layout.size(index), "")
    return faults


def shard_fault(folder: Path, record: ShardRecord | None, manifest: Manifest) -> str | None:
    """Say what is wrong with a shard; None if nothing is."""
    if record is None:
        return "has no sound record in the manifest"
    try:
        for _ in read_shard(folder, record, manifest.recipe):
            pass
    except DamagedFileError as error:
        return error.what
    return None
