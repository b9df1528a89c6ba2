"""`evaluate`: checkpoints against OOD sets, one forward pass for each checkpoint and image set."""

import platform
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from torch import nn

from sio_data.choices import parse_choice
from sio_data.commands import command_line
from sio_data.detection.detectors import DETECTORS, create
from sio_data.detection.detectors.base import Scores
from sio_data.detection.metrics import ood_metrics
from sio_data.detection.outputs import compute_outputs
from sio_data.detection.results import Results, Row, Run
from sio_data.device import pick_device
from sio_data.errors import ClassMapError, InputError
from sio_data.files import check_output_folder, sha256_file, write_json, write_text
from sio_data.image_set import ImageSet
from sio_data.progress import progress
from sio_data.runs import WEIGHTS, find_runs
from sio_data.source_names import without_split
from sio_data.sources import load_source
from sio_data.training.checkpoint import Classifier

_OUTPUT_FILES = ("results.json", "results.csv", "report.html")
_PACKAGES = ("sio-data", "torch", "diffusers", "datasets", "scikit-learn", "numpy")


@dataclass(frozen=True)
class OODSet:
    """An OOD set by name.

    Attributes:
        group: `near` or `far`.
        name: What to call it.
        source: See `sio_data.sources`.
    """

    group: str
    name: str
    source: str

    @classmethod
    def parse(cls, text: str) -> "OODSet":
        """Read `near:name=source` or `far:name=source`.

        Raises:
            InputError: It is not of that form.
        """
        group, _, rest = text.partition(":")
        name, _, source = rest.partition("=")
        if group not in ("near", "far") or not name or not source:
            raise InputError(f"OOD set {text!r} is not of the form near:NAME=SOURCE or far:NAME=SOURCE.")
        return cls(group, name, source)


@dataclass
class Evaluation:
    """What `evaluate` gives.

    Attributes:
        results: The measurements.
        scores: For each (checkpoint, run, detector) the scores of the ID test images (key "") and of each OOD set.
        report: Where the report lies.
    """

    results: Results
    scores: dict[tuple[str, str, str], dict[str, Scores]] = field(default_factory=dict)
    report: Path = Path()


@dataclass(frozen=True)
class _Images:
    train: ImageSet
    val: ImageSet
    test: ImageSet
    ood: dict[str, ImageSet]


def evaluate(
    checkpoints: Sequence[str | Path],
    out: str | Path,
    *,
    id: str,
    ood: Sequence[str],
    detectors: Sequence[str] = tuple(DETECTORS),
    device: str | None = None,
) -> Evaluation:
    """Measure how well checkpoints notice images of no class they know, and write a report.

    Detectors are fitted on the training and validation splits of the ID source, unaugmented and in fixed order, and
    judged on its test split against each OOD set. Figures are means over the runs of a checkpoint (its seeds).

    Args:
        checkpoints: Folders that `train` made, or single checkpoints; the others are compared to the first.
        out: Folder of `results.json`, `results.csv` and `report.html`: new, empty, or an earlier report.
        id: The in-distribution source; see `sio_data.sources`.
        ood: OOD sets as `near:NAME=SOURCE` or `far:NAME=SOURCE`; their test split is used.
        detectors: Names, with parameters if need be: `knn:k=20`.
        device: Where to run; None means the best device at hand.

    Returns:
        The measurements and the scores behind them.

    Raises:
        UnknownNameError: No such detector or source.
        ClassMapError: A checkpoint's classes are not those of the ID source.
        InputError: A value is out of range, or a checkpoint is unsound.
        FolderInUseError: The folder holds something else.
    """
    target = pick_device(device)
    folder = Path(out)
    check_output_folder(folder, is_ours=lambda entry: entry.name in _OUTPUT_FILES)
    chosen = {text: _parse_detector(text) for text in detectors}
    sets = [OODSet.parse(text) for text in ood]
    _check_lists(checkpoints, sets, chosen)
    groups = {_name(checkpoint, checkpoints): find_runs(checkpoint) for checkpoint in checkpoints}
    classifiers = {run: Classifier.from_pretrained(run) for runs in groups.values() for run in runs}
    images = _load_images(id, sets, _common_size(classifiers))
    _check_classes(classifiers, images.test, id)
    options = {"ood": list(ood), "out": str(out)}
    options |= {"detector": list(detectors)} if tuple(detectors) != tuple(DETECTORS) else {}
    results = Results(
        command=command_line("evaluate", [str(one) for one in checkpoints], id=id, **options),
        versions={"python": platform.python_version()} | {name: version(name) for name in _PACKAGES},
        id={
            "source": id,
            "images": {split: len(getattr(images, split)) for split in ("train", "val", "test")},
            "classes": list(images.test.class_names),
        },
        ood=[asdict(one) | {"images": len(images.ood[one.name])} for one in sets],
        detectors=list(chosen),
        checkpoints=list(groups),
    )
    evaluation = Evaluation(results)
    with progress("evaluating", len(classifiers)) as advance:
        for checkpoint, runs in groups.items():
            for run in runs:
                _measure(evaluation, checkpoint, run, classifiers[run], images, sets, chosen, target)
                advance(1, run.name)
    _write(folder, evaluation)
    return evaluation


