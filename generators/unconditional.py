"""Back end `unconditional`: diffusion models without classes, whose images a classifier labels."""

from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import torch

from sio_data.backend import (
    OWN,
    About,
    Choice,
    Number,
    Own,
    Text,
    check_size,
    find_folder,
    hash_files,
    read_licence,
    read_options,
    resize,
    seeded_generators,
    to_uint8,
)
from sio_data.denoising import denoise, load_scheduler
from sio_data.device import pick_device
from sio_data.errors import InputError
from sio_data.files import read_json
from sio_data.recipe import MAX_IMAGE_SIZE, Option
from sio_data.runs import CONFIG, WEIGHTS
from sio_data.safe_loading import DIFFUSERS_WEIGHTS, check_weights, load_network
from sio_data.training.checkpoint import Classifier

_PIPELINES = ("DDPMPipeline", "DDIMPipeline")
_SCHEDULERS = {"ddpm": "DDPMScheduler", "ddim": "DDIMScheduler", "dpm": "DPMSolverMultistepScheduler"}
_STEPS = {"ddpm": 1000, "ddim": 50, "dpm": 25}
_SCHEDULER_CONFIG = "scheduler_config.json"
# Old folders of one network have everything at the top, newer ones a folder for each part.
_NETWORK_FILES = ("config.json", *DIFFUSERS_WEIGHTS)
_FILES = ("model_index.json", *_NETWORK_FILES, *(f"unet/{name}" for name in _NETWORK_FILES))
_ALL_FILES = (*_FILES, _SCHEDULER_CONFIG, f"scheduler/{_SCHEDULER_CONFIG}")


