"""Scores of new pictures by a checkpoint's own detector: what runs after the benchmark."""

import os
import stat
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image, UnidentifiedImageError

from sio_data.detection.detectors.network import NetworkDetector
from sio_data.detection.passes import compute_outputs
from sio_data.device import pick_device
from sio_data.errors import InputError, first_line
from sio_data.files import as_folder
from sio_data.image_set import UNLABELLED, ImageSet
from sio_data.images import IMAGE_ERRORS, Pixels, fit_square
from sio_data.progress import progress
from sio_data.runs import find_runs
from sio_data.training.checkpoint import Classifier

_BATCH = 128
_PICTURES = (".png", ".jpg", ".jpeg", ".webp", ".bmp", ".gif", ".tif", ".tiff")


@dataclass(frozen=True, eq=False)
class Scored:
    """What a classifier and its detector say of images.

    Attributes:
        scores: float64 [N]; higher means more in-distribution.
        known: bool [N], whether the score reaches the threshold.
        labels: int64 [N], the class of the largest logit, known or not.
        class_names: The class map.
        threshold: The least score of what counts as known.
    """

    scores: npt.NDArray[np.float64]
    known: npt.NDArray[np.bool_]
    labels: npt.NDArray[np.int64]
    class_names: tuple[str, ...]
    threshold: float


@dataclass(frozen=True)
class ScoredPicture:
    """What they say of one picture.

    Attributes:
        path: Its file.
        label: Name of the class; empty if the file cannot be read.
        score: Higher means more in-distribution; None if the file cannot be read.
        known: Whether the score reaches the threshold.
        error: Why the file cannot be read; empty if it can.
    """

    path: str
    label: str = ""
    score: float | None = None
    known: bool = False
    error: str = ""


def score_images(classifier: Classifier, images: torch.Tensor | ImageSet) -> Scored:
    """Score images by the classifier's own detector.

    Args:
        classifier: Loaded from a checkpoint that `calibrate` gave a detector.
        images: uint8 [N, 3, H, H], RGB, of the classifier's `load_size`.

    Raises:
        InputError: It has no detector, or the images are of another kind or size.
    """
    calibration = classifier.calibration
    if not isinstance(images, ImageSet):
        images = ImageSet(images, torch.full((len(images),), UNLABELLED), (), "images")
    if images.image_size != classifier.load_size:
        size = classifier.load_size
        raise InputError(f"the classifier takes images of {size}x{size} pixels, not {images.image_size}.")
    detector = calibration.detector
    observers = [detector] if isinstance(detector, NetworkDetector) else []
    outputs = compute_outputs(classifier, images, classifier.device, observers)
    scores = detector.score(outputs)
    labels = outputs.predictions.numpy()
    return Scored(scores, scores >= calibration.threshold, labels, classifier.class_names, calibration.threshold)


def score(checkpoint: str | Path, images: Sequence[str | Path], *, device: str | None = None) -> list[ScoredPicture]:
    """Score pictures by a checkpoint's own detector, all at once; see `iterate_scores`."""
    paths = _find_pictures(images)
    classifier = _load(checkpoint, device)
    found = []
    with progress("scoring", len(paths)) as advance:
        for one in _score_all(classifier, paths):
            found.append(one)
            advance(1, "")
    return found


def iterate_scores(
    checkpoint: str | Path, images: Sequence[str | Path], *, device: str | None = None
) -> Iterator[ScoredPicture]:
    """Score pictures by a checkpoint's own detector, and give what is found as the work goes on.

    A picture is resized to what the classifier takes, its middle square. One that cannot be read is reported, and the
    others are scored all the same.

    Args:
        checkpoint: Folder of one checkpoint, or `hub:owner/name@revision`, that `calibrate` gave a detector.
        images: Files, and folders of which all pictures count, in the order of their names.
        device: Where to run; None means the best device at hand.

    Raises:
        InputError: There is no such checkpoint or file, it has no detector, or a folder holds no picture.
    """
    paths = _find_pictures(images)
    return _score_all(_load(checkpoint, device), paths)


def _score_all(classifier: Classifier, paths: Sequence[Path]) -> Iterator[ScoredPicture]:
    for start in range(0, len(paths), _BATCH):
        yield from _score_files(classifier, paths[start : start + _BATCH])


def _load(checkpoint: str | Path, device: str | None) -> Classifier:
    target = pick_device(device)
    return Classifier.from_pretrained(_one_checkpoint(checkpoint)).to(target)


def _one_checkpoint(checkpoint: str | Path) -> str | Path:
    if not Path(checkpoint).is_dir():
        return checkpoint
    runs = find_runs(checkpoint)
    if len(runs) > 1:
        raise InputError(f"{checkpoint} holds {', '.join(run.name for run in runs)}; name one of them.")
    return runs[0]


def _find_pictures(images: Sequence[str | Path]) -> list[Path]:
    if not images:
        raise InputError("name a picture or a folder of pictures at least.")
    found = []
    for place in images:
        path = as_folder(place)
        if path.is_dir():
            inside = sorted(_walk(path))
            if not inside:
                raise InputError(f"{path} holds no picture ({', '.join(_PICTURES)}).")
            found += inside
        elif path.exists():
            found.append(path)
        else:
            raise InputError(f"{path}: no such file or folder.")
    return found


def _walk(folder: Path) -> Iterator[Path]:
    for place, _, names in os.walk(folder):
        yield from (Path(place, name) for name in names if name.lower().endswith(_PICTURES))


def _score_files(classifier: Classifier, paths: Sequence[Path]) -> list[ScoredPicture]:
    read = {path: _read(path, classifier.load_size) for path in paths}
    sound = {path: pixels for path, pixels in read.items() if not isinstance(pixels, str)}
    found = {path: ScoredPicture(str(path), error=error) for path, error in read.items() if isinstance(error, str)}
    if sound:
        stacked = np.ascontiguousarray(np.stack(list(sound.values())).transpose(0, 3, 1, 2))
        result = score_images(classifier, torch.from_numpy(stacked))
        names = [result.class_names[label] for label in result.labels]
        for path, name, value, known in zip(sound, names, result.scores.tolist(), result.known.tolist(), strict=True):
            found[path] = ScoredPicture(str(path), name, value, known)
    return [found[path] for path in paths]


def _read(path: Path, size: int) -> Pixels | str:
    """Give the pixels of a file, uint8 [size, size, 3], or why it cannot be read."""
    try:
        if not stat.S_ISREG(path.stat().st_mode):  # to open a pipe would wait for ever
            return "it is no regular file"
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            with Image.open(path) as picture:
                return fit_square(picture, size)
    except UnidentifiedImageError:
        return "it is no picture"
    except (Image.DecompressionBombWarning, Image.DecompressionBombError):
        return f"it has more than {Image.MAX_IMAGE_PIXELS:,} pixels"
    except IMAGE_ERRORS as error:
        return f"it cannot be read ({first_line(error)})"
