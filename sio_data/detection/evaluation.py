"""`evaluate`: checkpoints against OOD sets, one forward pass for each checkpoint and image set."""

import platform
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from importlib.metadata import version
from pathlib import Path

import numpy as np
import numpy.typing as npt

from sio_data.choices import parse_choice
from sio_data.class_maps import match_classes
from sio_data.commands import changed, command_line
from sio_data.detection.benchmarks import Benchmark, load_benchmark
from sio_data.detection.checkpoints import Checkpoints
from sio_data.detection.detectors import DETECTORS, create
from sio_data.detection.detectors.base import Scores
from sio_data.detection.image_sets import EvaluationImages, OODSet, load_images, name_sets
from sio_data.detection.intervals import gain_intervals
from sio_data.detection.measuring import Choice, RunMeasured, measure_run
from sio_data.detection.metrics import classifier_metrics
from sio_data.detection.output_cache import OutputCache
from sio_data.detection.output_files import OUTPUT_FILES, write_files
from sio_data.detection.results import Results, Row, Run, Training
from sio_data.device import pick_device
from sio_data.errors import InputError
from sio_data.files import check_output_folder
from sio_data.progress import progress
from sio_data.runs import read_record
from sio_data.sources import Storage
from sio_data.training.checkpoint import Classifier

_PACKAGES = ("sio-data", "torch", "diffusers", "datasets", "scikit-learn", "numpy")


@dataclass
class Evaluation:
    """What `evaluate` gives.

    Attributes:
        results: The measurements.
        images: The images behind the scores, in their order.
        scores: For each (checkpoint, run, detector) the scores of the ID test images (key "") and of each OOD set.
        predictions: For each (checkpoint, run) the predicted classes of the ID test images (key "") and of each OOD
            set, int64 [N], as places in `results.id["classes"]`.
        report: Where the report lies.
    """

    results: Results
    images: EvaluationImages
    scores: dict[tuple[str, str, str], dict[str, Scores]] = field(default_factory=dict)
    predictions: dict[tuple[str, str], dict[str, npt.NDArray[np.int64]]] = field(default_factory=dict)
    report: Path = Path()


def evaluate(
    checkpoints: Sequence[str | Path],
    out: str | Path,
    *,
    id: str | None = None,
    ood: Sequence[str] = (),
    benchmark: str | None = None,
    data: str | Path | None = None,
    detectors: Sequence[str] | None = None,
    search: bool = False,
    ood_val: str | None = None,
    storage: Storage = "memory",
    device: str | None = None,
) -> Evaluation:
    """Measure how well checkpoints notice images of no class they know, and write the paper's table and a report.

    Detectors are fitted on the training and validation splits of the ID source, unaugmented and in fixed order, and
    judged on its test split against each OOD set. Figures are means over the runs of a checkpoint (its seeds). A
    checkpoint with synthetic images is compared to the one without that was trained by the same method; where there
    are no such pairs, all are compared to the first.

    The network runs once over each set. What that gives is kept in the cache of datasets, so that another evaluation
    of the same checkpoint and images takes seconds.

    Args:
        checkpoints: Folders that `train` made, or single checkpoints.
        out: Folder of `results.json`, `results.csv`, `table.csv`, `table.tex` and `report.html`: new, empty, or an
            earlier report.
        id: The in-distribution source; see `sio_data.sources`. None with a benchmark.
        ood: OOD sets as `near:NAME=SOURCE` or `far:NAME=SOURCE`; their test split is used. None with a benchmark.
        benchmark: Name of a benchmark in place of `id` and `ood`, or a YAML file of one's own; see
            `sio_data.detection.benchmarks`.
        data: Folder of OpenOOD's data, from which the benchmark's image lists are read; None means the Hub.
        detectors: Names, with parameters if need be: `knn:k=20`. None means all that suit a checkpoint.
        search: Whether to choose the detectors' parameters by AUROC on ID and OOD validation images, as OpenOOD v1.5
            does.
        ood_val: The OOD validation source of the search, of which the validation split is used; None means that of
            the benchmark.
        storage: `memory`, or `mapped` for sets that do not fit; see `load_source`.
        device: Where to run; None means the best device at hand.

    Returns:
        The measurements and the scores behind them.

    Raises:
        UnknownNameError: No such detector, benchmark or source.
        ClassMapError: A checkpoint's classes are not those of the ID source.
        InputError: A value is out of range, or a checkpoint is unsound.
        FolderInUseError: The folder holds something else.
    """
    target = pick_device(device)
    folder = Path(out)
    check_output_folder(folder, is_ours=lambda entry: entry.name in OUTPUT_FILES)
    choices = {text: _parse_detector(text) for text in (DETECTORS if detectors is None else detectors)}
    plan = _choose_images(id, ood, benchmark, data, ood_val)
    if search and plan.ood_val is None:
        raise InputError("a search needs OOD validation images: give --ood-val, or a benchmark that has some.")
    found = Checkpoints(checkpoints)
    if detectors is not None:
        found.check_detectors(choices)
    images = load_images(plan, found.load_size, data=data, class_names=found.class_names, storage=storage)
    if search and images.ood_val is None:
        raise InputError(f"a search needs OOD validation images. {images.missing[-1].reason}")
    found.check_classes(images.test)
    given: dict[str, object] = {"id": id, "ood": list(ood), "benchmark": benchmark, "data": data, "detector": detectors}
    given |= changed(evaluate, search=search, ood_val=ood_val, storage=storage)
    command = command_line("evaluate", [str(one) for one in checkpoints], **given, out=str(out))
    results = _begin_results(command, plan.name, found, images, list(choices))
    evaluation = Evaluation(results, images)
    known: dict[tuple[str, ...], EvaluationImages] = {}
    with progress("evaluating", len(found.classifiers)) as advance:
        for checkpoint, run, classifier in found.runs():
            names = classifier.class_names
            ordered = known.setdefault(names, _in_classes(images, names))  # whose pixels are hashed once
            measured = _measure(classifier.to(target), run, ordered, choices, search, strict=detectors is not None)
            classifier.to("cpu")
            _add(evaluation, checkpoint, run, classifier, measured)
            advance(1, run.name)
    results.intervals = gain_intervals(results, evaluation.scores)
    evaluation.report = write_files(folder, evaluation)
    return evaluation


