"""The Weibull distribution."""

import torch

_SHAPES = (1e-4, 1e8)  # beyond the latter the distribution is a step in all but name
_HALVINGS = 100


def fit_weibull(samples: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Fit a two-parameter Weibull distribution, `1 - exp(-(x / scale)^shape)`, to each row by maximum likelihood.

    The shape k solves `sum x^k log x / sum x^k - mean log x = 1 / k`, whose left side grows with k; it is found by
    halving. Samples that are all equal have no such k: theirs is the largest allowed, 1e8.

    Args:
        samples: float64 [rows, n], above 0; NaN where a row has fewer.

    Returns:
        Scale and shape, float64 [rows] each. A row of NaN has scale 1.
    """
    there = ~samples.isnan()
    logs = samples.log().where(there, 0)
    counts = there.sum(1).clamp(min=1)
    mean = logs.sum(1) / counts
    low, high = (torch.full_like(mean, edge) for edge in _SHAPES)
    for _ in range(_HALVINGS):
        shape = (low * high).sqrt()
        too_large = _tilted_mean(logs, there, shape) - mean > 1 / shape
        low, high = shape.where(~too_large, low), shape.where(too_large, high)
    shape = high
    powers = (shape[:, None] * logs).masked_fill(~there, -torch.inf).logsumexp(1) - counts.log()
    return (powers.where(there.any(1), 0) / shape).exp(), shape


def _tilted_mean(logs: torch.Tensor, there: torch.Tensor, shape: torch.Tensor) -> torch.Tensor:
    """Give `sum x^k log x / sum x^k` of each row."""
    weights = (shape[:, None] * logs).masked_fill(~there, -torch.inf).softmax(1)
    return (weights * logs).sum(1)
