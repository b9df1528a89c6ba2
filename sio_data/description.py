"""What a folder holds: synthetic sets, complete or not, or trained classifiers. No shard and no weight is read."""

import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sio_data.errors import InputError
from sio_data.files import as_folder, read_json
from sio_data.layout import Layout
from sio_data.manifest import MANIFEST, Manifest, find_sets
from sio_data.records import RECORDS
from sio_data.runs import CONFIG, LOG, WEIGHTS, find_runs, find_unfinished, read_record


@dataclass(frozen=True)
class SetDescription:
    """What a synthetic set holds, by its manifest.

    Attributes:
        folder: Where it lies.
        manifest: What it says of itself.
        shards_there: How many of its shards are finished and there; whether they are sound is for `verify` to tell.
    """

    folder: Path
    manifest: Manifest
    shards_there: int

    @property
    def command(self) -> str:
        """The command that makes it."""
        return f"{self.manifest.origin.command} {shlex.join(['--out', str(self.folder)])}"

    @property
    def bytes(self) -> int | None:
        """Size of all shards; None while the set is incomplete."""
        return sum(shard.bytes for shard in self.manifest.shards) if self.manifest.complete else None

    def to_json(self) -> dict[str, Any]:
        """Give all of it as a JSON object."""
        manifest, recipe = self.manifest, self.manifest.recipe
        return {
            "kind": "set",
            "folder": str(self.folder),
            "complete": manifest.complete,
            "samples": recipe.samples,
            "classes": dict(zip(recipe.class_names, recipe.counts, strict=True)),
            "image_size": recipe.image_size,
            "image_format": recipe.image_format,
            "shards": recipe.shards,
            "shards_there": self.shards_there,
            "bytes": self.bytes,
            "recipe_hash": recipe.hash,
            "recipe": recipe.to_json(),
            "weights": manifest.origin.weights,
            "licence": manifest.origin.licence,
            "citation": manifest.origin.citation,
            "versions": dict(manifest.versions),
            "digest": manifest.digest if manifest.complete else None,
            "command": self.command,
        }


@dataclass(frozen=True)
class BundleDescription:
    """What a folder of sets holds.

    Attributes:
        folder: Where it lies.
        parts: Its sets, complete or not, in the order of their paths.
    """

    folder: Path
    parts: tuple[SetDescription, ...]

    def path(self, part: SetDescription) -> str:
        """Give the path of a part in the bundle, with forward slashes."""
        return part.folder.relative_to(self.folder).as_posix()

    @property
    def samples(self) -> int:
        """How many samples all sets hold."""
        return sum(part.manifest.recipe.samples for part in self.parts)

    def to_json(self) -> dict[str, Any]:
        """Give all of it as a JSON object."""
        return {
            "kind": "bundle",
            "folder": str(self.folder),
            "complete": all(part.manifest.complete for part in self.parts),
            "samples": self.samples,
            "parts": [{"path": self.path(part), **part.to_json()} for part in self.parts],
        }


@dataclass(frozen=True)
class CheckpointDescription:
    """What a trained classifier is, by its configuration and the record of its training.

    Attributes:
        folder: Where it lies.
        network: Name of its network.
        class_names: Its class map.
        image_size: Height and width of its images in pixels.
        bytes: Size of its weights.
        training: The record of its training; empty if it has none.
    """

    folder: Path
    network: str
    class_names: tuple[str, ...]
    image_size: int
    bytes: int
    training: Mapping[str, Any]

    def to_json(self) -> dict[str, Any]:
        """Give all of it as a JSON object."""
        return {
            "kind": "checkpoint",
            **vars(self),
            "folder": str(self.folder),
            "class_names": list(self.class_names),
            "training": dict(self.training),
        }


