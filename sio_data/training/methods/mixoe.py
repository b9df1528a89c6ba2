"""MixOE (Zhang et al., WACV 2023, arXiv 2106.03917).

    L = CE(x, y) + beta CE(x~, lambda y + (1 - lambda) U),  lambda ~ Beta(alpha, alpha)

x~ mixes an image with an outlier, by lambda x + (1 - lambda) x_out (`mixup`, the paper's MixOE-linear) or by a box of
the outlier in the image (`cutmix`, MixOE-cut, where lambda is then the share of the image's pixels); U is uniform over
the classes. The released commands use alpha 1 (2 with `cutmix`) and beta 5. Lambda is one for the whole batch, and
clean and mixed images go through the network in two passes, as in the released code. That code tunes a trained
classifier for ten more epochs; here the loss is trained from the start, like every other method's.
"""

import dataclasses
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import torch
from torch import nn

from sio_data.errors import InputError
from sio_data.training.methods.base import Losses, Method, TrainingBatch
from sio_data.training.methods.outliers import require_outliers
from sio_data.training.methods.pair_mixing import blend, draw_beta, paste_box
from sio_data.training.methods.parameters import check_not_negative, check_positive

if TYPE_CHECKING:
    from sio_data.training.checkpoint import Classifier

_OPERATIONS = ("mixup", "cutmix")


@dataclass(frozen=True)
class MixOE(Method):
    """Outlier exposure on images mixed with outliers.

    Attributes:
        operation: `mixup` or `cutmix`.
        alpha: Of Beta(alpha, alpha), above 0.
        weight: beta, of the loss of the mixed images, at least 0.
    """

    needs_outliers: ClassVar[bool] = True

    operation: str = "mixup"
    alpha: float = 1.0
    weight: float = 5.0

    def __post_init__(self) -> None:
        if self.operation not in _OPERATIONS:
            raise InputError(f"mixoe: operation must be one of {', '.join(_OPERATIONS)}, not {self.operation!r}.")
        check_positive("mixoe", "alpha", self.alpha)
        check_not_negative("mixoe", "weight", self.weight)

    def prepare(self, batch: TrainingBatch, generator: torch.Generator, progress: float) -> TrainingBatch:
        """Mix each image with an outlier: the first with the first, and so on, round and round if there are fewer."""
        outliers = require_outliers("mixoe", batch)
        outliers = outliers[torch.arange(len(batch), device=outliers.device) % len(outliers)]
        share = draw_beta(self.alpha, self.alpha, 1, generator).item()
        if self.operation == "cutmix":
            mixed, share = paste_box(batch.images, outliers, share, generator)
        else:
            mixed = blend(batch.images, outliers, share)
        counts = torch.full((len(batch),), share, device=batch.labels.device)
        return dataclasses.replace(batch, extras={**batch.extras, "mixed": mixed, "share": counts})

    def losses(self, classifier: "Classifier", batch: TrainingBatch, state: nn.Module) -> Losses:
        """Give the loss of each image together with that of its mixture, which counts as real or synthetic with it."""
        clean = batch.cross_entropy(classifier(batch.images))
        logits, share = classifier(batch.extras["mixed"]).float(), batch.extras["share"]
        uniform = -logits.log_softmax(1).mean(1)
        mixed = share * batch.cross_entropy(logits) + (1 - share) * uniform
        return Losses(clean + self.weight * mixed, batch.is_synthetic)
