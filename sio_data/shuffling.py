"""Random orders that are pure functions of their seeds."""

from collections.abc import Sequence

import numpy as np
import torch


def derive_seed(*parts: int) -> int:
    """Make one seed of several numbers, so that streams that differ in any of them have nothing to do with another.

    Args:
        parts: At least 0 each; how many there are counts, too.

    Returns:
        From 0 to 2**32 - 1: torch's generator on the CPU looks at 32 bits alone.
    """
    return int(np.random.SeedSequence((len(parts), *parts)).generate_state(1)[0])


def look_up_order(size: int, places: Sequence[torch.Tensor], seed: int) -> torch.Tensor:
    """Look places up in an endless order of `size` things: one permutation after another, each of a seed of its own.

    Only the permutations that hold a place are made.

    Args:
        size: At least 1.
        places: int64 [n] each, at least 0, ascending over all of them.
        seed: Of the order.

    Returns:
        int64, indices below `size`, for all places in one row.
    """
    wanted = torch.cat([*places, torch.zeros(0, dtype=torch.int64)])
    numbers, counts = torch.unique_consecutive(wanted // size, return_counts=True)
    parts = (wanted % size).split(counts.tolist())
    return torch.cat(
        [_permutation(size, seed, number)[part] for number, part in zip(numbers.tolist(), parts, strict=True)]
        or [wanted]
    )


def _permutation(size: int, seed: int, number: int) -> torch.Tensor:
    return torch.randperm(size, generator=torch.Generator().manual_seed(derive_seed(seed, number)))
