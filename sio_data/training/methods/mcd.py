"""Maximum classifier discrepancy (Yu and Aizawa, ICCV 2019, arXiv 1908.04951).

    L = CE(p1, y) + CE(p2, y) + lambda max(m - mean_out(H(p1) - H(p2)), 0)

p1 and p2 are the softmax outputs of the head and of a side head, `second`; H is the entropy over the classes, and m is
1.2. The last term belongs to the fine-tuning: it is added from the share `start` of the training on. The paper tunes a
trained network on unlabelled images of known and unknown classes; here these are the images given as outliers, and
`start` and lambda are OpenOOD's, whose last 10 of 100 epochs are the fine-tuning. OpenOOD's entropies run over the
images of a batch, where the paper's run over the classes.

The SIO objective weighs the sum of both cross-entropies of each image; the discrepancy is added as it is.
"""

import dataclasses
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import torch
from torch import nn

from sio_data.training.methods.base import Losses, Method, TrainingBatch
from sio_data.training.methods.outliers import joint_features, require_outliers
from sio_data.training.methods.parameters import check_not_negative, check_share

if TYPE_CHECKING:
    from sio_data.training.checkpoint import Classifier


@dataclass(frozen=True)
class MCD(Method):
    """Two heads that agree on known classes and disagree on outliers.

    Attributes:
        margin: m, how far the entropies are driven apart, in nats, at least 0.
        weight: lambda, of the discrepancy, at least 0.
        start: From which share of the training on the discrepancy counts, in [0, 1].
    """

    needs_outliers: ClassVar[bool] = True

    margin: float = 1.2
    weight: float = 1.0
    start: float = 0.9

    def __post_init__(self) -> None:
        check_not_negative("mcd", "margin", self.margin)
        check_not_negative("mcd", "weight", self.weight)
        check_share("mcd", "start", self.start)

    def side_heads(self, classes: int) -> dict[str, int]:
        """Give the second classifier."""
        return {"second": classes}

    def prepare(self, batch: TrainingBatch, generator: torch.Generator, progress: float) -> TrainingBatch:
        """Leave the outliers out before the fine-tuning, so that batch normalisation does not see them either."""
        require_outliers("mcd", batch)
        return batch if progress >= self.start else dataclasses.replace(batch, outliers=None)

    def losses(self, classifier: "Classifier", batch: TrainingBatch, state: nn.Module) -> Losses:
        """Give both cross-entropies of each image, and the discrepancy on the outliers, if there are any."""
        second = classifier.side_heads["second"]
        if batch.outliers is None:
            features, extra = classifier.features(batch.images), None
        else:
            features, outlier_features = joint_features("mcd", classifier, batch)
            gap = _entropies(classifier.head(outlier_features)) - _entropies(second(outlier_features))
            extra = self.weight * (self.margin - gap.mean()).relu()
        each = batch.cross_entropy(classifier.head(features)) + batch.cross_entropy(second(features))
        return Losses(each, batch.is_synthetic, extra=extra)


def _entropies(logits: torch.Tensor) -> torch.Tensor:
    """Give the entropy of each prediction in nats, float [O]."""
    logs = logits.float().log_softmax(1)
    return -(logs.exp() * logs).sum(1)
