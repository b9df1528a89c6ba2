"""`train`: classifiers on real images, with or without synthetic ones."""

import shlex
import shutil
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

from sio_data.commands import changed, command_line
from sio_data.device import pick_device
from sio_data.errors import ClassMapError, InputError
from sio_data.files import (
    check_output_folder,
    check_same_settings,
    flush_tree,
    json_text,
    read_json,
    write_json,
    write_text,
)
from sio_data.image_set import ImageSet
from sio_data.mixing import MixedBatches, check_alpha
from sio_data.runs import RECORD as RECORD
from sio_data.runs import RUN_NAME, read_record
from sio_data.sources import find_manifest, load_source
from sio_data.training.card import render_checkpoint_card
from sio_data.training.loop import Keep, TrainingSettings, train_run
from sio_data.training.objective import Mix

_FORMAT = "sio-data/checkpoint/1"
_DEFAULT_SEEDS = (0, 1, 2)
_DEFAULT_ALPHA = 0.8


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
    alpha: float | None = None,
    mix: Mix = "batch",
    network: str = "convnet",
    epochs: int = 60,
    batch_size: int = 128,
    learning_rate: float = 0.1,
    momentum: float = 0.9,
    weight_decay: float = 5e-4,
    augmentation: str = "crop",
    keep: Keep = "last",
    image_size: int | None = None,
    seeds: Sequence[int] = _DEFAULT_SEEDS,
    device: str | None = None,
) -> list[TrainedRun]:
    """Train a classifier for each seed; with a synthetic set, under the SIO objective.

    Each run is a checkpoint of its own, `out/seed-0` and so on, and appears there when it is finished. Called again,
    the runs that are there are left alone and the others are made.

    Args:
        real: Labelled real images; see `sio_data.sources`.
        out: Folder of the runs: new, empty, or begun with the same settings.
        synthetic: A synthetic set or any other source; its classes are matched to the real ones by name.
        alpha: Weight of the real loss, in (0, 1]; None means 0.8 with a synthetic set. With 1 it goes unused.
        mix: `batch` or `loss`; see `sio_loss`.
        network: See `sio_data.training.networks`.
        epochs: Of `ceil(N_real / batch_size)` updates.
        batch_size: Images in each update.
        learning_rate: At the start.
        momentum: Of SGD.
        weight_decay: Of SGD.
        augmentation: `none`, `crop` or `crop-flip`.
        keep: Which weights: `last`, or `best` by validation accuracy; see `TrainingSettings`.
        image_size: Resize real and synthetic images to this many pixels; None keeps their size.
        seeds: One run each.
        device: Where to train; None means the best device at hand.

    Returns:
        The runs, in the order of the seeds.

    Raises:
        UnknownNameError: No such source, network or augmentation.
        InputError: A value is out of range, or the images do not fit together.
        FolderInUseError: The folder holds something else.
        SettingsMismatchError: A run there was made with other settings.
        SioDataError: The loss became NaN.
    """
    settings = TrainingSettings(
        network=network,
        alpha=_resolve_alpha(alpha, synthetic),
        mix=mix,
        epochs=epochs,
        batch_size=batch_size,
        learning_rate=learning_rate,
        momentum=momentum,
        weight_decay=weight_decay,
        augmentation=augmentation,
        keep=keep,
    )
    _check_seeds(seeds)
    target = pick_device(device)
    folder = Path(out)
    data = _Data.load(real, synthetic if settings.alpha < 1 else None, image_size)
    made_of = find_manifest(data.synthetic_name) if data.synthetic_name else None
    record: dict[str, Any] = {
        "format": _FORMAT,
        "real": data.real_name,
        "synthetic": data.synthetic_name,
        "synthetic_set": made_of.digest if made_of else None,
        "synthetic_licence": made_of.origin.licence if made_of else None,
        "command": _command(settings, real, data.synthetic_name, str(out), image_size, seeds),
        "settings": asdict(settings) | data.digests(),
    }
    _check_folder(folder, record["settings"])
    MixedBatches(data.real, data.synthetic, batch_size=batch_size, alpha=settings.alpha)  # refuses what does not fit
    return [_run_once(folder / f"seed-{seed}", settings, data, seed, record, target) for seed in seeds]


