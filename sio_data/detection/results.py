"""What an evaluation measured: one row for each run, detector and OOD set, and means over seeds."""

import csv
import io
import math
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

import numpy as np

from sio_data.detection.metrics import ClassifierMetrics
from sio_data.errors import InputError
from sio_data.files import read_json

METRICS = tuple(field.name for field in fields(ClassifierMetrics))
_GROUPS = ("near", "far")
_FORMAT = "sio-data/results/2"
_LISTS: dict[str, dict[str, type | tuple[type, ...]]] = {
    "ood": {"group": str, "name": str, "source": str, "images": int},
    "missing": {"name": str, "group": str, "reason": str},
    "skipped": {"checkpoint": str, "run": str, "detector": str, "reason": str},
    "chosen": {"checkpoint": str, "run": str, "detector": str, "settings": dict},
    "intervals": {
        **dict.fromkeys(("detector", "group", "baseline", "checkpoint"), str),
        **dict.fromkeys(("difference", "low", "high", "p"), (int, float)),
    },
}


@dataclass(frozen=True, kw_only=True)
class Row(ClassifierMetrics):
    """One measurement: the metrics of `ClassifierMetrics`, and what they were measured on.

    Attributes:
        checkpoint: Name of the group of runs.
        run: Name of the run.
        detector: Name of the detector, with its parameters if any were given.
        group: `near` or `far`.
        ood: Name of the OOD set.
    """

    checkpoint: str
    run: str
    detector: str
    group: str
    ood: str


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


@dataclass(frozen=True)
class Training:
    """How the runs of a checkpoint were trained, as far as it is known.

    Attributes:
        method: The training method, with its parameters if any were given; None if no record tells.
        synthetic: The synthetic set they were trained on; None without one.
        alpha: Weight of the real loss; None without synthetic images.
    """

    method: str | None = None
    synthetic: str | None = None
    alpha: float | None = None

    @classmethod
    def of(cls, record: Mapping[str, Any]) -> "Training":
        """Read the record of a run; what is damaged in it counts as not known."""
        settings, synthetic = record.get("settings"), record.get("synthetic")
        settings = settings if isinstance(settings, dict) else {}
        method, alpha = settings.get("method"), settings.get("alpha")
        if not isinstance(method, str) or not isinstance(synthetic, str | None):
            return cls()
        return cls(method, synthetic, float(alpha) if synthetic and isinstance(alpha, int | float) else None)

    @classmethod
    def shared(cls, records: Mapping[Path, Mapping[str, Any]]) -> "Training":
        """Read the training that runs share from the record of each; one that tells nothing is left aside.

        Raises:
            InputError: They were trained in different ways, so that a mean over them would mean nothing.
        """
        known = [(run, one) for run, record in records.items() if (one := cls.of(record)).method is not None]
        if not known:
            return cls()
        first, training = known[0]
        for run, one in known:
            if one._manner != training._manner:
                raise InputError(
                    f"{first} was trained by {training._manner}, {run} by {one._manner}: figures are means over the "
                    "runs of a folder, so these cannot share one. Give each as a checkpoint of its own."
                )
        return training

    def is_sound(self) -> bool:
        """Tell whether the attributes are of their types; alpha is a number in [0, 1]."""
        texts = isinstance(self.method, str | None) and isinstance(self.synthetic, str | None)
        return texts and (self.alpha is None or (type(self.alpha) in (int, float) and 0 <= self.alpha <= 1))

    @property
    def _manner(self) -> str:
        """What runs must have in common; each may have a synthetic set of its own."""
        alpha = "" if self.alpha is None else f", alpha {self.alpha:g}"
        return f"{self.method} {'without' if self.synthetic is None else 'with'} synthetic images{alpha}"


