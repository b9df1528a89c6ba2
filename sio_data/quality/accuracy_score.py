"""Classification accuracy score (Ravuri & Vinyals 2019): train on synthetic images alone, judge on real ones."""

import numpy as np
import torch

from sio_data.image_set import ImageSet
from sio_data.progress import progress
from sio_data.quality.batches import set_batches
from sio_data.quality.findings import AccuracyScore
from sio_data.sets import SyntheticSet
from sio_data.training.beginning import TrainingData
from sio_data.training.loop import train_run
from sio_data.training.settings import TrainingSettings

MOST_BYTES = 2 << 30


def score_accuracy(
    synthetic: SyntheticSet, test: ImageSet, image_size: int, epochs: int, seed: int, device: torch.device
) -> AccuracyScore:
    """Train a classifier on a synthetic set alone, as `sio-data train` does by default, and judge it.

    Args:
        synthetic: The set; of one whose pixels take more than 2 GiB, as many images as fit are drawn at random.
        test: Real test images in the set's class map.
        image_size: Pixels that synthetic images are brought to.
        epochs: Passes over the synthetic images.
        seed: Of the choice of images and of the training.
        device: Where to train.
    """
    images = _read_some(synthetic, image_size, seed)
    settings = TrainingSettings(alpha=1.0, epochs=epochs)
    trained = train_run(settings, TrainingData(images, test), seed, device)
    return AccuracyScore(trained.accuracy, len(images), len(test), settings.network, epochs, seed)


def _read_some(synthetic: SyntheticSet, image_size: int, seed: int) -> ImageSet:
    recipe = synthetic.manifest.recipe
    count = min(recipe.samples, MOST_BYTES // (3 * image_size**2))
    chosen = np.sort(np.random.default_rng(seed).choice(recipe.samples, count, replace=False))
    images = torch.empty(count, 3, image_size, image_size, dtype=torch.uint8)
    labels = torch.empty(count, dtype=torch.int64)
    start = 0
    with progress(f"reading {synthetic.folder}", recipe.samples) as advance:
        for batch in set_batches(synthetic, image_size):
            first, end = np.searchsorted(chosen, (start, start + len(batch)))
            places = chosen[first:end] - start
            images[first:end], labels[first:end] = batch.images[places], batch.labels[places]
            start += len(batch)
            advance(len(batch), "")
    return ImageSet(images, labels, recipe.class_names, str(synthetic.folder))
