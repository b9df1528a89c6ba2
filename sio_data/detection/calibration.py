"""A checkpoint's own detector: fitted, with a threshold, and kept beside the weights. This is what a user ships.

It is one file, `detector.safetensors`: what the detector learned, and in the metadata as JSON its name and parameters,
the threshold, and which weights it was fitted for.
"""

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save

from sio_data.choices import parse_choice
from sio_data.detection.benchmarks import SPLITS, id_places
from sio_data.detection.detectors import create
from sio_data.detection.detectors.base import Detector, Scores
from sio_data.detection.detectors.network import NetworkDetector, WatchingDetector
from sio_data.detection.output_cache import OutputCache
from sio_data.detection.passes import compute_outputs
from sio_data.device import pick_device
from sio_data.errors import InputError, SioDataError
from sio_data.files import canonical_json, clear_if_full, parse_json, write_bytes
from sio_data.image_set import UNLABELLED, ImageSet
from sio_data.progress import progress
from sio_data.runs import DETECTOR, find_runs
from sio_data.source_names import Split
from sio_data.sources import Storage, load_source
from sio_data.training.checkpoint import Classifier

_FORMAT = "sio-data/detector/1"
_KINDS: dict[str, type | tuple[type, ...]] = {
    **dict.fromkeys(("detector", "source", "weights"), str),
    **dict.fromkeys(("threshold", "tpr"), (int, float)),
    "parameters": dict,
    "images": int,
}
_UNSOUND = (AttributeError, LookupError, ArithmeticError, TypeError, ValueError, RuntimeError, OSError, SafetensorError)


@dataclass(frozen=True)
class Calibration:
    """A detector with a threshold.

    Attributes:
        detector: Fitted.
        threshold: Images that score at least this count as known.
        tpr: True-positive rate: the share of known images that are to count as known, in (0, 1].
        source: The in-distribution source, whose validation split set the threshold.
        images: How many validation images that was.
        weights: SHA-256 of the weights it was fitted for.
    """

    detector: Detector
    threshold: float
    tpr: float
    source: str
    images: int
    weights: str

    def save(self, folder: Path) -> None:
        """Write the file into a checkpoint's folder, in one step: an earlier one is there until then."""
        state = {name: value.detach().cpu().contiguous() for name, value in self.detector.state().items()}
        content = save(state, {"about": canonical_json(self._about() | {"format": _FORMAT})})
        with clear_if_full(folder, "Free some, and calibrate again."):
            write_bytes(folder / DETECTOR, content)

    def _about(self) -> dict[str, Any]:
        described = {"detector": self.detector.name, "parameters": asdict(self.detector)}  # type: ignore[call-overload]
        return described | {name: getattr(self, name) for name in ("threshold", "tpr", "source", "images", "weights")}

    @classmethod
    def read(cls, folder: Path, classifier: Classifier) -> "Calibration":
        """Read the detector of a checkpoint.

        Args:
            folder: The checkpoint's.
            classifier: Loaded from it.

        Raises:
            InputError: It has none, or one that is unsound or belongs to other weights.
        """
        path = folder / DETECTOR
        if not path.is_file():
            raise InputError(f"{folder} has no detector yet. Give it one with: sio-data calibrate {folder} --id SOURCE")
        about, state = _open(path)
        if about.get("weights") != classifier.weights_digest:
            raise InputError(f"{folder}: its detector was fitted for other weights. Run sio-data calibrate again.")
        try:
            return cls._rebuild(about, state, classifier)
        except SioDataError as error:
            reason = str(error).rstrip(".")
        except _UNSOUND:
            reason = "what it learned does not fit the checkpoint"
        raise InputError(f"{path} holds no sound detector: {reason}. Run sio-data calibrate again.")

    @classmethod
    def _rebuild(
        cls, about: Mapping[str, Any], state: Mapping[str, torch.Tensor], classifier: Classifier
    ) -> "Calibration":
        for name, kinds in _KINDS.items():
            if isinstance(about.get(name), bool) or not isinstance(about.get(name), kinds):
                raise InputError(f"its {name} is missing, or of the wrong kind")
        threshold, tpr, images = float(about["threshold"]), float(about["tpr"]), about["images"]
        if not math.isfinite(threshold) or not 0 < tpr <= 1 or images < 1:
            raise InputError(f"its threshold {threshold}, rate {tpr} or number of images {images} is out of range")
        detector = create(about["detector"], **about["parameters"]).load_state(state).attach(classifier)
        blank = torch.zeros(1, 3, classifier.load_size, classifier.load_size, dtype=torch.uint8)
        unknown = ImageSet(blank, torch.full((1,), UNLABELLED), ())
        detector.score(compute_outputs(classifier, unknown, classifier.device))  # a state of another shape shows now
        return cls(detector, threshold, tpr, about["source"], images, about["weights"])


