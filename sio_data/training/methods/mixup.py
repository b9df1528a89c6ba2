"""Mixup (Zhang et al., ICLR 2018, arXiv 1710.09412).

    x~ = lambda x_i + (1 - lambda) x_j,  L = lambda CE(x~, y_i) + (1 - lambda) CE(x~, y_j),  lambda ~ Beta(alpha, alpha)

Lambda is one for the whole batch, as in the released code; alpha is 1, the paper's for CIFAR.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import nn

from sio_data.training.methods.base import Losses, Method, TrainingBatch
from sio_data.training.methods.pair_mixing import blend, draw_beta, draw_partners, pair_batch, pair_losses
from sio_data.training.methods.parameters import check_positive

if TYPE_CHECKING:
    from sio_data.training.checkpoint import Classifier


@dataclass(frozen=True)
class Mixup(Method):
    """Blends two images.

    Attributes:
        alpha: Of Beta(alpha, alpha), above 0.
    """

    alpha: float = 1.0

    def __post_init__(self) -> None:
        check_positive("mixup", "alpha", self.alpha)

    def prepare(self, batch: TrainingBatch, generator: torch.Generator, progress: float) -> TrainingBatch:
        """Blend each image with its partner."""
        share = draw_beta(self.alpha, self.alpha, 1, generator).item()
        partners = draw_partners(batch, generator)
        return pair_batch(batch, blend(batch.images, batch.images[partners], share), partners, share)

    def losses(self, classifier: "Classifier", batch: TrainingBatch, state: nn.Module) -> Losses:
        """Give two rows an image; see `pair_losses`."""
        return pair_losses(batch, classifier(batch.images))
