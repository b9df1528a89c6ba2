"""Images with exactly the same pixels, found by 16-byte digests."""

import hashlib

import numpy as np
import numpy.typing as npt
import torch

from sio_data.quality.findings import Duplicates, Repeat
from sio_data.shards import sample_key

Digests = npt.NDArray[np.bytes_]

_MOST_LISTED = 1000
_BYTES = 16


def pixel_digests(images: torch.Tensor) -> Digests:
    """Hash the pixels of images, uint8 [B, 3, H, W].

    Returns:
        16 bytes each [B]: two of a million different images share one with a chance of 1 in 10^27.
    """
    digests = [hashlib.blake2b(image.tobytes(), digest_size=_BYTES).digest() for image in images.contiguous().numpy()]
    return np.array(digests, f"S{_BYTES}")


def empty_digests(count: int) -> Digests:
    """Give room for digests [N]."""
    return np.empty(count, f"S{_BYTES}")


def find_duplicates(digests: Digests, real: Digests) -> Duplicates:
    """Find what repeats.

    Args:
        digests: Of the set's images [N], in order.
        real: Digests of the real training images.
    """
    _, first, inverse = np.unique(digests, return_index=True, return_inverse=True)
    earlier = first[inverse]
    repeats = np.flatnonzero(earlier != np.arange(len(digests)))
    listed = tuple(Repeat(sample_key(place), sample_key(earlier[place])) for place in repeats[:_MOST_LISTED])
    return Duplicates(len(repeats), int(np.isin(digests, real).sum()), listed)
