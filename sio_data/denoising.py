"""Sampling from a diffusion or consistency model with any scheduler of diffusers."""

import inspect
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch

from sio_data.errors import InputError, first_line
from sio_data.safe_loading import load_part, quiet

DEFAULT_STEPS = 20  # enough for the small networks that `fit` trains, with DDIM
DEFAULT_GUIDANCE = 1.0


@contextmanager
def ignore_numpy_warnings() -> Iterator[None]:
    """Ignore that schedulers of diffusers hand tensors to numpy, which asks torch for a newer protocol."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "__array", DeprecationWarning)
        yield


def load_scheduler(kind: Any, folder: Path, steps: int, **changes: object) -> Any:
    """Build a scheduler and take all its steps once, with a single zero in the place of images.

    Schedulers check little: many configs, or too many steps, fail late, in the last step at times.

    Args:
        kind: Its class.
        folder: Where its config lies.
        steps: How many steps it must make.
        changes: Values to put in the place of the config's.

    Raises:
        InputError: The config is damaged, or the scheduler cannot make so many steps.
    """
    scheduler = load_part(kind, folder, **changes)
    zero = torch.zeros(1, 1, 1, 1)
    try:
        mu = {"mu": 1.0} if scheduler.config.get("use_dynamic_shifting") else {}  # of each size of images another
        with quiet(), ignore_numpy_warnings():
            scheduler.set_timesteps(steps, **mu)
            _take_steps(scheduler, zero, [torch.Generator()], lambda images, timestep: zero)
    except Exception as error:  # each scheduler fails in its own way
        raise InputError(f"{kind.__name__} of {folder} cannot make {steps} step(s): {first_line(error)}") from error
    return scheduler


@torch.no_grad()
@quiet()
@ignore_numpy_warnings()
def denoise(
    network: Any,
    scheduler: Any,
    labels: torch.Tensor | None,
    generators: Sequence[torch.Generator],
    *,
    steps: int,
    guidance: float = 1.0,
    null_class: int | None = None,
) -> torch.Tensor:
    """Turn noise into images, or into a VAE's latents.

    The first noise, and what a scheduler draws later, come from each sample's own generator. They and the images are
    float32 whatever number type the network has, so that all types see the same noise and none loses small steps.

    Args:
        network: A `UNet2DModel` or `DiTTransformer2DModel`.
        scheduler: A scheduler of diffusers; its state is begun anew.
        labels: int64 [B], classes of the network; None if it has none.
        generators: B generators of the CPU.
        steps: Steps of the scheduler.
        guidance: See `predict`.
        null_class: The network's label for "no class"; needed if `guidance` is not 1.

    Returns:
        float32 [B, C, H, W] on the network's device.

    Raises:
        InputError: There are not as many generators as labels.
    """
    if labels is not None and len(generators) != len(labels):
        raise InputError(f"{len(labels)} images need as many generators, not {len(generators)}.")
    scheduler.set_timesteps(steps, device=network.device)
    shape = (network.config.in_channels, network.config.sample_size, network.config.sample_size)
    noise = torch.stack([torch.randn(shape, generator=generator) for generator in generators])
    noise = noise.to(network.device) * float(scheduler.init_noise_sigma)

    def ask(images: torch.Tensor, timestep: torch.Tensor) -> torch.Tensor:
        return predict(network, images, timestep, labels, guidance, null_class)

    return _take_steps(scheduler, noise, generators, ask)


def _take_steps(
    scheduler: Any,
    images: torch.Tensor,
    generators: Sequence[torch.Generator],
    ask: Callable[[torch.Tensor, torch.Tensor], torch.Tensor],
) -> torch.Tensor:
    """Take all steps of a scheduler; `ask` predicts from scaled images and a timestep what the scheduler wants."""
    takes_generator = "generator" in inspect.signature(scheduler.step).parameters
    extra = {"generator": list(generators)} if takes_generator else {}
    scales = hasattr(scheduler, "scale_model_input")  # those for flow matching do not
    for timestep in scheduler.timesteps:
        prediction = ask(scheduler.scale_model_input(images, timestep) if scales else images, timestep)
        images = scheduler.step(prediction, timestep, images, **extra).prev_sample
    return images


def predict(
    network: Any,
    images: torch.Tensor,
    timestep: torch.Tensor,
    labels: torch.Tensor | None,
    guidance: float,
    null_class: int | None,
) -> torch.Tensor:
    """Ask the network once, with classifier-free guidance (Ho & Salimans 2021, arXiv 2207.12598).

    Args:
        network: See `denoise`.
        images: float32 [B, C, H, W], as the network wants them.
        timestep: A number.
        labels: int64 [B], or None.
        guidance: 1 means none; w gives `none + w * (class - none)` (the paper's w + 1).
        null_class: The label for "no class".

    Returns:
        float32 [B, C, H, W].
    """

    def ask(classes: torch.Tensor | None) -> torch.Tensor:
        output: torch.Tensor = network(
            images.to(network.dtype), timestep.expand(len(images)), class_labels=classes
        ).sample
        return output[:, : images.shape[1]].float()  # DiT's further channels are a learned variance

    prediction = ask(labels)
    if guidance != 1:
        if labels is None or null_class is None:
            raise InputError("this network knows no label for no class, which guidance needs.")
        without = ask(torch.full_like(labels, null_class))
        prediction = without + guidance * (prediction - without)
    return prediction
