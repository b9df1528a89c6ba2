"""What an evaluation measured: one row for each run, detector and OOD set, and means over seeds."""

import csv
import io
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from sio_data.errors import InputError
from sio_data.files import read_json

METRICS = ("auroc", "fpr95", "aupr_in", "aupr_out")
_FORMAT = "sio-data/results/1"


@dataclass(frozen=True)
class Row:
    """One measurement; the metrics are in [0, 1], see `OODMetrics`.

    Attributes:
        checkpoint: Name of the group of runs.
        run: Name of the run.
        detector: Name of the detector, with its parameters if any were given.
        group: `near` or `far`.
        ood: Name of the OOD set.
        auroc: Area under the ROC curve.
        fpr95: Share of ID flagged where 95 % of OOD is.
        aupr_in: Area under precision-recall, ID positive.
        aupr_out: Area under precision-recall, OOD positive.
    """

    checkpoint: str
    run: str
    detector: str
    group: str
    ood: str
    auroc: float
    fpr95: float
    aupr_in: float
    aupr_out: float


@dataclass(frozen=True)
class Spread:
    """A mean over runs and how far they lie apart.

    Attributes:
        mean: In the unit of the values.
        std: Sample standard deviation; 0 for a single run.
        runs: How many there were.
    """

    mean: float
    std: float
    runs: int

    @classmethod
    def of(cls, values: Iterable[float]) -> "Spread":
        """Summarise values, of which there must be one at least."""
        numbers = np.array(list(values), dtype=np.float64)
        std = float(numbers.std(ddof=1)) if len(numbers) > 1 else 0.0
        return cls(float(numbers.mean()), std, len(numbers))


@dataclass(frozen=True)
class Run:
    """One checkpoint of a group.

    Attributes:
        checkpoint: Name of the group.
        name: Of the run: `seed-0`, say.
        folder: Where it lies, as it was given.
        weights: SHA-256 of its weights, by which it is known again.
        accuracy: Share of the ID test images that are right, in [0, 1].
    """

    checkpoint: str
    name: str
    folder: str
    weights: str
    accuracy: float


def _names(row: Row) -> tuple[str, ...]:
    return row.checkpoint, row.run, row.detector, row.group, row.ood


@dataclass
class Results:
    """An evaluation.

    Attributes:
        command: The command that repeats it.
        versions: Versions of Python and the packages.
        id: The in-distribution source: name, images of each split, classes.
        ood: The OOD sets: group, name, source and number of images.
        detectors: Their names.
        checkpoints: Names of the groups; the others are compared to the first.
        runs: All checkpoints.
        rows: All measurements.
    """

    command: str
    versions: dict[str, str]
    id: dict[str, Any]
    ood: list[dict[str, Any]]
    detectors: list[str]
    checkpoints: list[str]
    runs: list[Run] = field(default_factory=list)
    rows: list[Row] = field(default_factory=list)

    @classmethod
    def read(cls, path: Path) -> "Results":
        """Read a `results.json`.

        Raises:
            InputError: It is none, or of an earlier version.
        """
        value = read_json(path)
        try:
            results = cls(
                **{name: value[name] for name in ("command", "versions", "id", "ood", "detectors", "checkpoints")},
                runs=[Run(**run) for run in value["runs"]],
                rows=[Row(**row) for row in value["rows"]],
            )
            sound = value["format"] == _FORMAT and results._is_sound()
        except (KeyError, TypeError):
            sound = False
        if not sound:
            raise InputError(f"{path} is not what this version of sio-data evaluate writes: evaluate again.")
        return results

    def _is_sound(self) -> bool:
        """Tell whether names are texts and fit together, and figures are shares."""
        sets = {one["name"]: one["source"] for one in self.ood}
        texts = [self.id["source"], *sets, *sets.values(), *(text for row in self.rows for text in _names(row))]
        figures = [getattr(row, metric) for row in self.rows for metric in METRICS]
        figures += [run.accuracy for run in self.runs]
        return (
            all(isinstance(text, str) for text in texts)
            and {row.ood for row in self.rows} <= {*sets}
            and all(isinstance(figure, float) and 0 <= figure <= 1 for figure in figures)
        )

    @property
    def groups(self) -> list[str]:
        """The groups of OOD sets that there are: `near`, `far` or both."""
        return [group for group in ("near", "far") if any(one["group"] == group for one in self.ood)]

    def spread(self, checkpoint: str, detector: str, group: str, metric: str) -> Spread:
        """Give the mean over runs of the plain mean over a group's OOD sets."""
        values: dict[str, list[float]] = {}
        for row in self.rows:
            if (row.checkpoint, row.detector, row.group) == (checkpoint, detector, group):
                values.setdefault(row.run, []).append(getattr(row, metric))
        return Spread.of(float(np.mean(one)) for one in values.values())

    def accuracy(self, checkpoint: str) -> Spread:
        """Give the ID accuracy over runs."""
        return Spread.of(run.accuracy for run in self.runs if run.checkpoint == checkpoint)

    def mean_over_detectors(self, checkpoint: str, group: str, metric: str) -> float:
        """Give the mean over all detectors and runs."""
        return float(np.mean([self.spread(checkpoint, name, group, metric).mean for name in self.detectors]))

    def to_json(self) -> dict[str, Any]:
        """Give everything as a JSON object, the summary over runs included."""
        summary = [
            {"checkpoint": checkpoint, "detector": detector, "group": group, "metric": metric}
            | asdict(self.spread(checkpoint, detector, group, metric))
            for checkpoint in self.checkpoints
            for detector in self.detectors
            for group in self.groups
            for metric in METRICS
        ]
        accuracy = {name: asdict(self.accuracy(name)) for name in self.checkpoints}
        return {"format": _FORMAT, **asdict(self), "accuracy": accuracy, "summary": summary}

    def to_csv(self) -> str:
        """Give the rows as CSV, each with its run's accuracy."""
        accuracy = {(run.checkpoint, run.name): run.accuracy for run in self.runs}
        buffer = io.StringIO()
        columns = [*Row.__dataclass_fields__, "id_accuracy"]
        writer = csv.DictWriter(buffer, columns, lineterminator="\n")
        writer.writeheader()
        for row in self.rows:
            writer.writerow(asdict(row) | {"id_accuracy": accuracy[row.checkpoint, row.run]})
        return buffer.getvalue()
