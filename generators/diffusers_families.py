"""The pipelines that the back end `diffusers` takes, how they differ, and how their folders are read."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sio_data.backend import name_classes
from sio_data.denoising import DEFAULT_GUIDANCE, DEFAULT_STEPS, load_scheduler
from sio_data.errors import InputError, UnknownNameError
from sio_data.files import read_json
from sio_data.recipe import MAX_IMAGE_SIZE
from sio_data.safe_loading import check_weights

# They sample rightly from any noise schedule, and heed a generator for each sample: the tests have each of them sample
# from a known distribution. Others are made for schedules or networks of their own, or draw one noise for a batch.
DIFFUSION_SCHEDULERS = (
    "DDIMParallelScheduler",
    "DDIMScheduler",
    "DDPMParallelScheduler",
    "DDPMScheduler",
    "DEISMultistepScheduler",
    "DPMSolverMultistepScheduler",
    "DPMSolverSinglestepScheduler",
    "EulerAncestralDiscreteScheduler",
    "EulerDiscreteScheduler",
    "HeunDiscreteScheduler",
    "KDPM2AncestralDiscreteScheduler",
    "KDPM2DiscreteScheduler",
    "LMSDiscreteScheduler",
    "PNDMScheduler",
    "SASolverScheduler",
    "UniPCMultistepScheduler",
)
_BATCH_NOISE = ("CosineDPMSolverMultistepScheduler", "DPMSolverSDEScheduler")
_UNCONDITIONAL = ("DDIMPipeline", "DDPMPipeline")
_TEXT_PARTS = ("text_encoder", "tokenizer")


@dataclass(frozen=True)
class Family:
    """A pipeline of diffusers.

    Attributes:
        pipeline: Its class.
        part: Folder of its network.
        network: Class of its network.
        embeddings: The key of the network's config that counts class embeddings.
        null_counted: Whether that count has an embedding for "no class" in it.
        guided: Whether the embedding after the classes' means "no class", as guidance needs.
        latent: Whether the network draws in the latents of a VAE.
        steps: Steps by default.
        guidance: Guidance by default.
        schedulers: Classes of schedulers that it can use.
        citation: How to cite it.
    """

    pipeline: str
    part: str
    network: str
    embeddings: str
    null_counted: bool
    guided: bool
    latent: bool
    steps: int
    guidance: float
    schedulers: tuple[str, ...]
    citation: str


FITTED = Family(
    pipeline="ClassConditionalPipeline",
    part="unet",
    network="UNet2DModel",
    embeddings="num_class_embeds",
    null_counted=True,
    guided=True,
    latent=False,
    steps=DEFAULT_STEPS,
    guidance=DEFAULT_GUIDANCE,
    schedulers=DIFFUSION_SCHEDULERS,
    citation="",
)
CONSISTENCY = Family(
    pipeline="ConsistencyModelPipeline",
    part="unet",
    network="UNet2DModel",
    embeddings="num_class_embeds",
    null_counted=False,
    guided=False,
    latent=False,
    steps=1,
    guidance=1.0,
    schedulers=("CMStochasticIterativeScheduler",),
    citation="Song, Dhariwal, Chen, Sutskever: Consistency Models. ICML 2023, arXiv 2303.01469.",
)
DIT = Family(
    pipeline="DiTPipeline",
    part="transformer",
    network="DiTTransformer2DModel",
    embeddings="num_embeds_ada_norm",
    null_counted=False,
    guided=True,
    latent=True,
    steps=250,
    guidance=1.5,
    schedulers=DIFFUSION_SCHEDULERS,
    citation="Peebles, Xie: Scalable Diffusion Models with Transformers. ICCV 2023, arXiv 2212.09748.",
)
_FAMILIES = {family.pipeline: family for family in (FITTED, CONSISTENCY, DIT)}


def find_family(folder: Path) -> Family:
    """Find out which pipeline a folder holds. Of the names in it only those in our table are heeded.

    Raises:
        InputError: It holds none that we know, its training is not finished, or its weights are damaged.
    """
    path = folder / "model_index.json"
    if not path.is_file():
        raise InputError(f"weights {str(folder)!r}: no generator folder, it holds no model_index.json.")
    index = read_json(path)
    pipeline = str(index.get("_class_name"))
    if pipeline not in _FAMILIES:
        raise InputError(
            f"{path}: the pipeline {pipeline!r} is none of {', '.join(_FAMILIES)}.{_hint(pipeline, index)}"
        )
    family = _FAMILIES[pipeline]
    if family is FITTED:
        from sio_data.fitting import require_fitted

        require_fitted(folder)
    check_weights(folder / family.part)
    if family.latent:
        check_weights(folder / "vae")
    return family


def _hint(pipeline: str, index: Mapping[str, object]) -> str:
    if pipeline in _UNCONDITIONAL:
        return " It draws no classes: take it with --generator unconditional."
    if any(key.startswith(_TEXT_PARTS) for key in index):
        return " It draws from text: take it with --generator text2image."
    return ""


def count_classes(folder: Path, family: Family) -> int:
    """Count the classes of a network. Its label for "no class", if it has one, is the number after theirs.

    Raises:
        InputError: The network heeds no classes.
    """
    path = folder / family.part / "config.json"
    embeddings = read_json(path).get(family.embeddings, 1000 if family is DIT else None)
    count = embeddings - family.null_counted if type(embeddings) is int else 0
    if count < 1:
        raise InputError(f"{path}: {family.embeddings} is {embeddings!r}, so this network draws no classes.")
    return count


def read_class_names(folder: Path, family: Family, asked: Sequence[str] | None) -> tuple[str, ...]:
    """Name the classes: as the folder does, but the 1000 of ImageNet and those without names as all back ends do.

    Args:
        folder: The pipeline's folder.
        family: What it holds.
        asked: The classes that the user named; see `name_classes`.

    Raises:
        InputError: The names are not as many as the network's classes.
    """
    count = count_classes(folder, family)
    if family is not FITTED and (count == 1000 or "id2label" not in read_json(folder / "model_index.json")):
        return name_classes(count, asked)
    from sio_data.fitting.pipeline import read_class_map

    names = tuple(read_class_map(folder).values())
    if len(names) != count:
        raise InputError(f"{folder}: its network draws {count} classes, but model_index.json names {len(names)}.")
    return names


def read_size(folder: Path, family: Family) -> int:
    """Give the height and width of the images that a pipeline draws, in pixels.

    Raises:
        InputError: The configs do not say it, or do not fit together.
    """
    path = folder / family.part / "config.json"
    config = read_json(path)
    size, factor, channels = config.get("sample_size", 32 if family is DIT else None), 1, 3
    if family.latent:
        vae = read_json(folder / "vae" / "config.json")
        blocks = vae.get("block_out_channels", [64])
        factor = 2 ** (min(len(blocks), 16) - 1) if isinstance(blocks, list) and blocks else 1
        channels = vae.get("latent_channels", 4)
        scale = vae.get("scaling_factor", 1)
        if type(scale) not in (int, float) or not 0 < scale < math.inf:
            raise InputError(f"{folder / 'vae'}: scaling_factor must be a number above 0, not {scale!r}.")
    if type(size) is not int or not 1 <= size * factor <= MAX_IMAGE_SIZE:
        raise InputError(f"{path}: sample_size must be a number of pixels up to {MAX_IMAGE_SIZE}, not {size!r}.")
    drawn = config.get("in_channels", 4 if family is DIT else 3)
    if drawn != channels or (config.get("out_channels") or drawn) not in (drawn, 2 * drawn if family is DIT else drawn):
        raise InputError(f"{path}: a network of {drawn!r} channels does not draw the {channels!r} that images need.")
    return size * factor


def find_scheduler(folder: Path, family: Family, asked: str | None) -> str:
    """Give the class of the scheduler to use: the one asked for, or the folder's own.

    Raises:
        UnknownNameError: The pipeline cannot use it.
    """
    name = (
        asked
        if asked is not None
        else str(read_json(folder / "scheduler" / "scheduler_config.json").get("_class_name"))
    )
    if name not in family.schedulers:
        reason = f"{name} draws its noise for a whole batch, so that images would depend on their batch. "
        hint = f"{reason if name in _BATCH_NOISE else ''}Name one with --sampling scheduler=NAME."
        raise UnknownNameError(f"scheduler of {family.pipeline}", name, family.schedulers, hint)
    return name


def open_scheduler(folder: Path, family: Family, name: str, steps: int) -> Any:
    """Build a scheduler from the config of the folder's own, and see whether it can make so many steps.

    The variance that DiT learns is left aside, as its pipeline in diffusers does: schedulers get the mean alone, and
    DDPM draws with the smaller of its fixed variances.

    Raises:
        InputError: The config is damaged, or it cannot.
    """
    import diffusers

    variance = read_json(folder / "scheduler" / "scheduler_config.json").get("variance_type")
    learned = family is DIT and variance in ("learned", "learned_range")
    changes = {"variance_type": "fixed_small"} if learned else {}
    return load_scheduler(getattr(diffusers, name), folder / "scheduler", steps, **changes)