@dataclass
class Results:
    """An evaluation.

    Attributes:
        command: The command that repeats it.
        versions: Versions of Python and the packages.
        id: The in-distribution source: name, images of each split, classes.
        ood: The OOD sets: group, name, source and number of images.
        detectors: Their names.
        checkpoints: Names of the groups of runs.
        trainings: For each checkpoint how it was trained.
        runs: All runs.
        rows: All measurements. A detector that does not suit a run has none there.
        missing: OOD sets that are not at hand: name, group and reason, which says what to do.
        skipped: Detectors that do not suit a run: checkpoint, run, detector and reason.
        chosen: What the parameter search chose: checkpoint, run, detector and settings.
        removed: For each OOD set how many images were left out because they show known classes.
        intervals: For each detector and group the gain in AUROC of a checkpoint over its baseline: difference, low and
            high (ends of the confidence interval), p (two-sided, paired).
    """

    command: str
    versions: dict[str, str]
    id: dict[str, Any]
    ood: list[dict[str, Any]]
    detectors: list[str]
    checkpoints: list[str]
    trainings: dict[str, Training] = field(default_factory=dict)
    runs: list[Run] = field(default_factory=list)
    rows: list[Row] = field(default_factory=list)
    missing: list[dict[str, Any]] = field(default_factory=list)
    skipped: list[dict[str, Any]] = field(default_factory=list)
    chosen: list[dict[str, Any]] = field(default_factory=list)
    removed: dict[str, int] = field(default_factory=dict)
    intervals: list[dict[str, Any]] = field(default_factory=list)

    @classmethod
    def read(cls, path: Path) -> "Results":
        """Read a `results.json`.

        Raises:
            InputError: It is none, or of another version.
        """
        value = read_json(path)
        try:
            given = {one.name: value[one.name] for one in fields(cls)}
            given["trainings"] = {name: Training(**one) for name, one in given["trainings"].items()}
            results = cls(
                **given | {name: [kind(**one) for one in given[name]] for name, kind in (("runs", Run), ("rows", Row))}
            )
            sound = value["format"] == _FORMAT and results._is_sound()
        except (AttributeError, KeyError, TypeError):
            sound = False
        if not sound:
            raise InputError(f"{path} is not what this version of sio-data evaluate writes: evaluate again.")
        return results

    def _is_sound(self) -> bool:
        """Tell whether names are texts and fit together, and figures are numbers in their ranges."""
        names = {name for row in self.rows for name in (row.checkpoint, row.run, row.detector, row.group)}
        names |= {name for run in self.runs for name in (run.checkpoint, run.name, run.folder, run.weights)}
        texts = [self.command, self.id["source"], *self.id["classes"], *self.detectors, *self.checkpoints]
        shares = [getattr(row, metric) for row in self.rows for metric in METRICS]
        shares += [run.accuracy for run in self.runs]
        counts = [*self.removed.values(), *self.id["images"].values(), *(one["images"] for one in self.ood)]
        return (
            bool(self.rows)
            and all(_is_list_of(getattr(self, name), shape) for name, shape in _LISTS.items())
            and all(isinstance(text, str) for text in [*texts, *self.versions.values(), *names])
            and len({one["name"] for one in self.ood}) == len(self.ood)
            and {one["group"] for one in (*self.ood, *self.missing, *self.intervals)} <= {*_GROUPS}
            and {(row.group, row.ood) for row in self.rows} <= {(one["group"], one["name"]) for one in self.ood}
            and {row.detector for row in self.rows} <= {*self.detectors}
            and {(row.checkpoint, row.run) for row in self.rows} <= {(run.checkpoint, run.name) for run in self.runs}
            and {*self.trainings, *(run.checkpoint for run in self.runs)} == {*self.checkpoints}
            and all(one.is_sound() for one in self.trainings.values())
            and all(isinstance(share, float) and 0 <= share <= 1 for share in shares)
            and all(type(count) is int and count >= 0 for count in counts)
        )

    @property
    def groups(self) -> list[str]:
        """The groups of OOD sets that there are: `near`, `far` or both."""
        return [group for group in _GROUPS if any(one["group"] == group for one in self.ood)]

    def measured_runs(self, checkpoint: str, detector: str) -> tuple[str, ...]:
        """Name the runs of a checkpoint that a detector was measured on, in their order."""
        there = {row.run for row in self.rows if (row.checkpoint, row.detector) == (checkpoint, detector)}
        return tuple(run.name for run in self.runs if run.checkpoint == checkpoint and run.name in there)

    def runs_without(self, checkpoint: str, detector: str) -> tuple[str, ...]:
        """Name the runs of a checkpoint that a detector was not measured on."""
        measured = self.measured_runs(checkpoint, detector)
        return tuple(run.name for run in self.runs if run.checkpoint == checkpoint and run.name not in measured)

    def spread(self, checkpoint: str, detector: str, group: str, metric: str) -> Spread | None:
        """Give the mean over runs of the plain mean over a group's OOD sets; None if nothing was measured."""
        values: dict[str, list[float]] = {}
        for row in self.rows:
            if (row.checkpoint, row.detector, row.group) == (checkpoint, detector, group):
                values.setdefault(row.run, []).append(getattr(row, metric))
        return Spread.of(float(np.mean(one)) for one in values.values()) if values else None

    def accuracy(self, checkpoint: str) -> Spread:
        """Give the ID accuracy over runs."""
        return Spread.of(run.accuracy for run in self.runs if run.checkpoint == checkpoint)

    def best_detector(self, checkpoint: str) -> str | None:
        """Give the detector with the highest mean AUROC over the groups; None if none was measured there."""

        def auroc(detector: str) -> float:
            spreads = [self.spread(checkpoint, detector, group, "auroc") for group in self.groups]
            return float(np.mean([-1.0 if spread is None else spread.mean for spread in spreads]))

        measured = {row.detector for row in self.rows if row.checkpoint == checkpoint}
        return max((name for name in self.detectors if name in measured), key=auroc, default=None)

    def to_json(self) -> dict[str, Any]:
        """Give everything as a JSON object, the summary over runs included."""
        summary = [
            {"checkpoint": checkpoint, "detector": detector, "group": group, "metric": metric} | asdict(spread)
            for checkpoint in self.checkpoints
            for detector in self.detectors
            for group in self.groups
            for metric in METRICS
            if (spread := self.spread(checkpoint, detector, group, metric))
        ]
        accuracy = {name: asdict(self.accuracy(name)) for name in self.checkpoints}
        return {"format": _FORMAT, **asdict(self), "accuracy": accuracy, "summary": summary}

    def to_csv(self) -> str:
        """Give the rows as CSV, each with its run's accuracy."""
        accuracy = {(run.checkpoint, run.name): run.accuracy for run in self.runs}
        buffer = io.StringIO()
        columns = ["checkpoint", "run", "detector", "group", "ood", *METRICS, "id_accuracy"]
        writer = csv.DictWriter(buffer, columns, lineterminator="\n")
        writer.writeheader()
        for row in self.rows:
            writer.writerow(asdict(row) | {"id_accuracy": accuracy[row.checkpoint, row.run]})
        return buffer.getvalue()


def _is_list_of(values: object, shape: Mapping[str, type | tuple[type, ...]]) -> bool:
    """Tell whether this is a list of objects that have these entries of these types, and no NaN."""
    return isinstance(values, list) and all(
        isinstance(one, dict)
        and all(isinstance(one.get(name), kind) for name, kind in shape.items())
        and not any(isinstance(value, float) and not math.isfinite(value) for value in one.values())
        for one in values
    )
