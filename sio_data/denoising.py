"""Sampling from a class-conditional diffusion or consistency model with any scheduler of diffusers."""

import inspect
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch

from sio_data.errors import InputError

DEFAULT_STEPS = 20  # enough for the small networks that `fit` trains, with DDIM
DEFAULT_GUIDANCE = 1.0


@contextmanager
def ignore_numpy_warnings() -> Iterator[None]:
    """Ignore that schedulers of diffusers hand tensors to numpy, which asks torch for a newer protocol."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "__array", DeprecationWarning)
        yield


@torch.no_grad()
@ignore_numpy_warnings()
def denoise(
    network: Any,
    scheduler: Any,
    labels: torch.Tensor,
    generators: Sequence[torch.Generator],
    *,
    steps: int,
    guidance: float = 1.0,
    null_class: int | None = None,
) -> torch.Tensor:
    """Turn noise into images, or into a VAE's latents, of given classes.

    The first noise, and what a scheduler draws later, come from each sample's own generator. They and the images are
    float32 whatever number type the network has, so that all types see the same noise and none loses small steps.

    Args:
        network: A `UNet2DModel` or `DiTTransformer2DModel` with class embeddings.
        scheduler: A scheduler of diffusers; its state is begun anew.
        labels: int64 [B], classes of the network.
        generators: B generators of the CPU.
        steps: Steps of the scheduler.
        guidance: See `predict`.
        null_class: The network's label for "no class"; needed if `guidance` is not 1.

    Returns:
        float32 [B, C, H, W] on the network's device.

    Raises:
        InputError: There are not as many generators as labels.
    """
    if len(generators) != len(labels):
        raise InputError(f"{len(labels)} images need as many generators, not {len(generators)}.")
    scheduler.set_timesteps(steps, device=network.device)
    shape = (network.config.in_channels, network.config.sample_size, network.config.sample_size)
    noise = torch.stack([torch.randn(shape, generator=generator) for generator in generators])
    images = noise.to(network.device) * float(scheduler.init_noise_sigma)
    takes_generator = "generator" in inspect.signature(scheduler.step).parameters
    extra = {"generator": list(generators)} if takes_generator else {}
    for timestep in scheduler.timesteps:
        scaled = scheduler.scale_model_input(images, timestep)
        prediction = predict(network, scaled, timestep, labels, guidance, null_class)
        images = scheduler.step(prediction, timestep, images, **extra).prev_sample
    return images


def predict(
    network: Any,
    images: torch.Tensor,
    timestep: torch.Tensor,
    labels: torch.Tensor,
    guidance: float,
    null_class: int | None,
) -> torch.Tensor:
    """Ask the network once, with classifier-free guidance (Ho & Salimans 2021, arXiv 2207.12598).

    Args:
        network: See `denoise`.
        images: float32 [B, C, H, W], as the network wants them.
        timestep: A number.
        labels: int64 [B].
        guidance: 1 means none; w gives `none + w * (class - none)` (the paper's w + 1).
        null_class: The label for "no class".

    Returns:
        float32 [B, C, H, W].
    """

    def ask(classes: torch.Tensor) -> torch.Tensor:
        output: torch.Tensor = network(
            images.to(network.dtype), timestep.expand(len(images)), class_labels=classes
        ).sample
        return output[:, : images.shape[1]].float()  # DiT's further channels are a learned variance

    prediction = ask(labels)
    if guidance != 1:
        if null_class is None:
            raise InputError("this network knows no label for no class, which guidance needs.")
        without = ask(torch.full_like(labels, null_class))
        prediction = without + guidance * (prediction - without)
    return prediction
