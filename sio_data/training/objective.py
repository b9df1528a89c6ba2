"""The SIO objective: L = alpha * L_real + (1 - alpha) * L_syn (Zhang et al. 2023, arXiv 2303.14531)."""

from typing import Literal, get_args

import torch

from sio_data.errors import InputError
from sio_data.mixing import check_alpha

Mix = Literal["batch", "loss"]

_TINY = 1e-12  # instead of no images of a kind, whose share is 0 then


def sio_loss(
    losses: torch.Tensor,
    is_synthetic: torch.Tensor,
    alpha: float = 0.8,
    mix: Mix = "batch",
    weights: torch.Tensor | None = None,
    sums: torch.Tensor | None = None,
) -> torch.Tensor:
    """Weigh the losses of a mixed batch. No value is read back from the device.

    Args:
        losses: float [B], the loss of each image.
        is_synthetic: bool [B].
        alpha: Weight of the real loss, in (0, 1].
        mix: `batch` is the plain mean over the batch, whose composition does the weighting (the paper's released
            code). `loss` is the paper's formula: `alpha * mean(real) + (1 - alpha) * mean(synthetic)`, exact for any
            composition. A batch that holds one kind only gives that kind's mean.
        weights: float [B], not negative: what each row counts in its mean; None means 1. A method that mixes images
            gives each label of an image a row of its own, with that label's share as its weight.
        sums: What `weight_sums` gives for the whole batch, if this is only a part of it: the losses of all parts then
            add up to that of the whole. None means that this is the whole.

    Returns:
        The loss, a scalar.

    Raises:
        InputError: `alpha` or `mix` is out of range, or the shapes differ.
    """
    check_alpha(alpha)
    check_mix(mix)
    if losses.ndim != 1 or losses.shape != is_synthetic.shape:
        raise InputError(f"losses {list(losses.shape)} and is_synthetic {list(is_synthetic.shape)} must both be [B].")
    weights = torch.ones_like(losses) if weights is None else weights
    real, synthetic = weight_sums(is_synthetic, weights) if sums is None else sums
    if mix == "batch":
        mean: torch.Tensor = (weights * losses).sum() / (real + synthetic)
        return mean
    share = torch.where(synthetic == 0, 1.0, torch.where(real == 0, 0.0, alpha))
    per_real, per_synthetic = share / real.clamp(min=_TINY), (1 - share) / synthetic.clamp(min=_TINY)
    loss: torch.Tensor = (weights * losses * torch.where(is_synthetic, per_synthetic, per_real)).sum()
    return loss


def weight_sums(is_synthetic: torch.Tensor, weights: torch.Tensor) -> torch.Tensor:
    """Give how much the real rows of a batch weigh together, and the synthetic ones: float [2]."""
    synthetic = (weights * is_synthetic).sum()
    return torch.stack([weights.sum() - synthetic, synthetic])


def check_mix(mix: str) -> None:
    """Refuse an unknown way to weigh.

    Raises:
        InputError: It is neither `batch` nor `loss`.
    """
    if mix not in get_args(Mix):
        raise InputError(f"mix must be one of {', '.join(get_args(Mix))}, not {mix!r}.")
