"""Exact percentiles of all feature values of a set of images, pooled, in bounded memory."""

from collections import defaultdict
from collections.abc import Sequence

import torch

from sio_data.detection.outputs import Outputs

_DIGIT = 16  # bits that one pass settles
_INTEGERS = {2: torch.int16, 4: torch.int32, 8: torch.int64}


def feature_percentile(outputs: Outputs, percent: float) -> float:
    """Give a percentile of all feature values, with linear interpolation as in `numpy.percentile`.

    The two values between which it lies are found exactly, by counting bit patterns: one pass over the features for
    each 16 bits of their type. Memory: one block and 65,536 counts.

    Args:
        outputs: Remembers the result.
        percent: From 0 to 100.
    """
    return outputs.once(f"percentile {percent} of the features", lambda: _percentile(outputs, percent))


def _percentile(outputs: Outputs, percent: float) -> float:
    place = (outputs.features.numel() - 1) * (percent / 100)
    below = int(place)
    above = min(below + 1, outputs.features.numel() - 1)
    low, high = order_statistics(outputs, (below, above))
    return low + (high - low) * (place - below)


def order_statistics(outputs: Outputs, ranks: Sequence[int]) -> list[float]:
    """Give the values at some places of all feature values in ascending order; 0 is the smallest."""
    bits = 8 * outputs.features.element_size()
    found = {rank: (0, rank) for rank in ranks}  # what is known of its key, and its rank among those that share this
    for shift in range(bits - _DIGIT, -1, -_DIGIT):
        by_prefix = defaultdict(list)
        for rank, (prefix, _) in found.items():
            by_prefix[prefix].append(rank)
        for prefix, sharing in by_prefix.items():
            sums = _count_digits(outputs, prefix, shift).cumsum(0)
            for rank in sharing:
                within = found[rank][1]
                digit = int(torch.searchsorted(sums, within, right=True))
                found[rank] = (prefix << _DIGIT | digit, within - (int(sums[digit - 1]) if digit else 0))
    keys = torch.tensor([found[rank][0] - (1 << (bits - 1)) for rank in ranks])
    return _reorder(keys.to(_INTEGERS[bits // 8])).view(outputs.features.dtype).double().tolist()


def _count_digits(outputs: Outputs, prefix: int, shift: int) -> torch.Tensor:
    """Count the next 16 bits of the keys that begin with a prefix, int64 [65,536]."""
    counts = torch.zeros(1 << _DIGIT, dtype=torch.int64)
    bits = 8 * outputs.features.element_size()
    for block in outputs.blocks(4 * outputs.features.shape[1]):
        values = block.features.flatten()
        keys = _reorder(values.view(_INTEGERS[values.element_size()])).long()
        if shift < bits - _DIGIT:
            keys = keys[keys >> (shift + _DIGIT) == prefix - (1 << (bits - _DIGIT - shift - 1))]
            digits = keys >> shift & ((1 << _DIGIT) - 1)
        else:
            digits = (keys >> shift) + (1 << (_DIGIT - 1))
        counts += torch.bincount(digits, minlength=1 << _DIGIT).cpu()
    return counts


def _reorder(patterns: torch.Tensor) -> torch.Tensor:
    """Turn bit patterns of floats into integers of the same order, and back."""
    return torch.where(patterns < 0, patterns ^ torch.iinfo(patterns.dtype).max, patterns)
