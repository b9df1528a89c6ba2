"""Outputs in files of the cache: a network runs over a set of images once, and after an interruption goes on.

An entry stands for a checkpoint, known by its weights, and a set of images, known by its pixels and labels. It holds
one file an array, which grows batch by batch, and what detectors learned from a pass over these images.
"""

import math
import os
import zlib
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load, save

from sio_data.detection.detectors.network import NetworkDetector, WatchingDetector
from sio_data.detection.outputs import MEMORY, Outputs
from sio_data.detection.passes import batch_size, run_pass
from sio_data.engines.claims import Claim, claim
from sio_data.errors import InputError, SioDataError
from sio_data.files import clear_if_full, read_json, sha256_bytes, sha256_json, write_bytes, write_json
from sio_data.foreign import cache_named
from sio_data.image_set import ImageSet
from sio_data.progress import progress
from sio_data.training.checkpoint import Classifier
from sio_data.version import __version__

_ARRAYS = "arrays.json"
_FORMAT = "sio-data/outputs/2"
_OWN = ("logits", "features")
_KINDS = ("<f2", "<f4", "<f8")


class OutputCache:
    """The outputs of one checkpoint.

    Args:
        classifier: In evaluation mode, on `device`.
        weights: SHA-256 of its weights.
        train: The training images, from which watching detectors learn.
        device: Where to run. Outputs of another kind of device differ in last bits, and are others.
        memory: See `Outputs`.
    """

    def __init__(
        self, classifier: Classifier, weights: str, train: ImageSet, device: torch.device, memory: int = MEMORY
    ) -> None:
        self._classifier = classifier
        self._train = train
        self._device = device
        self._memory = memory
        self._key = [_FORMAT, __version__, torch.__version__, weights, classifier.config, device.type]

    def train_outputs(self, watchers: Sequence[WatchingDetector] = ()) -> Outputs:
        """Give the outputs of the training images; detectors learn from the pass over them, and are fitted then."""
        new = [one for one in watchers if not self._load(one)]
        outputs = self._open(self._train, (), new)
        for one in new:
            one.fit(train=outputs, network=self._classifier)
            state = {name: value.cpu().contiguous() for name, value in one.state().items()}
            write_bytes(self._state_file(one), save(state))
        return outputs

    def outputs(self, images: ImageSet, observers: Iterable[NetworkDetector] = ()) -> Outputs:
        """Give the outputs of a set of images, mapped from files, with what detectors observe.

        What is not there is computed.

        Args:
            images: Of the classifier's `load_size`, with labels in its class map.
            observers: Detectors that look at the network; those that learn from training images are fitted.

        Raises:
            SioDataError: The disk is full.
        """
        return self._open(images, tuple({one.observation: one for one in observers}.values()), ())

    def _open(
        self, images: ImageSet, observers: Sequence[NetworkDetector], watchers: Sequence[WatchingDetector]
    ) -> Outputs:
        entry = self._entry(images)
        with _lock(entry), clear_if_full(entry, "Make room, or let HF_DATASETS_CACHE name another disk."):
            arrays = _Arrays(entry, len(images))
            missing = [one for one in observers if not arrays.is_complete(one.observation)]
            absent = [name for name in _OWN if not arrays.is_complete(name)]
            if missing or watchers or absent:
                self._fill(arrays, images, missing, watchers)
            observed = {one.observation: arrays.open(one.observation) for one in observers}
            logits, features = map(arrays.open, _OWN)
        return Outputs(logits, features, images.labels.cpu(), images=images, observed=observed, memory=self._memory)

    def _fill(
        self,
        arrays: "_Arrays",
        images: ImageSet,
        observers: Sequence[NetworkDetector],
        watchers: Sequence[WatchingDetector],
    ) -> None:
        names = [*_OWN, *(one.observation for one in observers)]
        start = 0 if watchers else arrays.begin(names, batch_size(self._device))
        if start == len(images):  # it was cut short just before the end
            arrays.seal()
            return
        passed = run_pass(self._classifier, images, self._device, observers, watchers, start)
        with progress(f"running over {images.name}", len(images), start) as advance:
            for seen in passed:
                for name, values in {"logits": seen.logits, "features": seen.features, **seen.observed}.items():
                    arrays.append(name, int(seen.places[0]), values.numpy())
                advance(len(seen.places), "")
        arrays.seal()

    def _load(self, detector: WatchingDetector) -> bool:
        """Let a detector take what such a one learned from the training images, if that is at hand and sound."""
        try:
            state = load(self._state_file(detector).read_bytes())
            detector.load_state({name: value.to(self._device) for name, value in state.items()})
        except (OSError, InputError, ValueError, SafetensorError):
            return False
        detector.attach(self._classifier)
        return True

    def _state_file(self, detector: WatchingDetector) -> Path:
        return self._entry(self._train) / f"{sha256_bytes(detector.settings.encode())[:16]}.safetensors"

    def _entry(self, images: ImageSet) -> Path:
        return Path(cache_named(sha256_json([*self._key, images.digest])))