@dataclass(frozen=True)
class _Data:
    real_name: str
    real: ImageSet
    val: ImageSet
    synthetic_name: str | None
    synthetic: ImageSet | None

    @classmethod
    def load(cls, real: str, synthetic: str | None, image_size: int | None) -> "_Data":
        train = load_source(real, "train", image_size=image_size)
        if len(train.class_names) < 2:
            raise ClassMapError(f"{real} has {len(train.class_names)} class; a classifier needs two or more.")
        val = load_source(real, "val", image_size=image_size).require_labels()
        extra = load_source(synthetic, "train", image_size=image_size, hold_out=False) if synthetic else None
        return cls(real, train, val.with_class_names(train.class_names), synthetic, extra)

    def digests(self) -> dict[str, Any]:
        """Say what the data are. Names are no part of it: the same folder can be named in several ways."""
        return {
            "real_data": self.real.digest,
            "val_data": self.val.digest,
            "synthetic_data": self.synthetic.digest if self.synthetic else None,
        }


def _resolve_alpha(alpha: float | None, synthetic: str | None) -> float:
    if synthetic is None:
        if alpha not in (None, 1):
            check_alpha(alpha)
            raise InputError(f"alpha {alpha} needs a synthetic set (--synthetic).")
        return 1.0
    return _DEFAULT_ALPHA if alpha is None else alpha


def _check_seeds(seeds: Sequence[int]) -> None:
    if not seeds or len(set(seeds)) != len(seeds) or not all(0 <= seed < 2**31 for seed in seeds):
        raise InputError(f"seeds must be there, differ, and be from 0 to 2**31 - 1, not {list(seeds)}.")


def _command(
    settings: TrainingSettings,
    real: str,
    synthetic: str | None,
    out: str,
    image_size: int | None,
    seeds: Sequence[int],
) -> str:
    alpha = settings.alpha if synthetic else None
    chosen = {"image_size": image_size, "seeds": tuple(seeds)} | asdict(settings)
    del chosen["alpha"]
    return command_line("train", real=real, synthetic=synthetic, alpha=alpha, out=out, **changed(train, **chosen))


def _check_folder(folder: Path, settings: dict[str, Any]) -> None:
    """Accept a folder of runs with these settings, or a new one."""
    check_output_folder(folder, is_ours=lambda entry: _is_run(entry) or _is_unfinished(entry))
    for run in filter(_is_run, sorted(folder.glob("seed-*"))):
        check_same_settings(run, read_json(run / RECORD).get("settings", {}), settings)


def _is_run(entry: Path) -> bool:
    return bool(RUN_NAME.fullmatch(entry.name)) and read_record(entry).get("format") == _FORMAT


def _unfinished(place: Path) -> Path:
    return place.with_name(f".{place.name}.unfinished")


def _is_unfinished(entry: Path) -> bool:
    return entry.name.endswith(".unfinished") and bool(RUN_NAME.fullmatch(entry.name[1:].removesuffix(".unfinished")))


def _run_once(
    place: Path, settings: TrainingSettings, data: _Data, seed: int, record: dict[str, Any], device: torch.device
) -> TrainedRun:
    if place.is_dir():
        return TrainedRun(place, seed, read_json(place / RECORD)["val_accuracy"], made=False)
    result = train_run(settings, data.real, data.val, data.synthetic, seed, device)
    unfinished = _unfinished(place)
    shutil.rmtree(unfinished, ignore_errors=True)
    result.classifier.save_pretrained(unfinished)
    details = {"seed": seed, "epoch": result.epoch, "val_accuracy": result.accuracy, "history": result.history}
    write_json(unfinished / RECORD, record | details)
    write_text(unfinished / "README.md", render_checkpoint_card(result.classifier.config, record | details))
    flush_tree(unfinished)
    unfinished.replace(place)
    return TrainedRun(place, seed, result.accuracy, made=True)


def check_record(folder: Path) -> dict[str, Any]:
    """Read the record of a training for what it says to others.

    Raises:
        InputError: It is not what `train` writes.
    """
    record = read_json(folder / RECORD)
    texts = [record.get(name) or "" for name in ("real", "synthetic", "synthetic_licence", "command")]
    sound = (
        record.get("format") == _FORMAT
        and all(isinstance(text, str) for text in texts)
        and isinstance(record.get("settings"), dict)
        and {"epochs", "alpha"} <= {*record["settings"]}
        and all(isinstance(record.get(name), int | float) for name in ("seed", "epoch", "val_accuracy"))
        and _can_be_written(record)
    )
    if not sound:
        raise InputError(f"{folder / RECORD} is not what sio-data train wrote.")
    return record


def _can_be_written(record: dict[str, Any]) -> bool:
    """Tell whether a record holds no NaN, no broken sign, and a command that a shell could read."""
    try:
        json_text(record).encode()
        shlex.split(record.get("command") or "")
    except ValueError:
        return False
    return True