def _open(path: Path) -> tuple[dict[str, Any], dict[str, torch.Tensor]]:
    """Give what the file tells of a detector, and what it learned.

    Raises:
        InputError: It is damaged, or another file.
    """
    try:
        with safe_open(path, "pt") as file:
            about = parse_json((file.metadata() or {}).get("about", "").encode(), path)
            state = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118  it is no mapping
    except (*_UNSOUND, InputError) as error:
        raise InputError(f"{path} is not what sio-data calibrate wrote. Run it again.") from error
    if about.get("format") != _FORMAT:
        raise InputError(f"{path} is not what sio-data calibrate wrote. Run it again.")
    return about, state


def calibrate(
    checkpoint: str | Path,
    *,
    id: str,
    detector: str = "ebo",
    tpr: float = 0.95,
    storage: Storage = "memory",
    device: str | None = None,
) -> list[Calibration]:
    """Fit a detector for a checkpoint, set its threshold on validation images, and save both in the checkpoint.

    The network runs once over each set; what that gives is kept in the cache of datasets, as `evaluate` keeps it.

    Args:
        checkpoint: Folder of a checkpoint, or one that `train` made: each run in it gets its own.
        id: The in-distribution source, as `evaluate` takes it; see `sio_data.sources`. The detector is fitted on its
            training and validation splits, the threshold set on the latter.
        detector: Its name, with parameters if need be: `knn:k=20`.
        tpr: Share of the validation images that are to count as known, in (0, 1].
        storage: `memory`, or `mapped` for sets that do not fit; see `load_source`.
        device: Where to run; None means the best device at hand.

    Returns:
        The calibration of each run, in order.

    Raises:
        UnknownNameError: There is no such detector or source.
        ClassMapError: The checkpoint's classes are not those of the source.
        InputError: A value is out of range, or the detector does not suit the checkpoint.
    """
    if not 0 < tpr <= 1:
        raise InputError(f"tpr must be above 0 and at most 1, not {tpr}.")
    target = pick_device(device)
    name, parameters = parse_choice(detector)
    create(name, **parameters)
    source = id_places(id)["val"].source
    runs = find_runs(checkpoint)
    done = []
    with progress("calibrating", len(runs)) as advance:
        for run in runs:
            classifier = Classifier.from_pretrained(run).to(target)
            chosen = create(name, **parameters)
            if reason := chosen.misfit(classifier):
                raise InputError(f"{name} does not suit {run}: {reason}.")
            calibration = _calibrate(classifier, chosen, source, tpr, storage)
            calibration.save(run)
            done.append(calibration)
            advance(1, run.name)
    return done


def _calibrate(classifier: Classifier, detector: Detector, source: str, tpr: float, storage: Storage) -> Calibration:
    train_images, val_images = (_load(source, split, classifier, storage) for split in SPLITS[:2])
    cache = OutputCache(classifier, classifier.weights_digest, train_images, classifier.device)
    train = cache.train_outputs([detector] if isinstance(detector, WatchingDetector) else [])
    val = cache.outputs(val_images, [detector] if isinstance(detector, NetworkDetector) else [])
    if not detector.is_fitted:
        detector.fit(train=train, val=val, network=classifier)
    threshold = choose_threshold(detector.score(val), tpr)
    return Calibration(detector, threshold, tpr, source, len(val), classifier.weights_digest)


def _load(source: str, split: Split, classifier: Classifier, storage: Storage) -> ImageSet:
    images = load_source(source, split, image_size=classifier.load_size, storage=storage)
    return images.require_labels().with_class_names(classifier.class_names)


def choose_threshold(scores: Scores, tpr: float) -> float:
    """Give a threshold that at least a share of the scores reaches, and no more than that needs.

    It lies halfway to the next lower score, so that the last bits of a score, which differ between devices and batches,
    do not decide.

    Args:
        scores: float64 [N], finite, of known images.
        tpr: The share, in (0, 1].
    """
    ordered = np.sort(scores)[::-1]
    count = max(1, math.ceil(tpr * len(ordered) - 1e-9))  # 0.95 * 20 is a hair above 19
    lowest = float(ordered[count - 1])
    below = ordered[count] if count < len(ordered) else lowest - 1e-6 * (ordered[0] - lowest)
    return (lowest + float(below)) / 2
