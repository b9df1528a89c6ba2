"""Features of any length scaled to length 1, and their comparison with a bank of such, which may be larger than memory.

All of the bank is compared, block by block. Products are float32, of features from which the bank's mean is taken off:
what all features share would else hide, by rounding, how they differ.
"""

import math
from collections.abc import Iterable, Iterator

import torch

ROWS = 2048
"""How many features of a bank are worked on at a time."""

_SEED = 0


def scale(features: torch.Tensor) -> torch.Tensor:
    """Scale features to length 1, float64 [N, D], however small or large they are; those of zeros stay zeros."""
    scaled = features.to(torch.float64, copy=True)
    for order in (math.inf, 2):  # the largest value first, so that no square is lost
        lengths = torch.linalg.vector_norm(scaled, order, dim=1, keepdim=True)
        scaled /= lengths.where(lengths > 0, 1)
    return scaled


def average(bank: torch.Tensor) -> torch.Tensor:
    """Give the mean of the features of a bank, each scaled to length 1, float64 [D]."""
    total = torch.zeros(bank.shape[1], dtype=torch.float64, device=bank.device)
    for part in bank.split(ROWS):
        total += scale(part).sum(0)
    return total / len(bank)


def centre(features: torch.Tensor, middle: torch.Tensor) -> torch.Tensor:
    """Scale features to length 1 and take off the bank's mean, float64 [D]; rounded to float32 [N, D] after that."""
    return scale(features).sub_(middle).float()


def split(bank: torch.Tensor, middle: torch.Tensor) -> Iterator[torch.Tensor]:
    """Give the features of a bank, as `centre` does, by blocks of `ROWS`."""
    return (centre(part, middle) for part in bank.split(ROWS))


def measure(queries: torch.Tensor, others: torch.Tensor) -> torch.Tensor:
    """Give squared Euclidean distances.

    Args:
        queries: float32 [n, D], as `centre` gives them.
        others: The same, [m, D].

    Returns:
        float32 [n, m], 0 to 4, exact to about 1e-6 of the squared distances to the bank's mean.
    """
    lengths = queries.square().sum(1, keepdim=True) + others.square().sum(1)
    return lengths.addmm_(queries, others.T, alpha=-2).clamp_(min=0)


def multiply(queries: torch.Tensor, others: torch.Tensor, middle: torch.Tensor) -> torch.Tensor:
    """Give inner products of features of length 1.

    Args:
        queries: float32 [n, D], as `centre` gives them.
        others: The same, [m, D].
        middle: The bank's mean, float64 [D].

    Returns:
        float64 [n, m], their differences exact to about 1e-7 of the squared distances to the bank's mean.
    """
    products = (queries @ others.T).double()
    products += (queries.double() @ middle + middle.square().sum()).unsqueeze(1)
    return products.add_(others.double() @ middle)


def find_largest(parts: Iterable[torch.Tensor], k: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Find the k largest values in each row of a matrix that comes in blocks of columns.

    Args:
        parts: The blocks, floating [n, m], of k columns at least in all.
        k: How many.

    Returns:
        The values, the largest first, and their columns, int64; both [n, k].
    """
    values, columns, start = torch.empty(0), torch.empty(0, dtype=torch.int64), 0
    for part in parts:
        largest, places = part.topk(min(k, part.shape[1]), dim=1)
        places += start
        if start:
            largest, places = torch.cat([values, largest], 1), torch.cat([columns, places], 1)
            largest, order = largest.topk(min(k, largest.shape[1]), dim=1)
            places = places.gather(1, order)
        values, columns, start = largest, places, start + part.shape[1]
    return values, columns


def draw(count: int, number: int) -> torch.Tensor | slice:
    """Choose rows by chance, always the same, in order; whatever order the images are in, all classes have a share.

    Args:
        count: How many rows there are.
        number: How many to choose.
    """
    if number == count:
        return slice(None)  # a view costs no memory
    return torch.randperm(count, generator=torch.Generator().manual_seed(_SEED))[:number].sort().values