def _parse_detector(text: str) -> tuple[str, dict[str, Any]]:
    """Read `name` or `name:parameter=value,…`, and try it."""
    name, parameters = parse_choice(text)
    create(name, **parameters)
    return name, parameters


def _check_lists(checkpoints: Sequence[object], sets: Sequence[OODSet], detectors: Mapping[str, object]) -> None:
    if not checkpoints or not sets or not detectors:
        raise InputError("an evaluation needs a checkpoint, an OOD set and a detector at least.")
    names = [one.name for one in sets]
    if len(set(names)) != len(names) or len({Path(str(one)).resolve() for one in checkpoints}) != len(checkpoints):
        raise InputError("each OOD set needs a name of its own, and each checkpoint can be given once.")


def _name(checkpoint: str | Path, all_of_them: Sequence[str | Path]) -> str:
    name = Path(checkpoint).name
    alone = sum(Path(other).name == name for other in all_of_them) == 1
    return name if alone and name else str(checkpoint)


def _common_size(classifiers: Mapping[Path, Classifier]) -> int:
    sizes = {classifier.load_size for classifier in classifiers.values()}
    if len(sizes) > 1:
        raise InputError(f"the checkpoints are for images of different sizes ({sorted(sizes)}); evaluate them apart.")
    return sizes.pop()


def _load_images(id: str, sets: Sequence[OODSet], size: int) -> _Images:
    whole, named = without_split(id)
    if named in ("train", "val"):
        raise InputError(
            f"{id}: detectors are fitted on that split, not to be judged by it; name a test split, or add test/."
        )
    test = load_source(id, "test", image_size=size).require_labels()
    train, val = (
        load_source(whole, split, image_size=size).require_labels().with_class_names(test.class_names)
        for split in ("train", "val")
    )
    ood = {one.name: load_source(one.source, "test", image_size=size, labelled=False) for one in sets}
    return _Images(train, val, test, ood)


def _check_classes(classifiers: Mapping[Path, Classifier], images: ImageSet, id: str) -> None:
    for run, classifier in classifiers.items():
        if {*classifier.class_names} != {*images.class_names}:
            raise ClassMapError(
                f"checkpoint {run} knows the classes {', '.join(classifier.class_names)}; "
                f"{id} has {', '.join(images.class_names)}. Evaluate it on the data that it was trained for."
            )


def _measure(
    evaluation: Evaluation,
    checkpoint: str,
    run: Path,
    classifier: Classifier,
    images: _Images,
    sets: Sequence[OODSet],
    detectors: Mapping[str, tuple[str, dict[str, Any]]],
    device: torch.device,
) -> None:
    """Add one run's measurements."""
    classifier.to(device)
    known = [part.with_class_names(classifier.class_names) for part in (images.train, images.val, images.test)]
    train, val, test = (compute_outputs(classifier, part, device) for part in known)
    ood = {name: compute_outputs(classifier, part, device) for name, part in images.ood.items()}
    classifier.to("cpu")
    results = evaluation.results
    results.runs.append(Run(checkpoint, run.name, str(run), sha256_file(run / WEIGHTS), test.accuracy))
    head = classifier.head if isinstance(classifier.head, nn.Linear) else None
    for shown, (name, parameters) in detectors.items():
        detector = create(name, **parameters).fit(train=train, val=val, head=head)
        scores = {"": detector.score(test)} | {one: detector.score(outputs) for one, outputs in ood.items()}
        evaluation.scores[checkpoint, run.name, shown] = scores
        for one in sets:
            metrics = ood_metrics(scores[""], scores[one.name])
            results.rows.append(Row(checkpoint, run.name, shown, one.group, one.name, **asdict(metrics)))


def _write(folder: Path, evaluation: Evaluation) -> None:
    from sio_data.detection.report import render_report

    folder.mkdir(parents=True, exist_ok=True)
    write_json(folder / "results.json", evaluation.results.to_json())
    write_text(folder / "results.csv", evaluation.results.to_csv())
    evaluation.report = folder / "report.html"
    write_text(evaluation.report, render_report(evaluation))
