"""What the methods that mix two pictures share: the draws of a batch, and the rows of its loss.

A mixed image has two labels, and so two rows of the loss: its own with the weight lambda, its partner's with
1 - lambda. One lambda holds for the whole batch, as in the released code of Mixup and CutMix. As every image is
partner once, the real rows of a batch then weigh exactly as much as its real images, and the synthetic rows as much as
its synthetic images: both forms of the SIO objective stay exact.
"""

import dataclasses
import math

import numpy as np
import torch
from scipy.special import betaincinv

from sio_data.training.methods.base import Losses, TrainingBatch


def draw_beta(first: float, second: float, count: int, generator: torch.Generator) -> torch.Tensor:
    """Draw from Beta(first, second) by its inverse distribution function: one uniform number a draw.

    Args:
        first: Its alpha, above 0 and finite.
        second: Its beta, above 0 and finite.
        count: How many to draw.
        generator: A CPU generator.

    Returns:
        float64 [count] in [0, 1], on the CPU.
    """
    uniform = torch.rand(count, generator=generator, dtype=torch.float64)
    return torch.from_numpy(np.asarray(betaincinv(first, second, uniform.numpy())))


def draw_partners(batch: TrainingBatch, generator: torch.Generator) -> torch.Tensor:
    """Draw which image each one is mixed with, itself perhaps: a permutation, int64 [B] on the batch's device."""
    return torch.randperm(len(batch), generator=generator).to(batch.labels.device, non_blocking=True)


def paste_box(
    images: torch.Tensor, others: torch.Tensor, share: float, generator: torch.Generator
) -> tuple[torch.Tensor, float]:
    """Paste a box of other images into images, the same box into all.

    Args:
        images: float [B, 3, H, H].
        others: float [B, 3, H, H]: where the box is cut from.
        share: lambda: the share of each image that should stay, in [0, 1]. The box has a side of
            `sqrt(1 - share) * H` (rounded down to an even number, as in the released code of CutMix) and a centre
            drawn uniformly; what hangs over the edge is cut off.
        generator: A CPU generator.

    Returns:
        The mixed images, and the share of pixels that did stay.
    """
    size = images.shape[-1]
    half = int(size * math.sqrt(1 - share)) // 2
    row, column = torch.randint(size, (2,), generator=generator).tolist()
    rows = slice(max(row - half, 0), min(row + half, size))
    columns = slice(max(column - half, 0), min(column + half, size))
    mixed = images.clone()
    mixed[:, :, rows, columns] = others[:, :, rows, columns]
    pasted = (rows.stop - rows.start) * (columns.stop - columns.start)
    return mixed, 1 - pasted / size**2


def blend(images: torch.Tensor, others: torch.Tensor, share: float) -> torch.Tensor:
    """Give `share * images + (1 - share) * others`, float [B, 3, H, H]."""
    return share * images + (1 - share) * others


def pair_batch(batch: TrainingBatch, images: torch.Tensor, partners: torch.Tensor, share: float) -> TrainingBatch:
    """Put mixed images into a batch, and note whose they are.

    Args:
        batch: To change.
        images: What the network is to see.
        partners: int64 [B].
        share: lambda, in [0, 1].
    """
    counts = torch.full((len(batch),), share, device=batch.labels.device)
    extras = {**batch.extras, "partners": partners, "share": counts}
    return dataclasses.replace(batch, images=images, extras=extras)


def pair_losses(batch: TrainingBatch, logits: torch.Tensor) -> Losses:
    """Give both rows of each mixed image: `cat[CE(z, y), CE(z, y_partner)]`, weighed `cat[lambda, 1 - lambda]`.

    Args:
        batch: What `pair_batch` gave.
        logits: Of the mixed images, float [B, C].

    Returns:
        2 B rows, whose weights add up to B.
    """
    partners, share = batch.extras["partners"], batch.extras["share"]
    return Losses(
        torch.cat([batch.cross_entropy(logits), batch.cross_entropy(logits, batch.labels[partners])]),
        torch.cat([batch.is_synthetic, batch.is_synthetic[partners]]),
        torch.cat([share, 1 - share]),
    )