class UnconditionalGenerator:
    """Draw images of no class in particular; see `sio_data.generator.JudgingGenerator`.

    DDPM (Ho et al. 2020, arXiv 2006.11239) and its faster samplers. The classes are those of a classifier, which keeps
    an image only if it is sure of it.

    Sampling options: `classifier` (required: a checkpoint that `sio-data train` made; the hash of its files stands for
    it in the recipe), `confidence` (least softmax probability of an image that is kept), `scheduler` (`ddpm`, `ddim`,
    `dpm`; default the folder's own), `steps` (default 1000 for ddpm, 50 for ddim, 25 for dpm), `dtype` (of the
    network).

    The default confidence of 0.8 makes the class at least four times as likely as all others together, and still keeps
    most of what a classifier of natural images is right about.

    Args:
        weights: A folder in the format of diffusers, or its name on the Hub.
        image_size: None, or less than the network's own to have the images made smaller.
        sampling: Options as text.
        device: Where to run; None means the best device at hand.

    Raises:
        InputError: The folder is no such model, the classifier is no checkpoint, or the size or an option cannot be
            had.
    """

    citation = ""
    about = About(
        weights="a DDPM or DDIM folder of diffusers, like google/ddpm-cifar10-32, or its name on the Hub",
        classes="those of a classifier (--sampling classifier=...)",
        sizes="up to the one it was trained for",
        licence="that of the model's card",
        options={
            "classifier": Text(""),
            "confidence": Number(0.8, 0, 1),
            "scheduler": Own(Choice("ddpm", tuple(_SCHEDULERS))),
            "steps": Own(Number(1, 1, 1000)),
            "dtype": Choice("float32", ("float32", "float16", "bfloat16")),
        },
    )
    conditional = False
    patience = 10_000

    def __init__(
        self,
        weights: str,
        *,
        classes: Sequence[str] | None = None,
        image_size: int | None = None,
        sampling: Mapping[str, str] | None = None,
        device: str | None = None,
    ) -> None:
        options = read_options("unconditional", self.about.options, sampling or {})
        self._device = pick_device(device)
        folder, self.revision = find_folder(weights, _ALL_FILES)
        self._unet_folder = _part(folder, "unet")
        self._scheduler_folder = _part(folder, "scheduler")
        config = read_json(self._unet_folder / "config.json")
        own_size = _check_network(self._unet_folder / "config.json", config)
        pipeline = read_json(folder / "model_index.json").get("_class_name")
        if pipeline not in _PIPELINES:
            raise InputError(f"weights {weights!r}: the pipeline {pipeline!r} is none of {', '.join(_PIPELINES)}.")
        check_weights(self._unet_folder)
        self.image_size = check_size("unconditional", image_size, own_size)
        self._classifier, fingerprint = _load_classifier(str(options["classifier"]))
        self._classifier.to(self._device)
        self.class_names = self._classifier.class_names
        self.sampling = {**options, "classifier": fingerprint, **_settle(self._scheduler_folder, options)}
        self._scheduler = _open_scheduler(self._scheduler_folder, self.sampling)
        self.licence = read_licence(folder / "README.md")

    @cached_property
    def _network(self) -> Any:
        from diffusers import UNet2DModel

        dtype = getattr(torch, str(self.sampling["dtype"]))
        return load_network(UNet2DModel, self._unet_folder, dtype).to(self._device)

    def sample(self, labels: torch.Tensor, seeds: Sequence[int]) -> torch.Tensor:
        """Make one image for each seed; see `sio_data.generator.Generator.sample`. The labels are not heeded."""
        steps = int(self.sampling["steps"])
        images = to_uint8(denoise(self._network, self._scheduler, None, seeded_generators(seeds), steps=steps))
        return resize(images.expand(-1, 3, -1, -1), self.image_size)

    @torch.no_grad()
    def judge(self, images: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        """Give the class that the classifier is sure of; see `sio_data.generator.JudgingGenerator.judge`."""
        seen = resize(images.to(self._device), self._classifier.image_size)
        sureness, found = self._classifier(seen).softmax(dim=1).max(dim=1)
        return torch.where(sureness >= float(self.sampling["confidence"]), found, -1).cpu()

    def explain(self) -> str:
        """Say why no image of the open classes turns up, and what to do."""
        return (
            f"The classifier is not sure enough of the images, with confidence={self.sampling['confidence']}, or never "
            "says the classes that are still open: those that the model was not trained on, or that look like others, "
            "are hard to get. Lower the confidence, leave such classes out with --class, or name another classifier."
        )


def _part(folder: Path, name: str) -> Path:
    return folder / name if (folder / name).is_dir() else folder


def _check_network(path: Path, config: Mapping[str, object]) -> int:
    """Check that a U-Net makes images, and of no class; give their size in pixels."""
    if config.get("_class_name") != "UNet2DModel":
        raise InputError(f"{path}: the network is {config.get('_class_name')!r}, not a UNet2DModel.")
    if config.get("num_class_embeds") is not None or config.get("class_embed_type") is not None:
        raise InputError(f"{path}: this U-Net heeds classes. Take it with --generator diffusers.")
    if config.get("in_channels", 3) not in (1, 3):
        raise InputError(f"{path}: images have 1 or 3 channels, not {config['in_channels']}.")
    if config.get("out_channels", 3) != config.get("in_channels", 3):
        raise InputError(f"{path}: as many channels must come out as go in; a learned variance is not supported.")
    size = config.get("sample_size")
    if type(size) is not int or not 1 <= size <= MAX_IMAGE_SIZE:
        raise InputError(f"{path}: sample_size must be a number of pixels up to {MAX_IMAGE_SIZE}, not {size!r}.")
    return size


def _load_classifier(name: str) -> tuple[Classifier, str]:
    """Load a checkpoint; give it with a hash of its files, since where they lie must not change the recipe."""
    if not name:
        raise InputError(
            "the images have no classes of their own: name a classifier with --sampling classifier=FOLDER, a "
            "checkpoint that `sio-data train` made."
        )
    try:
        folder, _ = find_folder(name, (CONFIG, WEIGHTS))
    except InputError as error:
        raise InputError(f"sampling option classifier: {error}") from error
    classifier = Classifier.from_pretrained(folder)
    return classifier, f"sha256:{hash_files(folder, [folder / CONFIG, folder / WEIGHTS])}"


def _settle(folder: Path, options: Mapping[str, Option]) -> dict[str, Option]:
    """Find the scheduler and its steps, if they are left to the folder."""
    path = folder / _SCHEDULER_CONFIG
    config = read_json(path)
    own = next((name for name, kind in _SCHEDULERS.items() if kind == config.get("_class_name")), None)
    scheduler = own if options["scheduler"] == OWN else str(options["scheduler"])
    if scheduler is None:
        raise InputError(
            f"{path}: the scheduler {config.get('_class_name')!r} is not known. Ask for one with --sampling "
            f"scheduler={'|'.join(_SCHEDULERS)}."
        )
    most = config.get("num_train_timesteps", 1000)
    if type(most) is not int or most < 1:
        raise InputError(f"{path}: num_train_timesteps must be a number of steps, not {most!r}.")
    steps = min(_STEPS[scheduler], most) if options["steps"] == OWN else int(options["steps"])
    if steps > most:
        raise InputError(f"this model was trained with {most} steps; ask for no more, not {steps}.")
    return {"scheduler": scheduler, "steps": steps}


def _open_scheduler(folder: Path, sampling: Mapping[str, Option]) -> Any:
    import diffusers

    kind = getattr(diffusers, _SCHEDULERS[str(sampling["scheduler"])])
    return load_scheduler(kind, folder, int(sampling["steps"]))
