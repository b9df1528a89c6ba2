"""The paper's table: methods against near-OOD, far-OOD and accuracy, without and with synthetic images."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np

from sio_data.detection.gaps import Gap, find_gaps
from sio_data.detection.results import Results, Spread, Training
from sio_data.training.methods import METHODS

ACCURACY = "accuracy"
_PLAIN = "ce"
_OWN_DETECTORS = {"godin": "godin", "mcd": "mcd", "rotpred": "rotpred", "t2fnorm": "t2fnorm", "vos": "ebo"}
"""What a training method is tested with in the paper; `msp` for all others."""


@dataclass(frozen=True)
class Cell:
    """A figure of the table.

    Attributes:
        mean: Over runs, in [0, 1].
        std: Over runs; None for a single run, an average or a best.
        gain: Difference to the first cell of this measure in the row; None in that cell itself.
        mark: `better`, `worse` or `same` at two decimals of a percent, or empty without a gain.
        clear: Whether the gain is larger than the spread over runs of either side.
        best: Whether it is the highest of its column, among the methods that have a figure on each side.
        repeated: Whether the row above has it, too: methods that share their checkpoints share the accuracy.
        interval: What `Results.intervals` says of this gain.
        without: Runs of the checkpoint that are not in the figure.
    """

    mean: float
    std: float | None = None
    gain: float | None = None
    mark: str = ""
    clear: bool = False
    best: bool = False
    repeated: bool = False
    interval: Mapping[str, Any] | None = None
    without: tuple[str, ...] = ()

    @property
    def significant(self) -> bool:
        """Whether the confidence interval of the gain leaves out zero."""
        return self.interval is not None and (self.interval["low"] > 0 or self.interval["high"] < 0)


@dataclass(frozen=True)
class TableRow:
    """A method.

    Attributes:
        name: What to call it.
        detector: The detector that it is tested with; empty for the average and the best.
        cells: Measure by measure, side by side; None where nothing was measured.
    """

    name: str
    detector: str
    cells: tuple[Cell | None, ...]


@dataclass(frozen=True)
class Pair:
    """Checkpoints that stand side by side.

    Attributes:
        checkpoints: Their names, the one that the others are compared to first.
        method: The training method that they share; None if they have nothing in common.
        synthetic: The synthetic set of the second, if they are a baseline and its SIO.
        alpha: The weight of the real loss there.
    """

    checkpoints: tuple[str, ...]
    method: str | None = None
    synthetic: str | None = None
    alpha: float | None = None


@dataclass(frozen=True)
class PaperTable:
    """The table.

    Attributes:
        measures: `near`, `far`, as far as there are such sets, and `accuracy`.
        sides: What stands side by side in each measure: `baseline` and `+SIO`, or names of checkpoints.
        pairs: What was compared; the one with a row for each detector first.
        rows: The methods.
        average: Means over the methods that have a figure on each side.
        best: The highest figures of the columns, among the same methods.
        left_out: Checkpoints that are in no pair.
        sets: For each group the OOD sets that its figures are means over.
        missing: The OOD sets that are not at hand, by group.
        gaps: What was not measured.
    """

    measures: tuple[str, ...]
    sides: tuple[str, ...]
    pairs: tuple[Pair, ...]
    rows: tuple[TableRow, ...]
    average: TableRow
    best: TableRow
    left_out: tuple[str, ...]
    sets: Mapping[str, tuple[str, ...]]
    missing: Mapping[str, tuple[str, ...]]
    gaps: tuple[Gap, ...]

    @property
    def columns(self) -> list[tuple[str, str]]:
        """The measure and the side of each cell of a row."""
        return [(measure, side) for measure in self.measures for side in self.sides]

    def whole_rows(self, measure: str) -> int:
        """Count the methods that have a figure on each side, over which the average and the best are."""
        places = [place for place, (one, _) in enumerate(self.columns) if one == measure]
        return sum(all(row.cells[place] is not None for place in places) for row in self.rows)

    def to_json(self) -> dict[str, Any]:
        """Give the table as a JSON object."""
        return asdict(self)


def paper_table(results: Results) -> PaperTable:
    """Lay out the paper's table.

    A checkpoint without synthetic images and the first one with them that was trained by the same method are a pair.
    The pair of plain cross-entropy (or the first, without such) has a row for each detector; each other pair has one,
    with the detector that the paper tests its method with. Without any pair all checkpoints are compared to the first.
    """
    pairs = _find_pairs(results)
    sides = ("baseline", "+SIO") if pairs else tuple(results.checkpoints)
    pairs = pairs or [Pair(tuple(results.checkpoints))]
    main, *others = sorted(pairs, key=lambda pair: pair.method != _PLAIN)
    measures = (*results.groups, ACCURACY)
    rows = [_row(results, main, name, name, repeated=place > 0) for place, name in enumerate(_measured(results, main))]
    for pair in others:
        detector = _own_detector(results, pair)
        if pair.method and detector:
            rows.append(_row(results, pair, f"{method_title(pair.method)} ({detector})", detector))
    best = _summary("best", rows, len(sides), len(measures), np.max)
    paired = {name for pair in pairs for name in pair.checkpoints}
    return PaperTable(
        measures,
        sides,
        (main, *others),
        rows=tuple(_mark_best(rows, best)),
        average=_summary("average", rows, len(sides), len(measures), np.mean),
        best=best,
        left_out=tuple(name for name in results.checkpoints if name not in paired),
        sets=_by_group(results.ood),
        missing=_by_group(results.missing),
        gaps=tuple(find_gaps(results)),
    )


def references(results: Results) -> dict[str, str | None]:
    """Give for each checkpoint the one it is compared to; None for one that is compared to no other.

    With pairs in the table, those with synthetic images are compared to the baseline of their method; without any, all
    are compared to the first.
    """
    baselines: dict[str | None, str] = {pair.method: pair.checkpoints[0] for pair in _find_pairs(results)}
    if not baselines:
        first = results.checkpoints[0]
        return {name: None if name == first else first for name in results.checkpoints}
    trainings = {name: results.trainings.get(name, Training()) for name in results.checkpoints}
    return {name: baselines.get(one.method) if one.synthetic else None for name, one in trainings.items()}


def method_title(method: str) -> str:
    """Give a training method as the paper writes it, its parameters behind it."""
    name, colon, parameters = method.partition(":")
    title = METHODS[name].__name__ if name in METHODS else name
    return f"{title}{colon and ' '}{parameters}"


def compare(value: Spread, reference: Spread | None, better: int = 1) -> Cell:
    """Compare a figure to another, in shares.

    Args:
        value: The figure.
        reference: What it is compared to; None if it is nothing but itself.
        better: 1 if higher is better, -1 if lower is.
    """
    std = value.std if value.runs > 1 else None
    if reference is None:
        return Cell(value.mean, std)
    gain = value.mean - reference.mean
    mark = _mark(gain, better)
    return Cell(value.mean, std, gain, mark, clear=mark != "same" and abs(gain) > max(value.std, reference.std))


def _mark(gain: float, better: int = 1) -> str:
    rounded = round(100 * gain, 2) * better
    return "better" if rounded > 0 else "worse" if rounded < 0 else "same"


def _find_pairs(results: Results) -> list[Pair]:
    pairs: dict[str, Pair] = {}
    for name in results.checkpoints:
        training = results.trainings.get(name, Training())
        if training.method is None or training.synthetic is not None or training.method in pairs:
            continue
        for other in results.checkpoints:
            its = results.trainings.get(other, Training())
            if its.method == training.method and its.synthetic is not None:
                pairs[training.method] = Pair((name, other), training.method, its.synthetic, its.alpha)
                break
    return list(pairs.values())


def _measured(results: Results, pair: Pair) -> list[str]:
    there = {row.detector for row in results.rows if row.checkpoint in pair.checkpoints}
    return [name for name in results.detectors if name in there]


def _own_detector(results: Results, pair: Pair) -> str | None:
    """Give the detector that a method is tested with; another one if that was not measured."""
    measured = _measured(results, pair)
    own = _OWN_DETECTORS.get((pair.method or "").partition(":")[0], "msp")
    return next((name for name in measured if name.partition(":")[0] == own), measured[0] if measured else None)


def _row(results: Results, pair: Pair, name: str, detector: str, *, repeated: bool = False) -> TableRow:
    cells: list[Cell | None] = []
    for group in results.groups:
        first = results.spread(pair.checkpoints[0], detector, group, "auroc")
        for place, checkpoint in enumerate(pair.checkpoints):
            value = results.spread(checkpoint, detector, group, "auroc")
            interval = _interval(results, detector, group, pair.checkpoints[0], checkpoint)
            without = results.runs_without(checkpoint, detector)
            cell = compare(value, first if place else None) if value else None
            cells.append(replace(cell, interval=interval, without=without) if cell else None)
    accuracies = [results.accuracy(checkpoint) for checkpoint in pair.checkpoints]
    cells += [
        replace(compare(value, accuracies[0] if place else None), repeated=repeated)
        for place, value in enumerate(accuracies)
    ]
    return TableRow(name, detector, tuple(cells))


def _by_group(sets: Sequence[Mapping[str, Any]]) -> dict[str, tuple[str, ...]]:
    groups = dict.fromkeys(one["group"] for one in sets)
    return {group: tuple(one["name"] for one in sets if one["group"] == group) for group in groups}


def _interval(results: Results, detector: str, group: str, baseline: str, checkpoint: str) -> Mapping[str, Any] | None:
    wanted = {"detector": detector, "group": group, "baseline": baseline, "checkpoint": checkpoint}
    return next((one for one in results.intervals if wanted.items() <= one.items()), None)


def _mark_best(rows: Sequence[TableRow], best: TableRow) -> Iterator[TableRow]:
    for row in rows:
        marked = [
            replace(cell, best=round(100 * cell.mean, 2) == round(100 * top.mean, 2)) if cell and top else cell
            for cell, top in zip(row.cells, best.cells, strict=True)
        ]
        yield replace(row, cells=tuple(marked))


def _summary(name: str, rows: Sequence[TableRow], sides: int, measures: int, summarise: Callable[..., Any]) -> TableRow:
    """Summarise each column over the rows that have all cells of its measure."""
    cells: list[Cell | None] = []
    for start in range(0, measures * sides, sides):
        parts = [row.cells[start : start + sides] for row in rows]
        whole = [[cell.mean for cell in part if cell] for part in parts if None not in part]
        values = [float(value) for value in summarise(whole, axis=0)] if whole else []
        cells += [
            Cell(value, gain=value - values[0], mark=_mark(value - values[0])) if place else Cell(value)
            for place, value in enumerate(values)
        ] or [None] * sides
    return TableRow(name, "", tuple(cells))
