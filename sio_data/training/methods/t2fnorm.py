"""T2FNorm (Regmi et al., CVPR Workshops 2024, arXiv 2305.17797).

    L = CE(W h / (tau ||h||_2) + b, y)

h are the features, W and b the head, tau is 0.1. At test time the features are used as they are: the authors find the
untransformed space the better one for scores. Their code for OpenOOD divides them by tau there (but not on
ImageNet-1k). For a head without bias that is no more than a temperature of the logits; it is left out here, so that
a checkpoint is one like any other to every detector. The detector `t2fnorm` divides by tau as their code does.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch.nn.functional as F
from torch import nn

from sio_data.training.methods.base import Losses, Method, TrainingBatch
from sio_data.training.methods.parameters import check_positive

if TYPE_CHECKING:
    from sio_data.training.checkpoint import Classifier


@dataclass(frozen=True)
class T2FNorm(Method):
    """Cross-entropy on features of length 1 / tau.

    Attributes:
        temperature: tau, above 0.
    """

    temperature: float = 0.1

    def __post_init__(self) -> None:
        check_positive("t2fnorm", "temperature", self.temperature)

    def losses(self, classifier: "Classifier", batch: TrainingBatch, state: nn.Module) -> Losses:
        """Give the cross-entropy of each image."""
        features = F.normalize(classifier.features(batch.images).float(), dim=1)
        return Losses(batch.cross_entropy(classifier.head(features / self.temperature)), batch.is_synthetic)
