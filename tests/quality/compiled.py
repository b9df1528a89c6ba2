"""Small sets with images of a test's own."""

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import torch

from sio_data.compilation import Compilation, SourceFile
from sio_data.engines.job import ShardJob
from sio_data.image_set import ImageSet
from sio_data.layout import Layout
from sio_data.making import begin, finish
from sio_data.manifest import Manifest, Origin
from sio_data.shards import Batch


def write_set(folder: Path, images: ImageSet, shard_size: int = 100) -> Path:
    """Write images into a set, in their order."""
    pixels, labels = images.images.permute(0, 2, 3, 1).numpy(), images.labels.numpy()
    counts = np.bincount(labels, minlength=len(images.class_names)).tolist()
    compilation = Compilation(
        "import", (SourceFile("x", "0" * 64),), {"rule": 1}, "1" * 64, images.class_names, counts, images.image_size,
        shard_size=shard_size,
    )  # fmt: skip
    layout = Layout(compilation)

    def draw(index: int) -> Iterator[Batch]:
        cut = slice(layout.start(index), layout.start(index) + layout.size(index))
        yield Batch(
            pixels[cut],
            labels[cut],
            [{"source": {"row": row}} for row in range(cut.start, cut.stop)][: len(labels[cut])],
            layout.size(index),
        )

    manifest = begin(folder, Manifest(compilation, Origin("x", "mit", "", "sio-data import x")))
    finish(folder, manifest, ShardJob(folder, layout, draw).make, "importing")
    return folder


def random_images(count: int, size: int = 8, names: Sequence[str] = ("cat", "dog"), seed: int = 0) -> ImageSet:
    """Images of noise, whose labels take turns."""
    pixels = np.random.RandomState(seed).randint(0, 256, (count, 3, size, size), dtype=np.uint8)
    return ImageSet(torch.from_numpy(pixels), torch.arange(count) % len(names), tuple(names))
