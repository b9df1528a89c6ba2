"""The SIO objective: L = alpha * L_real + (1 - alpha) * L_syn (Zhang et al. 2023, arXiv 2303.14531)."""

from typing import Literal, get_args

import torch

from sio_data.errors import InputError
from sio_data.mixing import check_alpha

Mix = Literal["batch", "loss"]


def sio_loss(losses: torch.Tensor, is_synthetic: torch.Tensor, alpha: float = 0.8, mix: Mix = "batch") -> torch.Tensor:
    """Weigh the losses of a mixed batch.

    Args:
        losses: float [B], the loss of each image.
        is_synthetic: bool [B].
        alpha: Weight of the real loss, in (0, 1].
        mix: `batch` is the plain mean over the batch, whose composition does the weighting (the paper's released
            code). `loss` is the paper's formula: `alpha * mean(real) + (1 - alpha) * mean(synthetic)`, exact for any
            composition. A batch that holds one kind only gives that kind's mean.

    Returns:
        The loss, a scalar.

    Raises:
        InputError: `alpha` or `mix` is out of range, or the shapes differ.
    """
    check_alpha(alpha)
    check_mix(mix)
    if losses.ndim != 1 or losses.shape != is_synthetic.shape:
        raise InputError(f"losses {list(losses.shape)} and is_synthetic {list(is_synthetic.shape)} must both be [B].")
    synthetic = is_synthetic.to(losses.dtype)
    count = synthetic.sum()
    if mix == "batch" or count == 0 or count == len(losses):
        return losses.mean()
    real_mean = (losses * (1 - synthetic)).sum() / (len(losses) - count)
    synthetic_mean = (losses * synthetic).sum() / count
    return alpha * real_mean + (1 - alpha) * synthetic_mean


def check_mix(mix: str) -> None:
    """Refuse an unknown way to weigh.

    Raises:
        InputError: It is neither `batch` nor `loss`.
    """
    if mix not in get_args(Mix):
        raise InputError(f"mix must be one of {', '.join(get_args(Mix))}, not {mix!r}.")
