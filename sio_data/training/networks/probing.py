"""What a run without numbers tells of an image classifier of transformers: where its head is, and what it takes."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from inspect import signature
from typing import Any

import torch
from torch import nn
from torch.nn.modules.module import register_module_parameter_registration_hook

from sio_data.errors import InputError, first_line
from sio_data.safe_loading import quiet

_MOST_PARAMETERS = 2**31


@dataclass(frozen=True)
class Probed:
    """What a run without numbers tells of a model.

    Attributes:
        head: Name of the layer that gives the logits.
        feature_dim: How many features it takes.
        unused: Names of the parameters that the features do not hang on.
    """

    head: str
    feature_dim: int
    unused: tuple[str, ...]


@torch.inference_mode(mode=False)
@torch.enable_grad()
def probe(config: Any, image_size: int, name: str) -> Probed:
    """Run a model on the meta device, where neither its weights nor its maps take memory or time.

    Raises:
        InputError: It does not take such images, it is too large, or it has no head of one linear layer.
    """
    try:
        with quiet(), _limited_parameters(name), torch.device("meta"):
            model = build_model(config).eval()
            found: list[tuple[str, torch.Tensor, torch.Tensor]] = []
            for place, layer in model.named_modules():
                if isinstance(layer, nn.Linear):
                    layer.register_forward_hook(lambda _, given, out, at=place: found.append((at, given[0], out)))
            logits = model(pixel_values=torch.zeros(2, 3, image_size, image_size), **call_options(model)).logits
    except InputError:
        raise
    except Exception as error:  # what a network cannot take makes it raise errors of any kind
        raise InputError(f"{name} cannot take images of {image_size} pixels: {first_line(error)}") from error
    head = next(((at, features) for at, features, out in found if out is logits and features.ndim == 2), None)
    if head is None:
        raise InputError(f"{name}: no linear layer of {type(model).__name__} alone gives its logits.")
    place, features = head
    parameters = dict(model.named_parameters())
    reached = torch.autograd.grad(features.sum(), [*parameters.values()], allow_unused=True)
    unused = (key for key, gradient in zip(parameters, reached, strict=True) if gradient is None)
    return Probed(place, features.shape[1], tuple(key for key in unused if not key.startswith(f"{place}.")))


def build_model(config: Any) -> Any:
    """Build the image classifier of a config, float32, with fresh weights."""
    from transformers import AutoModelForImageClassification

    build: Any = AutoModelForImageClassification.from_config
    return build(config, dtype=torch.float32)


@contextmanager
def _limited_parameters(name: str) -> Iterator[None]:
    """Stop the building of a model of more parameters than any that could be trained here."""
    count = 0

    def add(_: nn.Module, __: str, parameter: nn.Parameter) -> None:
        nonlocal count
        count += parameter.numel()
        if count > _MOST_PARAMETERS:
            raise InputError(f"{name} has more than {_MOST_PARAMETERS:,} parameters.")

    hook = register_module_parameter_registration_hook(add)
    try:
        yield
    finally:
        hook.remove()


def call_options(model: Any) -> dict[str, bool]:
    """Give what a model is to be called with: its position embeddings are stretched to the images if it can do so."""
    stretches = "interpolate_pos_encoding" in signature(model.forward).parameters
    return {"return_dict": True} | ({"interpolate_pos_encoding": True} if stretches else {})
