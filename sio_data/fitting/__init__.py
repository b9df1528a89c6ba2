"""`fit`: train a class-conditional generator on real images."""

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from safetensors import SafetensorError

from sio_data.backend import seeded_generators, to_uint8
from sio_data.commands import changed, command_line
from sio_data.device import pick_device
from sio_data.embedded import LICENCES
from sio_data.errors import IncompleteError, InputError, SioDataError
from sio_data.files import (
    check_output_folder,
    check_same_settings,
    flush_tree,
    read_json,
    remove_leftovers,
    sha256_file,
    sha256_json,
    write_json,
    write_text,
)
from sio_data.image_set import ImageSet
from sio_data.images import write_class_grid
from sio_data.rendering import render_card
from sio_data.source_names import SourceName
from sio_data.sources import load_source

if TYPE_CHECKING:
    from sio_data.fitting.diffusion import DiffusionTrainer
    from sio_data.fitting.pipeline import ClassConditionalPipeline

TRAINING_RECORD = "training.json"
_FORMAT = "sio-data/generator/1"
_STATE = ".state.pt"
_WEIGHT_FILES = ("model_index.json", "scheduler/*.json", "unet/*.json", "unet/*.safetensors")
_RESULT = ("README.md", "model_index.json", "samples.png", "scheduler", "unet")
_SAMPLES_PER_CLASS = 12


def fit(
    source: str,
    out: str | Path,
    *,
    steps: int = 1200,
    batch_size: int = 64,
    learning_rate: float = 1e-3,
    channels: Sequence[int] | None = None,
    image_size: int | None = None,
    seed: int = 0,
    licence: str | None = None,
    save_every: int = 100,
    device: str | None = None,
) -> Path:
    """Train a small class-conditional diffusion model on the training split of a source.

    The result is a diffusers folder (`unet/`, `scheduler/`, `model_index.json` with the class map) with a card and a
    picture of samples; `generate --generator diffusers` reads it. Interrupted and called again, it goes on from the
    last saved step and ends in the same weights.

    Args:
        source: Labelled images; see `sio_data.sources`.
        out: Folder of the result: new, empty, or begun with the same settings.
        steps: Updates.
        batch_size: Images in each.
        learning_rate: Highest rate of AdamW.
        channels: Channels of each level of the U-Net, multiples of 16. None means 32, 64 up to 16 pixels and
            64, 128, 256 above.
        image_size: Resize the images to this many pixels; None keeps their size.
        seed: Of weights and batches.
        licence: Licence of the weights for the card; None means that of an embedded source, otherwise `unknown`.
        save_every: Steps between saved states.
        device: Where to train; None means the best device at hand.

    Returns:
        The folder.

    Raises:
        UnknownNameError: No such source.
        InputError: A value is out of range, or the images cannot be used.
        FolderInUseError: The folder holds something else.
        SettingsMismatchError: The folder was begun with other settings.
        SioDataError: The loss became NaN.
    """
    from sio_data.fitting.diffusion import DiffusionSettings, DiffusionTrainer, check_size

    options = changed(
        fit,
        steps=steps,
        batch_size=batch_size,
        learning_rate=learning_rate,
        channels=channels,
        image_size=image_size,
        seed=seed,
        licence=licence,
    )
    target = pick_device(device)
    folder = Path(out)
    images = load_source(source, "train", image_size=image_size).require_labels()
    widths = tuple(channels or ((32, 64) if images.image_size <= 16 else (64, 128, 256)))
    settings = DiffusionSettings(steps, batch_size, learning_rate, widths, seed)
    check_size(settings, images.image_size)
    if save_every < 1:
        raise InputError(f"save_every must be at least 1, not {save_every}.")
    record: dict[str, Any] = {
        "format": _FORMAT,
        "complete": False,
        "command": command_line("fit", [source], out=str(out), **options),
        "source": source,
        "settings": {
            "data": images.digest,
            "licence": licence or LICENCES.get(SourceName.parse(source).path, "unknown"),
            **_json(asdict(settings)),
        },
    }
    if _begin(folder, record):
        return folder
    trainer = DiffusionTrainer(settings, images, target)
    trainer.run(folder / _STATE, save_every)
    _save(folder, trainer, images, source, record["settings"]["licence"])
    flush_tree(folder)
    write_json(
        folder / TRAINING_RECORD,
        {**record, "complete": True, "loss": trainer.recent_loss, "revision": hash_weights(folder)},
    )
    _tidy(folder)
    return folder


