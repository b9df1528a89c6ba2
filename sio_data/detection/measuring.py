"""The measurement of one checkpoint: as few passes over the images as there can be, then every detector."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from sio_data.detection.detectors import create
from sio_data.detection.detectors.base import Detector, Scores
from sio_data.detection.detectors.network import NetworkDetector, WatchingDetector
from sio_data.detection.image_sets import EvaluationImages
from sio_data.detection.output_cache import OutputCache
from sio_data.detection.outputs import Outputs
from sio_data.detection.parameter_search import Search, candidates, search
from sio_data.errors import InputError, SioDataError
from sio_data.training.checkpoint import Classifier

Choice = tuple[str, dict[str, Any]]
"""A detector's name and the parameters that were given for it."""


@dataclass
class RunMeasured:
    """What was measured of one checkpoint. The key "" stands for the ID test images, others for OOD sets.

    Attributes:
        test: Outputs of the ID test images.
        predictions: int64 [N], the class of the largest logit.
        scores: For each detector, float64 [N].
        searches: What the parameter search found for a detector.
        skipped: Why a detector was left out.
    """

    test: Outputs
    predictions: dict[str, npt.NDArray[np.int64]]
    scores: dict[str, dict[str, Scores]]
    searches: dict[str, Search]
    skipped: dict[str, str]


def measure_run(
    classifier: Classifier,
    cache: OutputCache,
    images: EvaluationImages,
    choices: Mapping[str, Choice],
    *,
    name: str = "the checkpoint",
    searching: bool = False,
    strict: bool = False,
) -> RunMeasured:
    """Fit detectors for a checkpoint, and score all sets with them.

    The network runs over the training images first, while detectors that learn from it watch; then over the validation
    images and those to be judged, while detectors that look at it look. Each set is passed once.

    Args:
        classifier: In evaluation mode.
        cache: Where its outputs are kept.
        images: All sets, with labels in the class map of the classifier.
        choices: The detectors, by how they are to be called.
        name: What to call the checkpoint in messages.
        searching: Whether to choose their parameters by `search`; `images.ood_val` must be there.
        strict: Whether a detector that cannot be fitted, or gives NaN or infinite scores, is an error, and not only
            left out.

    Raises:
        InputError: The network gives NaN or infinite values; or strict, and a detector cannot be fitted with its
            parameters.
        SioDataError: Strict, and a detector gives NaN or infinite scores.
    """
    skipped = {}
    wanted: dict[str, list[Detector]] = {}
    for shown, (kind, given) in choices.items():
        if reason := create(kind, **given).misfit(classifier):
            skipped[shown] = reason
        else:
            wanted[shown] = candidates(kind, **given) if searching else [create(kind, **given)]
    every = [one for several in wanted.values() for one in several]
    with _naming(f"{name}, on the training images"):
        train = cache.train_outputs([one for one in every if isinstance(one, WatchingDetector)])
    with _naming(f"{name}, on the validation images"):
        val = cache.outputs(images.val, _observers(every))
    with _naming(f"{name}, on the OOD validation images"):
        ood_val = cache.outputs(images.ood_val, _observers(every)) if searching and images.ood_val else None
    fitted: dict[str, Detector] = {}
    searches: dict[str, Search] = {}
    for shown, several in wanted.items():
        try:
            found = _choose(several, train, val, ood_val, classifier)
        except SioDataError as error:
            if strict:
                raise
            skipped[shown] = str(error)
            continue
        fitted[shown] = found if isinstance(found, Detector) else found.detector
        if isinstance(found, Search):
            searches[shown] = found
    outputs = {}
    for one, judged in {"": images.test, **images.ood}.items():
        with _naming(f"{name}, on the {f'OOD set {one}' if one else 'test images'}"):
            outputs[one] = cache.outputs(judged, _observers(fitted.values()))
    scores: dict[str, dict[str, Scores]] = {}
    for shown, detector in fitted.items():
        try:
            scores[shown] = {one: detector.score(values) for one, values in outputs.items()}
        except SioDataError as error:
            if strict:
                raise SioDataError(f"{name}: {error}") from error
            skipped[shown] = str(error)
    return RunMeasured(
        test=outputs[""],
        predictions={one: values.predictions.numpy() for one, values in outputs.items()},
        scores=scores,
        searches={shown: found for shown, found in searches.items() if shown in scores},
        skipped=skipped,
    )


@contextmanager
def _naming(place: str) -> Iterator[None]:
    """Say where bad input was found."""
    try:
        yield
    except InputError as error:
        raise InputError(f"{place}: {error}") from error


def _choose(
    detectors: Sequence[Detector], train: Outputs, val: Outputs, ood_val: Outputs | None, classifier: Classifier
) -> Detector | Search:
    """Fit the only one, or search among several."""
    if ood_val is not None and len(detectors) > 1:
        return search(detectors, train=train, val=val, ood_val=ood_val, network=classifier)
    (only,) = detectors
    return only if only.is_fitted else only.fit(train=train, val=val, network=classifier)


def _observers(detectors: Iterable[Detector]) -> list[NetworkDetector]:
    return [one for one in detectors if isinstance(one, NetworkDetector)]
