"""`train`: a classifier for each seed, on real images, with or without synthetic ones."""

import json
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import torch

from sio_data.device import pick_device
from sio_data.errors import ClassMapError, InputError, SettingsMismatchError
from sio_data.files import (
    check_output_folder,
    check_same_settings,
    flush_tree,
    is_url,
    read_json,
    remove_leftovers,
    remove_tree,
    write_json,
    write_text,
)
from sio_data.image_set import ImageSet
from sio_data.manifest import Manifest
from sio_data.runs import CARD, FORMAT, RECORD, is_run, is_unfinished, unfinished_place
from sio_data.source_names import SourceName, Split
from sio_data.sources import find_manifest, load_source
from sio_data.streaming import StreamedSet, can_stream, open_stream
from sio_data.texts import clean_urls
from sio_data.training.beginning import TrainingData
from sio_data.training.card import render_checkpoint_card
from sio_data.training.journal import check_tensorboard
from sio_data.training.loop import SAVE_SECONDS, mixed_batches, train_run
from sio_data.training.ranks import Ranks, join_ranks
from sio_data.training.request import Storage, TrainingRequest, resolve_request
from sio_data.training.run import Trained
from sio_data.training.settings import Keep, TrainingSettings
from sio_data.training.state import STATE
from sio_data.training.stopping import StopRequest, stop_request


@dataclass(frozen=True)
class TrainedRun:
    """One checkpoint that `train` was asked for.

    Attributes:
        folder: Where it lies.
        seed: Its seed.
        val_accuracy: Share of the validation images that are right, in [0, 1].
        made: Whether this call trained it; False if it was there.
    """

    folder: Path
    seed: int
    val_accuracy: float
    made: bool


def train(
    real: str,
    out: str | Path,
    *,
    synthetic: str | None = None,
    outliers: str | None = None,
    val: str | None = None,
    preset: str | None = None,
    image_size: int | None = None,
    storage: Storage | None = None,
    seeds: Sequence[int] | None = None,
    device: str | None = None,
    save_seconds: float = SAVE_SECONDS,
    tensorboard: bool = False,
    **settings: Any,
) -> list[TrainedRun]:
    """Train a classifier for each seed; with a synthetic set, under the SIO objective.

    Each run is a checkpoint of its own, `out/seed-0` and so on, and appears there when it is finished. Called again,
    the runs that are there are left alone, one that was interrupted goes on from its last saved step and ends in the
    weights that it would have had, and the others are made. Under torchrun all processes train each run together.

    Args:
        real: Labelled real images; see `sio_data.sources`.
        out: Folder of the runs: new, empty, or begun with the same settings.
        synthetic: A synthetic set or any other source; its classes are matched to the real ones by name.
        outliers: Images of no known class, for the methods that need them; labels do not count.
        val: Source of the validation images: its validation split, or all of the `#split` or the set that it names.
            None means the validation split of `real`; a set as `real` has none.
        preset: A recipe by name (see `sio_data.presets`) or the path of a YAML file; what is given here goes before it.
        image_size: Resize all images to this many pixels; None keeps their size.
        storage: `memory` (None means this); `mapped` keeps decoded pixels in a file that is mapped into memory;
            `stream` reads sets of this package, here or behind a URL, from their shards as the training goes along.
            Sources that are no such sets are held in memory then.
        seeds: One run each; None means 0, 1, 2.
        device: Where to train; None means the best device at hand.
        save_seconds: Time between two saves of an unfinished run.
        tensorboard: Whether to write events for TensorBoard beside `log.csv`.
        **settings: Fields of `TrainingSettings`; None means the preset's value, or the default.

    Returns:
        The runs, in the order of the seeds.

    Raises:
        UnknownNameError: No such source, preset, setting, method, network or augmentation.
        InputError: A value is out of range, or the images do not fit together.
        FolderInUseError: The folder holds something else.
        SettingsMismatchError: A run there was made with other settings.
        IncompleteError: SIGTERM came; what was reached is saved.
        SioDataError: The loss became NaN.
    """
    request = resolve_request(
        real,
        synthetic=synthetic,
        outliers=outliers,
        val=val,
        preset=preset,
        image_size=image_size,
        storage=storage,
        seeds=seeds,
        **settings,
    )
    if not save_seconds >= 0:
        raise InputError(f"save_seconds must be at least 0, not {save_seconds}.")
    if is_url(out):
        raise InputError(f"a training needs a local folder: {out} is none. Copy the finished runs there.")
    if tensorboard:
        check_tensorboard()
    with join_ranks(device) as (ranks, own):
        target = pick_device(own)
        data = _load(request, ranks)
        record = _record(request, data, str(out))
        ranks.on_first(lambda: _check_folder(Path(out), record["settings"]))
        _check_fit(request.settings, data, ranks)
        with stop_request() as stop:
            series = _Series(Path(out), request, data, record, target, ranks, save_seconds, tensorboard, stop)
            return [series.run(seed) for seed in request.seeds]


