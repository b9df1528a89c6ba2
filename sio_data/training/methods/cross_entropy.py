"""Plain cross-entropy, the training of the post-hoc detectors."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from torch import nn

from sio_data.training.methods.base import Losses, Method, TrainingBatch

if TYPE_CHECKING:
    from sio_data.training.checkpoint import Classifier


@dataclass(frozen=True)
class CrossEntropy(Method):
    """`CE(z, y)`."""

    def losses(self, classifier: "Classifier", batch: TrainingBatch, state: nn.Module) -> Losses:
        """Give the cross-entropy of each image."""
        return Losses(batch.cross_entropy(classifier(batch.images)), batch.is_synthetic)
