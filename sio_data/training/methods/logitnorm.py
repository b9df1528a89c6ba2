"""LogitNorm (Wei et al., ICML 2022, arXiv 2205.09310).

    L = CE(f / (tau (||f||_2 + 1e-7)), y)

f are the logits. The released code's tau for CIFAR is 0.04. At test time the logits are used as they are.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import nn

from sio_data.training.methods.base import Losses, Method, TrainingBatch
from sio_data.training.methods.parameters import check_positive

if TYPE_CHECKING:
    from sio_data.training.checkpoint import Classifier


@dataclass(frozen=True)
class LogitNorm(Method):
    """Cross-entropy on logits of one length, so that confidence cannot be had by longer logits.

    Attributes:
        temperature: tau, above 0.
    """

    temperature: float = 0.04

    def __post_init__(self) -> None:
        check_positive("logitnorm", "temperature", self.temperature)

    def losses(self, classifier: "Classifier", batch: TrainingBatch, state: nn.Module) -> Losses:
        """Give the cross-entropy of each image."""
        logits = classifier(batch.images).float()
        lengths = torch.linalg.vector_norm(logits, dim=1, keepdim=True) + 1e-7
        return Losses(batch.cross_entropy(logits / (self.temperature * lengths)), batch.is_synthetic)