@dataclass(frozen=True)
class _Series:
    """The runs of one request; each is made once."""

    folder: Path
    request: TrainingRequest
    data: TrainingData
    record: dict[str, Any]
    device: torch.device
    ranks: Ranks
    save_seconds: float
    tensorboard: bool
    stop: StopRequest

    def run(self, seed: int) -> TrainedRun:
        place = self.folder / f"seed-{seed}"
        there = self.ranks.share(place.is_dir())
        if not there:
            if self.ranks.any(self.stop.signal != 0, self.device):
                raise self.stop.error()
            self._make(place, seed)
        if self.ranks.first:
            (place / STATE).unlink(missing_ok=True)  # here also if it was left by a run that was killed as it finished
        accuracy = self.ranks.share(read_json(place / RECORD)["val_accuracy"] if self.ranks.first else None)
        return TrainedRun(place, seed, accuracy, made=not there)

    def _make(self, place: Path, seed: int) -> None:
        unfinished = unfinished_place(place)
        self.ranks.on_first(lambda: _begin_folder(unfinished, self.record))
        with self._nothing_left(unfinished):
            trained = train_run(
                self.request.settings,
                self.data,
                seed,
                self.device,
                ranks=self.ranks,
                folder=unfinished,
                save_seconds=self.save_seconds,
                tensorboard=self.tensorboard,
                request=self.stop,
            )
        details = {"seed": seed, "epoch": trained.epoch, "val_accuracy": trained.accuracy, "history": trained.history}
        self.ranks.on_first(lambda: _finish_folder(unfinished, place, trained, self.record | details))

    @contextmanager
    def _nothing_left(self, unfinished: Path) -> Iterator[None]:
        """Leave nothing of a run that could not begin: its data or its network do not fit the settings."""
        try:
            yield
        except InputError:
            if self.ranks.first and not (unfinished / STATE).is_file():
                remove_tree(unfinished)
                with suppress(OSError):  # the folder holds other runs
                    self.folder.rmdir()
            raise


def _begin_folder(folder: Path, record: dict[str, Any]) -> None:
    """Make the folder of an unfinished run, or go on in it; without a saved state it is made anew."""
    if not (folder / STATE).is_file():
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        write_json(folder / RECORD, record)
    remove_leftovers(folder)


def _finish_folder(folder: Path, place: Path, trained: Trained, record: dict[str, Any]) -> None:
    """Write the weights to keep into a folder, the others into `best/` or `last/` there, and give it its name."""
    keep = record["settings"]["keep"]
    other: Keep = "last" if keep == "best" else "best"
    remove_tree(folder / other)  # it may hold what a killed writer left
    trained.use(other).save_pretrained(folder / other)
    trained.use(keep).save_pretrained(folder)
    write_json(folder / RECORD, record)
    write_text(folder / CARD, render_checkpoint_card(trained.classifier.config, record))
    flush_tree(folder)
    folder.replace(place)


