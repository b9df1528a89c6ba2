"""CutMix (Yun et al., ICCV 2019, arXiv 1905.04899).

    x~ = M x_A + (1 - M) x_B,  L = lambda CE(x~, y_A) + (1 - lambda) CE(x~, y_B),  lambda ~ Beta(alpha, alpha)

M is 0 in a box of side sqrt(1 - lambda) H with a uniform centre, and lambda is then reset to the share of pixels that M
keeps. Lambda and the box are one for the whole batch, and every batch is mixed, as in the released code for CIFAR but
for its probability of 0.5: SIO's table was made with 1.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import nn

from sio_data.training.methods.base import Losses, Method, TrainingBatch
from sio_data.training.methods.pair_mixing import (
    draw_beta,
    draw_partners,
    pair_batch,
    pair_losses,
    paste_box,
)
from sio_data.training.methods.parameters import check_positive

if TYPE_CHECKING:
    from sio_data.training.checkpoint import Classifier


@dataclass(frozen=True)
class CutMix(Method):
    """Pastes a box of one image into another.

    Attributes:
        alpha: Of Beta(alpha, alpha), above 0.
    """

    alpha: float = 1.0

    def __post_init__(self) -> None:
        check_positive("cutmix", "alpha", self.alpha)

    def prepare(self, batch: TrainingBatch, generator: torch.Generator, progress: float) -> TrainingBatch:
        """Paste the box of each image's partner."""
        share = draw_beta(self.alpha, self.alpha, 1, generator).item()
        partners = draw_partners(batch, generator)
        images, share = paste_box(batch.images, batch.images[partners], share, generator)
        return pair_batch(batch, images, partners, share)

    def losses(self, classifier: "Classifier", batch: TrainingBatch, state: nn.Module) -> Losses:
        """Give two rows an image; see `pair_losses`."""
        return pair_losses(batch, classifier(batch.images))
