"""What the methods share that train on outliers."""

from typing import TYPE_CHECKING

import torch

from sio_data.errors import InputError
from sio_data.training.methods.base import TrainingBatch

if TYPE_CHECKING:
    from sio_data.training.checkpoint import Classifier


def require_outliers(method: str, batch: TrainingBatch) -> torch.Tensor:
    """Give the outliers of a batch, float [O, 3, H, H].

    Args:
        method: Its name, for the message.
        batch: Perhaps without any.

    Raises:
        InputError: It holds none.
    """
    if batch.outliers is None or not len(batch.outliers):
        raise InputError(f"{method} needs outliers, and the batch holds none.")
    return batch.outliers


def joint_features(method: str, classifier: "Classifier", batch: TrainingBatch) -> tuple[torch.Tensor, torch.Tensor]:
    """Run images and outliers through the network in one pass, so that batch normalisation sees them together.

    Args:
        method: Its name, for the message.
        classifier: In training mode.
        batch: With outliers.

    Returns:
        The features of the images, float [B, D], and of the outliers, float [O, D].

    Raises:
        InputError: The batch holds no outliers.
    """
    features = classifier.features(torch.cat([batch.images, require_outliers(method, batch)]))
    return features[: len(batch)], features[len(batch) :]