def _load(request: TrainingRequest, ranks: Ranks) -> TrainingData:
    """Load the images; rank 0 first, so that the others find what it fetched."""
    if not ranks.first:
        ranks.wait()
    real = _open(request.real, request, "train")
    if len(real.class_names) < 2:
        raise ClassMapError(f"{request.real} has {len(real.class_names)} class; a classifier needs two or more.")
    data = TrainingData(
        real,
        _load_val(request).require_labels().with_class_names(real.class_names),
        _open(request.synthetic, request, "train", hold_out=False) if request.synthetic else None,
        _open(request.outliers, request, "train", labelled=False) if request.outliers else None,
    )
    if ranks.first:
        ranks.wait()
    return data


def _load_val(request: TrainingRequest) -> ImageSet:
    """Load the validation images: of a source that was named for it, all of the split or set that it names."""
    name = request.val
    if name is None and can_stream(request.real):
        raise InputError(f"{request.real} is a set of one split: name other images to validate on (--val).")
    if name is None:
        return _hold(request.real, request, "val")
    if can_stream(name):
        return _hold(name, request, "train", hold_out=False)
    return _hold(name, request, "test" if SourceName.parse(name).split else "val")


def _open(name: str, request: TrainingRequest, split: Split, **options: bool) -> ImageSet | StreamedSet:
    """Stream a source, if that is asked for and it is a set; else hold it."""
    if request.storage == "stream" and can_stream(name):
        return open_stream(name, image_size=request.image_size)
    return _hold(name, request, split, **options)


def _hold(name: str, request: TrainingRequest, split: Split, **options: bool) -> ImageSet:
    """Hold a source in memory, or in a file that is mapped into it."""
    storage: Literal["memory", "mapped"] = "mapped" if request.storage == "mapped" else "memory"
    return load_source(name, split, image_size=request.image_size, storage=storage, **options)


def _manifest(request: TrainingRequest, data: TrainingData) -> Manifest | None:
    if isinstance(data.synthetic, StreamedSet):
        return data.synthetic.manifest
    return find_manifest(request.synthetic) if request.synthetic else None


def _record(request: TrainingRequest, data: TrainingData, out: str) -> dict[str, Any]:
    made_of = _manifest(request, data)
    # Names are no part of the settings: the same folder can be named in several ways.
    digests = {
        "real_data": data.real.digest,
        "val_data": data.val.digest,
        "synthetic_data": data.synthetic.digest if data.synthetic else None,
        "outlier_data": data.outliers.digest if data.outliers else None,
    }
    return {
        "format": FORMAT,
        **{name: _told(getattr(request, name)) for name in ("real", "synthetic", "outliers", "val")},
        "synthetic_set": made_of.digest if made_of else None,
        "synthetic_licence": made_of.origin.licence if made_of else None,
        "command": clean_urls(request.command(out)),
        "settings": json.loads(json.dumps(asdict(request.settings))) | digests,
    }


def _told(source: str | None) -> str | None:
    """Give a source's name without a login, as it is recorded."""
    return clean_urls(source) if source else None


def _check_fit(settings: TrainingSettings, data: TrainingData, ranks: Ranks) -> None:
    """Refuse what would fail at the first step."""
    mixed_batches(settings, data, 0, ranks)
    if data.outliers is not None and settings.outlier_batch_size < ranks.world:
        raise InputError(f"outlier_batch_size must be at least {ranks.world}: each process needs an outlier.")


def _check_folder(folder: Path, settings: dict[str, Any]) -> None:
    """Accept a folder of runs with these settings, or a new one; an unfinished run without a state does not count."""
    check_output_folder(folder, is_ours=lambda entry: is_run(entry) or is_unfinished(entry))
    for run in sorted(folder.glob("seed-*")):
        check_same_settings(run, read_json(run / RECORD).get("settings", {}), settings)
    for run in sorted(folder.glob(".seed-*.unfinished")):
        if not (run / STATE).is_file():
            continue
        try:
            check_same_settings(run, read_json(run / RECORD).get("settings", {}), settings)
        except SettingsMismatchError as error:
            raise SettingsMismatchError(f"{error} Or delete {run}, which is not finished.") from error