def _json(settings: dict[str, Any]) -> dict[str, Any]:
    return {name: list(value) if isinstance(value, tuple) else value for name, value in settings.items()}


def _begin(folder: Path, record: dict[str, Any]) -> bool:
    """Claim the folder; tell whether the training that is asked for is already complete there."""
    path = folder / TRAINING_RECORD
    there = read_json(path) if path.is_file() else {}
    complete = there.get("complete") is True and all((folder / name).exists() for name in _RESULT)
    if there.get("format") == _FORMAT and (complete or (folder / _STATE).is_file()):
        check_same_settings(folder, there.get("settings", {}), record["settings"])
    else:
        ours = {TRAINING_RECORD, *_RESULT} if there.get("format") == _FORMAT else set()
        check_output_folder(folder, is_ours=lambda entry: entry.name in ours)
        folder.mkdir(parents=True, exist_ok=True)
        write_json(path, record)
    if complete:
        _tidy(folder)
    return complete


def _save(folder: Path, trainer: "DiffusionTrainer", images: ImageSet, source: str, licence: str) -> None:
    from sio_data.fitting.pipeline import ClassConditionalPipeline

    names = {str(label): name for label, name in enumerate(images.class_names)}
    pipeline = ClassConditionalPipeline(trainer.averaged_unet(), trainer.sampling_scheduler(), names)
    pipeline.set_progress_bar_config(disable=True)
    try:
        pipeline.save_pretrained(folder)
    except SafetensorError as error:
        raise SioDataError(f"{folder} cannot be written: {error}") from error
    _write_samples(folder / "samples.png", pipeline)
    metadata = {
        "license": licence,
        "library_name": "diffusers",
        "pipeline_tag": "unconditional-image-generation",
        "tags": ["sio", "class-conditional", "diffusion"],
    }
    card = render_card(
        "generator",
        metadata,
        source=source,
        image_size=images.image_size,
        images=len(images),
        class_names=images.class_names,
        steps=trainer.settings.steps,
        batch_size=trainer.settings.batch_size,
        seed=trainer.settings.seed,
        loss=f"{trainer.recent_loss:.4f}",
    )
    write_text(folder / "README.md", card)


def _write_samples(path: Path, pipeline: "ClassConditionalPipeline") -> None:
    rows = []
    for label, name in enumerate(pipeline.class_names):
        generators = seeded_generators(range(label * _SAMPLES_PER_CLASS, (label + 1) * _SAMPLES_PER_CLASS))
        pixels = to_uint8(pipeline.denoise([label] * _SAMPLES_PER_CLASS, generators))
        rows.append((name, list(pixels.permute(0, 2, 3, 1).cpu().numpy())))
    write_class_grid(path, rows, _SAMPLES_PER_CLASS)


def hash_weights(folder: Path) -> str:
    """Give the revision of a generator folder: a hash of the files that decide its images."""
    files = sorted(path for pattern in _WEIGHT_FILES for path in folder.glob(pattern))
    return sha256_json({path.relative_to(folder).as_posix(): sha256_file(path) for path in files})


def _tidy(folder: Path) -> None:
    (folder / _STATE).unlink(missing_ok=True)
    remove_leftovers(folder)


def require_fitted(folder: Path) -> None:
    """Refuse a generator folder whose training is not finished.

    Raises:
        IncompleteError: It is not.
    """
    path = folder / TRAINING_RECORD
    if path.is_file() and read_json(path).get("complete") is not True:
        raise IncompleteError(
            f"{folder}: its training is not finished. Run the `sio-data fit` command that began it again."
        )
