"""What of a folder goes to the Hub: of a set, of a bundle of sets, of a checkpoint."""

import shlex
from collections.abc import Collection
from pathlib import Path
from typing import Any, Protocol

from sio_data.bundles import is_bundle
from sio_data.commands import shown_place
from sio_data.detection.results import Results
from sio_data.errors import CorruptSetError, InputError
from sio_data.files import is_url, json_text, read_json, sha256_file
from sio_data.hub.names import check_repository
from sio_data.hub.repository import Piece
from sio_data.hub.set_contents import BundleContents, SetContents
from sio_data.hub.terms import Terms, choose_licence
from sio_data.manifest import MANIFEST
from sio_data.recovery import CARD
from sio_data.runs import CONFIG, DETECTOR, RECORD, WEIGHTS
from sio_data.set_card import read_notes
from sio_data.source_names import SourceName
from sio_data.training.card import Measured, Measurements, render_checkpoint_card
from sio_data.training.checkpoint import Classifier, runs_hint
from sio_data.training.record import SOURCES, check_record
from sio_data.verification import verify


class Contents(Protocol):
    """A folder that can be published, checked to be sound and whole.

    Attributes:
        kind: `dataset` or `model`.
        licence: Its licence.
        links: Repositories that are known to belong to it.
    """

    kind: str
    licence: str
    links: tuple[str, ...]

    def markers(self, paths: Collection[str]) -> list[str]:
        """Give the files by whose content a repository is known to hold something of this kind."""

    def owned(self, paths: Collection[str]) -> set[str]:
        """Give the files of a repository that are ours: those that are no longer part are deleted there."""

    def card(self, terms: Terms) -> str:
        """Write the card for the repository."""

    def files(self, terms: Terms) -> dict[str, Piece]:
        """Give the other files to publish by their paths."""


def open_contents(folder: Path, results: Path | None, licence: str | None) -> Contents:
    """Find out what a folder holds, and check all of it.

    Args:
        folder: The folder of a set, a bundle or a checkpoint.
        results: What `evaluate` wrote, for the card of a checkpoint.
        licence: Its licence, of a bundle that of the sets that state none; None means what it inherits.

    Raises:
        InputError: It holds none of these, or something is wrong with it, or no licence is known.
        IncompleteError: It is a set that is not finished.
    """
    if is_url(folder):
        raise InputError(f"{folder} is not on this machine's disk: copy it there and publish the copy.")
    if (folder / CONFIG).is_file() and not (folder / MANIFEST).exists():
        return CheckpointContents(folder, results, licence)
    several = is_bundle(folder)
    if not several and not (folder / MANIFEST).exists() and not (folder / "data").is_dir():
        raise InputError(
            f"{folder} holds neither a set ({MANIFEST}) nor a checkpoint ({CONFIG}, {WEIGHTS}).{runs_hint(folder)}"
        )
    if results is not None:
        raise InputError("results belong to a checkpoint, not to a set.")
    _refuse_faults(folder, f"sio-data {'verify' if several else 'repair'} {folder}")
    return BundleContents(folder, licence) if several else SetContents(folder, licence)


def _refuse_faults(folder: Path, mend: str) -> None:
    faults = verify(folder).faults
    if faults:
        raise CorruptSetError(
            f"{folder} is not sound and is not published: {faults[0].path} {faults[0].what}"
            f"{f', and {len(faults) - 1} more' if len(faults) > 1 else ''}. Mend it with: {mend}"
        )


class CheckpointContents:
    """A checkpoint that `train` made, or `Classifier.save_pretrained`."""

    kind = "model"

    def __init__(self, folder: Path, results: Path | None, licence: str | None) -> None:
        classifier = Classifier.from_pretrained(folder)
        self._folder = folder
        self._detector = classifier.calibration if (folder / DETECTOR).exists() else None
        self._config = read_json(folder / CONFIG)
        self._record = check_record(folder) if (folder / RECORD).exists() else {}
        self._measured = read_measurements(results, folder) if results else None
        self.licence = choose_licence(licence, self._record.get("synthetic_licence") or "")
        sources = (SourceName.parse(name) for name in map(self._record.get, ("synthetic", "real", "outliers")) if name)
        self.links = tuple(check_repository(source.path) for source in sources if source.hub)

    def markers(self, paths: Collection[str]) -> list[str]:
        """Give the files by whose content a repository is known to hold a checkpoint."""
        return [CONFIG]

    def owned(self, paths: Collection[str]) -> set[str]:
        """Give the files of a repository that are ours."""
        return {CARD, CONFIG, WEIGHTS, RECORD, DETECTOR} & {*paths}

    def card(self, terms: Terms) -> str:
        """Write the card for the repository."""
        return render_checkpoint_card(
            self._config,
            self._record,
            licence=self.licence,
            notes=read_notes(self._folder),
            repository=terms.repository,
            tag=terms.tag,
            data_sets=terms.links,
            measured=self._measured,
            detector=self._detector.detector.name if self._detector else "",
        )

    def files(self, terms: Terms) -> dict[str, Piece]:
        """Give the other files to publish by their paths."""
        files: dict[str, Piece] = {name: Piece(self._folder / name) for name in (CONFIG, WEIGHTS)}
        if self._detector:
            files[DETECTOR] = Piece(self._folder / DETECTOR)
        if self._record:
            files[RECORD] = Piece(json_text(_for_others(self._record)).encode())
        return files


def _for_others(record: dict[str, Any]) -> dict[str, Any]:
    """Of paths of this machine, tell only the last part."""
    shown: dict[str, Any] = {name: shown_place(record[name]) for name in SOURCES if record.get(name)}
    settings = record["settings"]
    choices = {name: shown_place(str(settings[name])) for name in ("network", "method") if name in settings}
    shown["settings"] = settings | choices
    if "command" in record:
        shown["command"] = shlex.join(map(shown_place, shlex.split(record["command"])))
    return record | shown


def read_measurements(results: Path, checkpoint: Path) -> Measurements:
    """Find what was measured on a checkpoint, known by the SHA-256 of its weights.

    Args:
        results: The folder that `evaluate` wrote, or its `results.json`.
        checkpoint: The checkpoint's folder.

    Raises:
        InputError: They are no results, or those of other checkpoints.
    """
    path = results / "results.json" if results.is_dir() else results
    measured = Results.read(path)
    weights = sha256_file(checkpoint / WEIGHTS)
    run = next((run for run in measured.runs if run.weights == weights), None)
    if run is None:
        others = ", ".join(f"{run.checkpoint}/{run.name}" for run in measured.runs)
        raise InputError(f"{path} tells of other checkpoints ({others}), not of {checkpoint}: evaluate it first.")
    sources = {one["name"]: one["source"] for one in measured.ood}
    rows = [
        Measured(row.group, row.ood, sources[row.ood], row.detector, row.auroc, row.fpr95)
        for row in measured.rows
        if (row.checkpoint, row.run) == (run.checkpoint, run.name)
    ]
    return Measurements(measured.id["source"], run.accuracy, rows)
