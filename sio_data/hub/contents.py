"""What of a folder goes to the Hub: of a set, of a checkpoint."""

import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol

from sio_data.commands import shown_place
from sio_data.compilation import DROPPED, listing_hash
from sio_data.detection.results import Results
from sio_data.errors import CorruptSetError, InputError
from sio_data.files import is_url, json_text, read_json, sha256_file
from sio_data.gallery import PAGE, THUMBNAILS
from sio_data.gallery.sheets import is_sheet
from sio_data.hub.names import check_repository
from sio_data.hub.repository import Piece
from sio_data.manifest import MANIFEST, Manifest
from sio_data.quality.measures import MEASURES, find_measures
from sio_data.reader_info import INFO
from sio_data.set_card import read_notes, render_set_card
from sio_data.sets import PREVIEW
from sio_data.source_names import SourceName
from sio_data.training import RECORD, check_record
from sio_data.training.card import Measured, Measurements, render_checkpoint_card
from sio_data.training.checkpoint import CONFIG, WEIGHTS, Classifier, runs_hint
from sio_data.verification import verify


@dataclass(frozen=True)
class Terms:
    """How something goes out.

    Attributes:
        repository: `owner/name` on the Hub.
        tag: What to load it by; None means the newest state.
        licence: Its licence.
        links: Repositories that belong to it: of a set the models trained on it, of a checkpoint its data sets.
    """

    repository: str
    tag: str | None
    licence: str
    links: tuple[str, ...]


class Contents(Protocol):
    """A folder that can be published, checked to be sound and whole.

    Attributes:
        kind: `dataset` or `model`.
        marker: The file by whose content a repository is known to hold something of this kind.
        owned: Paths in the repository that are ours: those that are no longer part are deleted there.
        licence: The licence that it inherits; may be unknown.
        links: Repositories that are known to belong to it.
    """

    kind: str
    marker: str
    owned: re.Pattern[str]
    licence: str
    links: tuple[str, ...]

    def card(self, terms: Terms) -> str:
        """Write the card for the repository."""

    def files(self, terms: Terms) -> dict[str, Piece]:
        """Give the other files to publish by their paths."""


def open_contents(folder: Path, results: Path | None) -> Contents:
    """Find out what a folder holds, and check all of it.

    Args:
        folder: The folder of a set or a checkpoint.
        results: What `evaluate` wrote, for the card of a checkpoint.

    Raises:
        InputError: It holds neither, or something is wrong with it.
        IncompleteError: It is a set that is not finished.
    """
    if is_url(folder):
        raise InputError(f"{folder} is not on this machine's disk: copy it there and publish the copy.")
    if (folder / CONFIG).is_file() and not (folder / MANIFEST).exists():
        return CheckpointContents(folder, results)
    if not (folder / MANIFEST).exists() and not (folder / "data").is_dir():
        raise InputError(
            f"{folder} holds neither a set ({MANIFEST}) nor a checkpoint ({CONFIG}, {WEIGHTS}).{runs_hint(folder)}"
        )
    if results is not None:
        raise InputError("results belong to a checkpoint, not to a set.")
    return SetContents(folder)


class SetContents:
    """A synthetic set."""

    kind = "dataset"
    marker = MANIFEST
    owned = re.compile(
        r"README\.md|sio\.json|preview\.png|data/[a-z]+-\d{6}\.tar|_info\.json|dropped\.csv|measures\.json"
        r"|gallery\.html|thumbnails/sheet-[0-9a-f]{32}\.webp"
    )
    links: tuple[str, ...] = ()

    def __init__(self, folder: Path) -> None:
        faults = verify(folder).faults
        if faults:
            raise CorruptSetError(
                f"{folder} is not sound and is not published: {faults[0].path} {faults[0].what}"
                f"{f', and {len(faults) - 1} more' if len(faults) > 1 else ''}. Mend it with: sio-data repair {folder}"
            )
        self._folder = folder
        self._manifest = Manifest.read(folder)
        self._measures = find_measures(folder, self._manifest.digest)
        self.licence = self._manifest.origin.licence

    def card(self, terms: Terms) -> str:
        """Write the card for the repository."""
        return render_set_card(
            self._licensed(terms),
            measures=self._measures.rows() if self._measures else (),
            notes=read_notes(self._folder),
            repository=terms.repository,
            tag=terms.tag,
            models=terms.links,
        )

    def files(self, terms: Terms) -> dict[str, Piece]:
        """Give the other files to publish by their paths."""
        manifest = self._licensed(terms)
        same = manifest == self._manifest
        files: dict[str, Piece] = {
            MANIFEST: Piece(self._folder / MANIFEST if same else json_text(manifest.to_json()).encode())
        }
        listing = [DROPPED] if listing_hash(manifest.recipe) else []
        for place in (*(self._folder / path for path in (PREVIEW, INFO, *listing)), *self._extras()):
            files[place.relative_to(self._folder).as_posix()] = Piece(_refuse_link(place, self._folder))
        return files | {record.path: Piece(self._folder / record.path, record.sha256) for record in manifest.shards}

    def _extras(self) -> Iterator[Path]:
        """List what others made of this very data: the measures, the gallery."""
        if self._measures:
            yield self._folder / MEASURES
        page = self._folder / PAGE
        if page.is_file() and self._manifest.digest in page.read_text(encoding="utf-8", errors="replace"):
            yield page
            yield from (path for path in sorted((self._folder / THUMBNAILS).glob("*")) if is_sheet(path.name))

    def _licensed(self, terms: Terms) -> Manifest:
        """Give the manifest that goes out: a licence that is stated only now stands in it."""
        return replace(self._manifest, origin=replace(self._manifest.origin, licence=terms.licence))


def _refuse_link(path: Path, folder: Path) -> Path:
    """Refuse to publish what is not the folder's own: somebody else may have put a link to a secret there."""
    if not path.resolve().is_relative_to(folder.resolve()):
        raise InputError(f"{path} is a link out of its folder: put the file itself there.")
    return path


class CheckpointContents:
    """A checkpoint that `train` made, or `Classifier.save_pretrained`."""

    kind = "model"
    marker = CONFIG
    owned = re.compile(r"README\.md|config\.json|model\.safetensors|training\.json")

    def __init__(self, folder: Path, results: Path | None) -> None:
        Classifier.from_pretrained(folder)
        self._folder = folder
        self._config = read_json(folder / CONFIG)
        self._record = check_record(folder) if (folder / RECORD).exists() else {}
        self._measured = read_measurements(results, folder) if results else None
        self.licence = self._record.get("synthetic_licence") or ""
        sources = (SourceName.parse(name) for name in map(self._record.get, ("synthetic", "real")) if name)
        self.links = tuple(check_repository(source.path) for source in sources if source.hub)

    def card(self, terms: Terms) -> str:
        """Write the card for the repository."""
        return render_checkpoint_card(
            self._config,
            self._record,
            licence=terms.licence,
            notes=read_notes(self._folder),
            repository=terms.repository,
            tag=terms.tag,
            data_sets=terms.links,
            measured=self._measured,
        )

    def files(self, terms: Terms) -> dict[str, Piece]:
        """Give the other files to publish by their paths."""
        files: dict[str, Piece] = {name: Piece(self._folder / name) for name in (CONFIG, WEIGHTS)}
        if self._record:
            files[RECORD] = Piece(json_text(_for_others(self._record)).encode())
        return files


def _for_others(record: dict[str, Any]) -> dict[str, Any]:
    """Of paths of this machine, tell only the last part."""
    shown = {name: shown_place(record[name]) for name in ("real", "synthetic") if record.get(name)}
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
