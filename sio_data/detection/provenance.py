"""How an evaluation came about: the commands and settings behind it, as far as what they made is still at hand."""

import base64
import shlex
from contextlib import suppress
from pathlib import Path
from typing import Any

from sio_data.detection.results import Results
from sio_data.errors import SioDataError
from sio_data.manifest import MANIFEST, Manifest
from sio_data.recipe import Recipe
from sio_data.runs import read_record
from sio_data.sets import PREVIEW, open_set


class Provenance:
    """What the records of the runs tell.

    Args:
        results: The evaluation.

    Attributes:
        commands: From the first step to the evaluation, each once.
        previews: For each synthetic set that is at hand its name and its preview, a PNG in base 64.
        settings: For each checkpoint its training settings as text, the data's hashes left out.
    """

    def __init__(self, results: Results) -> None:
        records = [read_record(Path(run.folder)) for run in results.runs]
        synthetic = _synthetic_sets(records)
        self.commands = _commands(records, synthetic, results)
        self.previews = [(name, image) for name in synthetic if (image := _preview(Path(name)))]
        self.settings = _settings(records, results)


def _synthetic_sets(records: list[dict[str, Any]]) -> dict[str, Manifest]:
    """Give the sets that the checkpoints were trained on, by name, as far as these very sets are still at hand."""
    found = {}
    for record in records:
        name = record.get("synthetic")
        if isinstance(name, str) and name not in found and (Path(name) / MANIFEST).is_file():
            with suppress(SioDataError):
                manifest = open_set(name).manifest
                if manifest.digest == record.get("synthetic_set"):
                    found[name] = manifest
    return found


def _preview(folder: Path) -> str | None:
    path = folder / PREVIEW
    return base64.b64encode(path.read_bytes()).decode() if path.is_file() else None


def _commands(records: list[dict[str, Any]], synthetic: dict[str, Manifest], results: Results) -> list[str]:
    """Walk back from the checkpoints to what they were made of, as far as it is at hand."""
    made: list[str] = []
    for name, manifest in synthetic.items():
        fitted = read_record(Path(manifest.origin.weights))
        if isinstance(manifest.recipe, Recipe) and fitted.get("revision") == manifest.recipe.revision:
            made.append(str(fitted.get("command", "")))
        made.append(f"{manifest.origin.command} {shlex.join(['--out', name])}")
    trained = [str(record.get("command", "")) for record in records]
    return list(dict.fromkeys(line for line in [*made, *trained, results.command] if line))


def _settings(records: list[dict[str, Any]], results: Results) -> list[tuple[str, str]]:
    texts: dict[str, str] = {}
    for run, record in zip(results.runs, records, strict=True):
        settings = record.get("settings")
        shown = settings.items() if isinstance(settings, dict) else ()
        texts.setdefault(
            run.checkpoint, ", ".join(f"{key} {value}" for key, value in shown if not key.endswith("_data"))
        )
    return list(texts.items())
