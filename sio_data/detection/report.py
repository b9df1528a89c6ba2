"""The report: one HTML file that holds everything it shows and asks no host for anything."""

import base64
import shlex
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sio_data.detection.charts import histogram, roc
from sio_data.detection.metrics import roc_points
from sio_data.detection.results import Results, Spread
from sio_data.errors import SioDataError
from sio_data.manifest import MANIFEST, Manifest
from sio_data.recipe import Recipe
from sio_data.rendering import render_html
from sio_data.runs import read_record
from sio_data.sets import PREVIEW, open_set

if TYPE_CHECKING:
    from sio_data.detection.evaluation import Evaluation

_TABLES = {"auroc": ("AUROC", 1), "fpr95": ("FPR95", -1)}


def render_report(evaluation: "Evaluation") -> str:
    """Render the report of an evaluation as HTML."""
    results = evaluation.results
    records = [read_record(Path(run.folder)) for run in results.runs]
    synthetic = _synthetic_sets(records)
    return render_html(
        "sio_data.detection",
        "report.html.jinja",
        results=results,
        tables=[_table(results, metric) for metric in _TABLES],
        accuracy=_cells([results.accuracy(name) for name in results.checkpoints], better=1),
        headline=_headline(results),
        panels=[_panels(evaluation, one) for one in results.ood],
        previews=[(name, image) for name in synthetic if (image := _preview(Path(name)))],
        commands=_commands(records, synthetic, results),
        settings=_settings(records, results),
    )


def _cells(spreads: list[Spread], better: int) -> list[dict[str, Any]]:
    return [_cell(spread, spreads[0], better) for spread in spreads]


def _cell(value: Spread, reference: Spread, better: int) -> dict[str, Any]:
    """Describe a table cell, in percent; the difference is marked as better or worse."""
    difference = 100 * (value.mean - reference.mean)
    rounded = round(difference, 2)
    return {
        "mean": f"{100 * value.mean:.2f}",
        "std": f"{100 * value.std:.2f}" if value.runs > 1 else "",
        "difference": None if value is reference else f"{rounded:+.2f}",
        "mark": "better" if rounded * better > 0 else "worse" if rounded * better < 0 else "same",
        "beyond_spread": abs(difference) > 100 * max(value.std, reference.std),
    }


def _table(results: Results, metric: str) -> dict[str, Any]:
    title, better = _TABLES[metric]
    rows = []
    for detector in results.detectors:
        cells = []
        for group in results.groups:
            spreads = [results.spread(name, detector, group, metric) for name in results.checkpoints]
            cells += _cells(spreads, better)
        rows.append({"detector": detector, "cells": cells})
    return {"title": title, "direction": "higher" if better > 0 else "lower", "rows": rows}


def _headline(results: Results) -> list[dict[str, Any]]:
    first, *others = results.checkpoints
    return [
        {
            "group": group,
            "checkpoint": other,
            "before": f"{100 * before:.2f}",
            "after": f"{100 * after:.2f}",
            "difference": f"{100 * (after - before):+.2f}",
        }
        for other in others
        for group in results.groups
        for before in [results.mean_over_detectors(first, group, "auroc")]
        for after in [results.mean_over_detectors(other, group, "auroc")]
    ]


def _panels(evaluation: "Evaluation", ood: dict[str, Any]) -> dict[str, Any]:
    """Draw the charts of one OOD set: for each detector a histogram a checkpoint (first run), and ROC of all runs."""
    results = evaluation.results
    name = ood["name"]
    first_run: dict[str, str] = {}
    for run in results.runs:
        first_run.setdefault(run.checkpoint, run.name)
    rows = []
    for detector in results.detectors:
        histograms = [
            histogram(scores[""], scores[name])
            for checkpoint in results.checkpoints
            for scores in [evaluation.scores[checkpoint, first_run[checkpoint], detector]]
        ]
        curves = [
            (results.checkpoints.index(run.checkpoint), roc_points(scores[""], scores[name]))
            for run in results.runs
            for scores in [evaluation.scores[run.checkpoint, run.name, detector]]
        ]
        rows.append({"detector": detector, "histograms": histograms, "roc": roc(curves)})
    return {"ood": ood, "rows": rows, "first_runs": first_run}


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
    """List each checkpoint's training settings as text, the data's hashes left out."""
    texts: dict[str, str] = {}
    for run, record in zip(results.runs, records, strict=True):
        settings = record.get("settings")
        shown = settings.items() if isinstance(settings, dict) else ()
        texts.setdefault(
            run.checkpoint, ", ".join(f"{key} {value}" for key, value in shown if not key.endswith("_data"))
        )
    return list(texts.items())
