"""RegMixup (Pinto et al., NeurIPS 2022, arXiv 2206.14502).

    L = CE(x, y) + eta (lambda CE(x~, y_i) + (1 - lambda) CE(x~, y_j)),  x~ = lambda x_i + (1 - lambda) x_j

Lambda ~ Beta(alpha, alpha) is one for the whole batch. alpha is the released code's 20 for CIFAR-10 (10 for CIFAR-100),
eta is 1. Clean and mixed images go through the network in one pass, as in the released code, which takes the mean over
all of them: half of this loss.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import nn

from sio_data.training.methods.base import Losses, Method, TrainingBatch
from sio_data.training.methods.pair_mixing import (
    blend,
    draw_beta,
    draw_partners,
    pair_batch,
    pair_losses,
)
from sio_data.training.methods.parameters import check_not_negative, check_positive

if TYPE_CHECKING:
    from sio_data.training.checkpoint import Classifier


@dataclass(frozen=True)
class RegMixup(Method):
    """Cross-entropy with Mixup as a regulariser.

    Attributes:
        alpha: Of Beta(alpha, alpha), above 0.
        weight: eta, of the loss of the mixed images, at least 0.
    """

    alpha: float = 20.0
    weight: float = 1.0

    def __post_init__(self) -> None:
        check_positive("regmixup", "alpha", self.alpha)
        check_not_negative("regmixup", "weight", self.weight)

    def prepare(self, batch: TrainingBatch, generator: torch.Generator, progress: float) -> TrainingBatch:
        """Blend each image with its partner, and keep the clean ones: the images become 2 B, the clean ones first."""
        share = draw_beta(self.alpha, self.alpha, 1, generator).item()
        partners = draw_partners(batch, generator)
        mixed = blend(batch.images, batch.images[partners], share)
        return pair_batch(batch, torch.cat([batch.images, mixed]), partners, share)

    def losses(self, classifier: "Classifier", batch: TrainingBatch, state: nn.Module) -> Losses:
        """Give three rows an image: clean, own label, partner's label. Their weights add up to B."""
        clean, mixed = classifier(batch.images).chunk(2)
        pairs, share = pair_losses(batch, mixed), batch.extras["share"]
        whole = 1 + self.weight  # a mean of rows divides by the weight of all of them
        return Losses(
            whole * torch.cat([batch.cross_entropy(clean), pairs.each]),
            torch.cat([batch.is_synthetic, pairs.is_synthetic]),
            torch.cat([torch.ones_like(share), self.weight * share, self.weight * (1 - share)]) / whole,
        )
