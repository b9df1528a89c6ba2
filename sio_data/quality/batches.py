"""Batches of labelled images, from a set that is streamed or from images in memory."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from PIL import Image

from sio_data.image_set import ImageSet
from sio_data.images import Pixels, fit_square
from sio_data.sets import SyntheticSet

BATCH = 500


@dataclass(frozen=True, eq=False)
class LabelledBatch:
    """Consecutive images of a set.

    Attributes:
        start: Place of the first one in the set.
        images: uint8 [B, 3, H, H], RGB.
        labels: int64 [B], indices into the set's class names.
    """

    start: int
    images: torch.Tensor
    labels: torch.Tensor

    def __len__(self) -> int:
        return len(self.labels)


def set_batches(synthetic: SyntheticSet, image_size: int) -> Iterator[LabelledBatch]:
    """Read a set batch by batch, in order; only one batch is in memory.

    Args:
        synthetic: The set.
        image_size: Pixels that its images are brought to.

    Raises:
        CorruptSetError: A shard is not what it was.
    """
    for samples in synthetic.batches(BATCH):
        pixels = np.stack([_fit(sample.image, image_size) for sample in samples])
        images = torch.from_numpy(np.ascontiguousarray(pixels.transpose(0, 3, 1, 2)))
        labels = torch.tensor([sample.label for sample in samples])
        yield LabelledBatch(samples[0].index, images, labels)


def image_batches(images: ImageSet) -> Iterator[LabelledBatch]:
    """Cut images in memory in batches."""
    for start in range(0, len(images), BATCH):
        part = slice(start, start + BATCH)
        yield LabelledBatch(start, images.images[part], images.labels[part])


def _fit(image: Pixels, size: int) -> Pixels:
    return image if len(image) == size else fit_square(Image.fromarray(image), size)
