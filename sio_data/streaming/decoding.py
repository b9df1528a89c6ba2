"""Samples of held shards -> pixels and labels."""

from collections.abc import Sequence

import numpy as np
import torch
from PIL import Image

from sio_data.images import fit_square
from sio_data.png import unfilter_png
from sio_data.streaming.held_shards import HeldShard

Decoded = tuple[torch.Tensor, torch.Tensor]
"""Images, uint8 [n, 3, H, H], and labels, int64 [n]."""


def decode_samples(picked: Sequence[tuple[HeldShard, int]], size: int, wanted: int) -> Decoded:
    """Decode samples, given as a shard and a place in it.

    Args:
        picked: The samples.
        size: Height and width of the images in the set.
        wanted: Height and width to give them.

    Raises:
        CorruptSetError: Too many samples are bad.
    """
    pixels = np.empty((len(picked), size, size, 3), np.uint8)
    labels = np.empty(len(picked), np.int64)
    packed: dict[int, bytes] = {}
    for slot, (shard, sample) in enumerate(picked):
        image, labels[slot] = shard.open(sample)
        if isinstance(image, bytes):
            packed[slot] = image
        else:
            pixels[slot] = image
    if packed:
        pixels[list(packed)] = unfilter_png(list(packed.values()), size)
    if wanted != size:
        resized = [fit_square(Image.fromarray(image), wanted) for image in pixels]
        pixels = np.array(resized, np.uint8).reshape(-1, wanted, wanted, 3)
    return torch.from_numpy(np.ascontiguousarray(pixels.transpose(0, 3, 1, 2))), torch.from_numpy(labels)
