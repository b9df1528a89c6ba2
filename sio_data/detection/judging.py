"""A classifier while it is judged: in evaluation mode, its parameters fixed, and cheap to send gradients through."""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn

from sio_data.training.checkpoint import Classifier


@contextmanager
def judging(classifier: Classifier) -> Iterator[None]:
    """Put a classifier into evaluation mode, its parameters without gradients; afterwards it is as before.

    Gradients of its input can still be had inside.
    """
    training = {module: module.training for module in classifier.modules()}
    # Those made under `torch.inference_mode` cannot be switched outside of it; no gradient gets to them anyway.
    trained = [one for one in classifier.parameters() if one.requires_grad and not one.is_inference()]
    layers = [module for module in classifier.modules() if isinstance(module, nn.BatchNorm2d) and _is_plain(module)]
    classifier.eval()
    for parameter in trained:
        parameter.requires_grad_(False)
    for layer in layers:
        layer.forward = partial(_normalise, layer)  # type: ignore[method-assign]
    try:
        yield
    finally:
        for layer in layers:
            del layer.forward
        for module, mode in training.items():
            module.training = mode
        for parameter in trained:
            parameter.requires_grad_(True)


def _is_plain(layer: nn.BatchNorm2d) -> bool:
    return type(layer) is nn.BatchNorm2d and layer.running_var is not None and "forward" not in vars(layer)


def _normalise(layer: nn.BatchNorm2d, maps: torch.Tensor) -> torch.Tensor:
    normalised: torch.Tensor = _FixedNormalisation.apply(maps, layer)  # type: ignore[no-untyped-call]
    return normalised


class _FixedNormalisation(torch.autograd.Function):
    """Batch normalisation by fixed statistics, whose gradient is a factor a channel.

    torch's own keeps its input for the gradients of its parameters, which nobody wants here, and takes four times as
    long to go back through. Values and gradients are the same to the bit.
    """

    @staticmethod
    def forward(ctx: Any, maps: torch.Tensor, layer: nn.BatchNorm2d) -> torch.Tensor:
        ctx.layer = layer
        return F.batch_norm(
            maps, layer.running_mean, layer.running_var, layer.weight, layer.bias, False, 0.0, layer.eps
        )

    @staticmethod
    def backward(ctx: Any, gradient: torch.Tensor) -> tuple[torch.Tensor, None]:
        layer = ctx.layer
        factors = (layer.running_var + layer.eps).rsqrt()
        if layer.weight is not None:
            factors = factors * layer.weight
        return gradient * factors.to(gradient.dtype)[:, None, None], None
