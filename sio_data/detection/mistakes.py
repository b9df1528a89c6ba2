"""A closer look at one run and detector: its figures class by class, and the images that it is most wrong about."""

import base64
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
from PIL import Image

from sio_data.detection.detectors.base import Scores
from sio_data.detection.significance import share_below
from sio_data.image_set import ImageSet
from sio_data.images import fit_square
from sio_data.png import encode_png

if TYPE_CHECKING:
    from sio_data.detection.evaluation import Evaluation

_MOST_PICTURES = 12
_LARGEST_SIDE = 96


@dataclass(frozen=True)
class ClassFigures:
    """How a known class fares.

    Attributes:
        name: Of the class.
        images: Its test images.
        accuracy: Share of them that are right; None if there is no image.
        taken: Share of all OOD images that are taken for this class.
        aurocs: AUROC of its images against each OOD set; None if there is no image.
    """

    name: str
    images: int
    accuracy: float | None
    taken: float
    aurocs: tuple[float | None, ...]


@dataclass(frozen=True)
class Picture:
    """An image that a detector is wrong about.

    Attributes:
        png: The image, at most 96 pixels wide, in base 64.
        truth: Its class, or the name of its OOD set.
        taken_for: The class that the network gives it.
        beyond: Share of the other kind's images that it lies beyond: for an OOD image of the ID ones with lower scores,
            for an ID image of the OOD ones with higher scores.
    """

    png: str
    truth: str
    taken_for: str
    beyond: float


@dataclass(frozen=True)
class Mistakes:
    """What one run and detector got wrong.

    Attributes:
        checkpoint: Name of the group of runs.
        run: Name of the run.
        detector: Name of the detector.
        classes: For each known class its figures.
        unnoticed: The OOD images with the highest scores.
        rejected: The ID images with the lowest scores.
    """

    checkpoint: str
    run: str
    detector: str
    classes: list[ClassFigures]
    unnoticed: list[Picture]
    rejected: list[Picture]


def find_mistakes(evaluation: "Evaluation", checkpoint: str) -> Mistakes | None:
    """Look at the detector that is best on a checkpoint, on the first run with scores of it; None without any."""
    results = evaluation.results
    detector = results.best_detector(checkpoint)
    if detector is None:
        return None
    run = results.measured_runs(checkpoint, detector)[0]
    scores = evaluation.scores[checkpoint, run, detector]
    predictions = evaluation.predictions[checkpoint, run]
    return Mistakes(
        checkpoint,
        run,
        detector,
        _class_figures(evaluation, scores, predictions),
        _unnoticed(evaluation, scores, predictions),
        _rejected(evaluation, scores, predictions),
    )


Predictions = dict[str, npt.NDArray[np.int64]]


def _class_figures(evaluation: "Evaluation", scores: dict[str, Scores], predictions: Predictions) -> list[ClassFigures]:
    test = evaluation.images.test
    labels, count = test.labels.cpu().numpy(), len(test.class_names)
    images = np.bincount(labels, minlength=count)
    right = np.bincount(labels[predictions[""] == labels], minlength=count)
    unknown = np.concatenate([predictions[name] for name in evaluation.images.ood])
    taken = np.bincount(unknown, minlength=count) / len(unknown)
    above = [
        np.bincount(labels, share_below(scores[""], scores[name]), minlength=count) for name in evaluation.images.ood
    ]
    return [
        ClassFigures(
            name,
            int(images[place]),
            right[place] / images[place] if images[place] else None,
            taken[place],
            tuple(sums[place] / images[place] if images[place] else None for sums in above),
        )
        for place, name in enumerate(test.class_names)
    ]


def _unnoticed(evaluation: "Evaluation", scores: dict[str, Scores], predictions: Predictions) -> list[Picture]:
    """Show the OOD images, of all sets together, with the highest scores."""
    places = [(name, place) for name, images in evaluation.images.ood.items() for place in range(len(images))]
    joined = np.concatenate([scores[name] for name in evaluation.images.ood])
    beyond = share_below(joined, scores[""])
    names = evaluation.images.test.class_names
    return [
        Picture(_png(evaluation.images.ood[name], place), name, names[predictions[name][place]], float(beyond[chosen]))
        for chosen in np.argsort(-joined, kind="stable")[:_MOST_PICTURES]
        for name, place in [places[chosen]]
    ]


def _rejected(evaluation: "Evaluation", scores: dict[str, Scores], predictions: Predictions) -> list[Picture]:
    """Show the ID images with the lowest scores."""
    test = evaluation.images.test
    unknown = np.concatenate([scores[name] for name in evaluation.images.ood])
    beyond = 1 - share_below(scores[""], unknown)
    return [
        Picture(
            _png(test, place),
            test.class_names[int(test.labels[place])],
            test.class_names[predictions[""][place]],
            float(beyond[place]),
        )
        for place in map(int, np.argsort(scores[""], kind="stable")[:_MOST_PICTURES])
    ]


def _png(images: ImageSet, place: int) -> str:
    pixels = images.images[place].permute(1, 2, 0).cpu().numpy()
    if len(pixels) > _LARGEST_SIDE:
        pixels = fit_square(Image.fromarray(pixels), _LARGEST_SIDE)
    return base64.b64encode(encode_png(pixels[None])[0]).decode()