def _parse_detector(text: str) -> Choice:
    """Read `name` or `name:parameter=value,…`, and try it."""
    name, parameters = parse_choice(text)
    create(name, **parameters)
    return name, parameters


def _choose_images(
    id: str | None, ood: Sequence[str], benchmark: str | None, data: str | Path | None, ood_val: str | None
) -> Benchmark:
    if benchmark is None:
        if id is None or not ood:
            raise InputError("an evaluation needs known images and OOD sets: give --id and --ood, or --benchmark.")
        if data is not None:
            raise InputError("--data is where the images of a benchmark lie: give --benchmark.")
        sets = [OODSet.parse(text) for text in ood]
        names = [one.name for one in sets]
        if len(set(names)) != len(names):
            raise InputError("each OOD set needs a name of its own.")
        return name_sets(id, sets, ood_val)
    if id is not None or ood:
        raise InputError("a benchmark names its images itself: leave --id and --ood out, or --benchmark.")
    plan = load_benchmark(benchmark)
    return plan if ood_val is None else replace(plan, ood_val=name_sets("", [], ood_val).ood_val)


def _begin_results(
    command: str, source: str, checkpoints: Checkpoints, images: EvaluationImages, detectors: list[str]
) -> Results:
    return Results(
        command=command,
        versions={"python": platform.python_version()} | {name: version(name) for name in _PACKAGES},
        id={
            "source": source,
            "images": {split: len(getattr(images, split)) for split in ("train", "val", "test")},
            "classes": list(images.test.class_names),
        },
        ood=[asdict(one) | {"images": len(images.ood[one.name])} for one in images.sets],
        detectors=detectors,
        checkpoints=list(checkpoints.groups),
        trainings={
            name: Training.shared({run: read_record(run) for run in runs}) for name, runs in checkpoints.groups.items()
        },
        missing=[asdict(one) for one in images.missing],
        removed={name: count for name, count in images.removed.items() if count},
    )


def _measure(
    classifier: Classifier,
    run: Path,
    images: EvaluationImages,
    choices: Mapping[str, Choice],
    searching: bool,
    strict: bool,
) -> RunMeasured:
    cache = OutputCache(classifier, classifier.weights_digest, images.train, classifier.device)
    return measure_run(classifier, cache, images, choices, name=str(run), searching=searching, strict=strict)


def _in_classes(images: EvaluationImages, class_names: tuple[str, ...]) -> EvaluationImages:
    """Give the known images with labels in the order of a classifier's classes."""
    train, val, test = (part.with_class_names(class_names) for part in (images.train, images.val, images.test))
    return replace(images, train=train, val=val, test=test)


def _add(evaluation: Evaluation, checkpoint: str, run: Path, classifier: Classifier, measured: RunMeasured) -> None:
    """Add one run's measurements."""
    results = evaluation.results
    results.runs.append(Run(checkpoint, run.name, str(run), classifier.weights_digest, measured.test.accuracy))
    places = np.array(match_classes(classifier.class_names, evaluation.images.test.class_names, str(run)))
    evaluation.predictions[checkpoint, run.name] = {name: places[one] for name, one in measured.predictions.items()}
    correct = (measured.test.predictions == measured.test.labels).numpy()
    for shown, scores in measured.scores.items():
        evaluation.scores[checkpoint, run.name, shown] = scores
        for one in evaluation.images.sets:
            metrics = asdict(classifier_metrics(scores[""], scores[one.name], correct))
            row = Row(checkpoint=checkpoint, run=run.name, detector=shown, group=one.group, ood=one.name, **metrics)
            results.rows.append(row)
    for shown, search in measured.searches.items():
        chosen = {"checkpoint": checkpoint, "run": run.name, "detector": shown, "settings": search.parameters}
        results.chosen.append(chosen)
    for shown, reason in measured.skipped.items():
        results.skipped.append({"checkpoint": checkpoint, "run": run.name, "detector": shown, "reason": reason})