def _lock(entry: Path) -> Claim:
    """Make an entry, if it is not there, and wait for whoever works on it.

    Raises:
        SioDataError: It cannot be made.
    """
    try:
        entry.mkdir(parents=True, exist_ok=True)
        lock = claim(entry / ".lock", wait=True)
    except OSError as error:
        raise SioDataError(
            f"outputs cannot be kept in {entry.parent} ({error.strerror}). Let HF_DATASETS_CACHE name another folder."
        ) from error
    if lock is None:
        raise SioDataError(f"{entry} was deleted meanwhile. Run the same command again.")
    return lock


class _Arrays:
    """The arrays of an entry, one row an image; a complete one has a checksum, and is made anew if it does not fit."""

    def __init__(self, entry: Path, images: int) -> None:
        self._entry = entry
        self._images = images
        try:
            found = read_json(entry / _ARRAYS)
        except InputError:
            found = {}
        self._about: dict[str, Any] = {name: about for name, about in found.items() if _is_sound(about)}

    def is_complete(self, name: str) -> bool:
        about = self._about.get(name, {})
        if "checksum" not in about:
            return False
        path = self._file(name)
        whole = path.is_file() and path.stat().st_size == self._images * self._row_bytes(name)
        if not whole or _checksum(path) != about["checksum"]:
            self._forget(name)
        return name in self._about

    def open(self, name: str) -> torch.Tensor:
        about = self._about[name]
        # A change of the array stays in memory, and never reaches the file.
        shape = (self._images, *about["row"])
        return torch.from_numpy(np.memmap(self._file(name), about["dtype"], "c", shape=shape))

    def begin(self, names: Sequence[str], batch: int) -> int:
        """Cut what was written in part to whole rows; give the first image of the batch of the first missing row."""
        rows = []
        for name in names:
            if "checksum" in self._about.get(name, {}):
                continue
            rows.append(min(self._rows(name), self._images))
            if not rows[-1]:
                self._forget(name)
            else:
                with self._file(name).open("ab") as file:
                    file.truncate(rows[-1] * self._row_bytes(name))
        return min(rows, default=0) // batch * batch

    def append(self, name: str, first: int, values: "np.ndarray[Any, Any]") -> None:
        """Add those rows, of which the first is that of image `first`, that are not there yet."""
        if name not in self._about:
            self._about[name] = {"dtype": values.dtype.str, "row": list(values.shape[1:])}
            write_json(self._entry / _ARRAYS, self._about)
        with self._file(name).open("ab") as file:
            file.write(np.ascontiguousarray(values[max(0, self._rows(name) - first) :]).data)

    def seal(self) -> None:
        """Write the checksums of the arrays that are complete now."""
        for name, about in self._about.items():
            if "checksum" not in about and self._rows(name) == self._images:
                with self._file(name).open("rb") as file:
                    os.fsync(file.fileno())
                about["checksum"] = _checksum(self._file(name))
        write_json(self._entry / _ARRAYS, self._about)

    def _forget(self, name: str) -> None:
        self._file(name).unlink(missing_ok=True)
        self._about.pop(name, None)

    def _rows(self, name: str) -> int:
        if name not in self._about or not self._file(name).is_file():
            return 0
        return self._file(name).stat().st_size // self._row_bytes(name)

    def _row_bytes(self, name: str) -> int:
        kind, row = self._about[name]["dtype"], self._about[name]["row"]
        return int(kind[-1]) * math.prod(map(int, row))

    def _file(self, name: str) -> Path:
        return self._entry / f"{sha256_bytes(name.encode())[:16]}.raw"


def _is_sound(about: object) -> bool:
    """Tell whether the record of an array is one of ours."""
    return (
        isinstance(about, dict)
        and about.get("dtype") in _KINDS
        and isinstance(about.get("row"), list)
        and all(type(length) is int and length > 0 for length in about["row"])
    )


def _checksum(path: Path) -> int:
    """Give the CRC-32 of a file."""
    value = 0
    with path.open("rb") as file:
        while part := file.read(1 << 24):
            value = zlib.crc32(part, value)
    return value