@dataclass(frozen=True)
class UnfinishedDescription:
    """How far a training is that was interrupted, or still runs.

    Attributes:
        folder: Where it lies.
        epochs_done: How many epochs its log tells of.
        training: Its record.
    """

    folder: Path
    epochs_done: int
    training: Mapping[str, Any]

    def to_json(self) -> dict[str, Any]:
        """Give all of it as a JSON object."""
        return {
            "kind": "unfinished",
            "folder": str(self.folder),
            "epochs_done": self.epochs_done,
            "training": dict(self.training),
        }


@dataclass(frozen=True)
class RunsDescription:
    """What a folder of runs holds.

    Attributes:
        folder: Where they lie.
        runs: One checkpoint a seed, in the order of the seeds.
        unfinished: Those that are not finished, in the order of the seeds.
    """

    folder: Path
    runs: tuple[CheckpointDescription, ...]
    unfinished: tuple[UnfinishedDescription, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """Give all of it as a JSON object."""
        return {
            "kind": "runs",
            "folder": str(self.folder),
            "runs": [run.to_json() for run in self.runs],
            "unfinished": [run.to_json() for run in self.unfinished],
        }


Description = SetDescription | BundleDescription | CheckpointDescription | UnfinishedDescription | RunsDescription


def describe(folder: str | Path) -> Description:
    """Say what a folder holds. Only its records are read, so that any size is told at once; `verify` reads the shards.

    Args:
        folder: A folder or URL: a synthetic set, complete or not, a bundle of such, a checkpoint, or the runs that
            `train` made, finished or not.

    Raises:
        InputError: It is none of these.
        CorruptSetError: The set's manifest is damaged.
    """
    folder = as_folder(folder)
    if not folder.is_dir():
        raise InputError(f"{folder}: no such folder.")
    if (folder / MANIFEST).is_file():
        return _describe_set(folder)
    if sets := find_sets(folder):
        return BundleDescription(folder, tuple(map(_describe_set, sets)))
    return _describe_runs(folder)


def _describe_set(folder: Path) -> SetDescription:
    manifest = Manifest.read(folder)
    there = {path.stem for path in (folder / "data").glob("*.tar")}
    if not manifest.complete:
        there &= {path.stem for path in (folder / RECORDS).glob("*.json")}
    planned = {Path(path).stem for path in Layout(manifest.recipe).paths()}
    return SetDescription(folder, manifest, len(there & planned))


def _describe_runs(folder: Path) -> CheckpointDescription | UnfinishedDescription | RunsDescription:
    unfinished = tuple(map(_describe_unfinished, find_unfinished(folder)))
    if unfinished and unfinished[0].folder == folder:
        return unfinished[0]
    try:
        runs = find_runs(folder)
    except InputError as error:
        if not unfinished:
            raise InputError(f"{folder} holds no synthetic set, no checkpoint and no runs of one.") from error
        runs = []
    described = tuple(map(_describe_checkpoint, runs))
    return described[0] if runs == [folder] else RunsDescription(folder, described, unfinished)


def _describe_unfinished(folder: Path) -> UnfinishedDescription:
    log = folder / LOG
    rows = log.read_text(encoding="utf-8", errors="replace").splitlines() if log.is_file() else []
    return UnfinishedDescription(folder, max(0, len(rows) - 1), read_record(folder))


def _describe_checkpoint(folder: Path) -> CheckpointDescription:
    config = read_json(folder / CONFIG)
    network, size, names = config.get("network"), config.get("image_size"), config.get("class_names")
    if not (isinstance(network, str) and isinstance(size, int) and isinstance(names, list)) or not all(
        isinstance(name, str) for name in names
    ):
        raise InputError(f"{folder} is no sound checkpoint: {CONFIG} names no network, class_names and image_size.")
    if not (folder / WEIGHTS).is_file():
        raise InputError(f"{folder} is no sound checkpoint: it holds no {WEIGHTS}.")
    weights = (folder / WEIGHTS).stat().st_size
    return CheckpointDescription(folder, network, tuple(names), size, weights, read_record(folder))
