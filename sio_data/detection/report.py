"""The report: one HTML file that holds everything it shows and asks no host for anything."""

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from sio_data.detection.charts import COLOURS, histogram, roc, roc_heights
from sio_data.detection.mistakes import find_mistakes
from sio_data.detection.provenance import Provenance
from sio_data.detection.results import METRICS, Results, Spread
from sio_data.detection.table_texts import STAR, describe_pairs, describe_ranking, measure_title, percent_gain
from sio_data.detection.tables import PaperTable, compare, paper_table, references
from sio_data.rendering import render_standalone

if TYPE_CHECKING:
    from sio_data.detection.evaluation import Evaluation

_TITLES = {
    "auroc": "AUROC",
    "fpr95": "FPR95",
    "fpr95_id": "FPR95, ID positive",
    "aupr_in": "AUPR, ID positive",
    "aupr_out": "AUPR, OOD positive",
    "ccr_4": "CCR at FPR 1e-4",
    "ccr_3": "CCR at FPR 1e-3",
    "ccr_2": "CCR at FPR 1e-2",
    "ccr_1": "CCR at FPR 1e-1",
}


def render_report(evaluation: "Evaluation") -> str:
    """Render the report of an evaluation as HTML."""
    results = evaluation.results
    table = paper_table(results)
    checkpoint = table.pairs[0].checkpoints[-1]
    shown = results.best_detector(checkpoint) or results.detectors[0]
    return render_standalone(
        "sio_data.detection",
        "report",
        results=results,
        table=table,
        pairs=describe_pairs(table),
        ranking=describe_ranking(table),
        star=STAR,
        measure_title=measure_title,
        percent=lambda share: f"{100 * share:.2f}",
        percent_gain=percent_gain,
        tiles=_tiles(table),
        full=[_full_table(results, table, metric) for metric in METRICS],
        colours=COLOURS,
        shown=results.detectors.index(shown),
        panels=[_panel(evaluation, detector) for detector in results.detectors],
        mistakes=find_mistakes(evaluation, checkpoint),
        skipped=_skipped(results),
        provenance=Provenance(results),
    )


def _tiles(table: PaperTable) -> list[dict[str, Any]]:
    """Give the averages over the methods, of each side that is compared to the first."""
    tiles = []
    for place, (measure, side) in enumerate(table.columns):
        before, after = table.average.cells[place - place % len(table.sides)], table.average.cells[place]
        if before and after and after.gain is not None:
            methods = table.whole_rows(measure)
            tiles.append({"measure": measure, "side": side, "before": before, "after": after, "methods": methods})
    return tiles


def _skipped(results: Results) -> list[dict[str, Any]]:
    """Give each reason for which a detector was left out once, with the runs of a checkpoint; none named if all."""
    runs: dict[tuple[str, str, str], list[str]] = {}
    for one in results.skipped:
        runs.setdefault((one["detector"], one["checkpoint"], one["reason"]), []).append(one["run"])
    return [
        {
            "detector": detector,
            "checkpoint": checkpoint,
            "reason": reason,
            "runs": names if results.measured_runs(checkpoint, detector) else [],
        }
        for (detector, checkpoint, reason), names in runs.items()
    ]


def _full_table(results: Results, table: PaperTable, metric: str) -> dict[str, Any]:
    """Lay out a metric of every detector: for each group of OOD sets each checkpoint."""
    better = -1 if metric.startswith("fpr") else 1
    compared = references(results)
    without = {(gap.checkpoint, detector): gap.without for gap in table.gaps for detector in gap.detectors}
    rows = []
    for detector in results.detectors:
        cells = []
        for group in results.groups:
            spreads = {name: results.spread(name, detector, group, metric) for name in results.checkpoints}
            for name, value in spreads.items():
                other = compared[name]
                cell = compare(value, spreads[other] if other else None, better) if value else None
                cells.append(replace(cell, without=without.get((name, detector), ())) if cell else None)
        rows.append({"detector": detector, "cells": cells})
    direction = "higher" if better > 0 else "lower"
    return {"metric": metric, "title": _TITLES.get(metric, metric), "direction": direction, "rows": rows}


def _panel(evaluation: "Evaluation", detector: str) -> dict[str, Any]:
    """Draw a detector's charts: for each OOD set a checkpoint's histogram (first run with scores) and all runs' ROC."""
    results = evaluation.results
    measured = [run for run in results.runs if (run.checkpoint, run.name, detector) in evaluation.scores]
    return {
        "detector": detector,
        "intervals": [one for one in results.intervals if one["detector"] == detector],
        "sets": [_charts(evaluation, detector, one["name"]) | one for one in results.ood] if measured else [],
    }


def _charts(evaluation: "Evaluation", detector: str, ood: str) -> dict[str, Any]:
    results = evaluation.results
    figures: dict[str, dict[str, Any]] = {}
    curves = []
    for run in results.runs:
        scores = evaluation.scores.get((run.checkpoint, run.name, detector))
        if scores is None:
            continue
        colour = results.checkpoints.index(run.checkpoint)
        curves.append((colour, roc_heights(scores[""], scores[ood])))
        if run.checkpoint not in figures:
            figures[run.checkpoint] = {
                "checkpoint": run.checkpoint,
                "run": run.name,
                "without": results.runs_without(run.checkpoint, detector),
                "colour": colour % COLOURS,
                "chart": histogram(scores[""], scores[ood]),
                "auroc": _set_spread(results, run.checkpoint, detector, ood, "auroc"),
                "fpr95": _set_spread(results, run.checkpoint, detector, ood, "fpr95"),
            }
    return {"histograms": list(figures.values()), "roc": roc(curves)}


def _set_spread(results: Results, checkpoint: str, detector: str, ood: str, metric: str) -> Spread:
    return Spread.of(
        getattr(row, metric)
        for row in results.rows
        if (row.checkpoint, row.detector, row.ood) == (checkpoint, detector, ood)
    )
