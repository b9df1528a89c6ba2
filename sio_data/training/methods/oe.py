"""Outlier Exposure (Hendrycks et al., ICLR 2019, arXiv 1812.04606).

    L = CE(z, y) + lambda mean_out(logsumexp(z) - mean_c z_c)

The second term is the cross-entropy to the uniform distribution, but for a constant. lambda is 0.5, the paper's for
classifiers. Images and outliers go through the network in one pass. The paper tunes a trained classifier or trains
from the start, and finds the latter better; here it is trained from the start. The term is added as it is: the SIO
objective weighs real and synthetic images, and an outlier is neither.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from torch import nn

from sio_data.training.methods.base import Losses, Method, TrainingBatch
from sio_data.training.methods.outliers import joint_features
from sio_data.training.methods.parameters import check_not_negative

if TYPE_CHECKING:
    from sio_data.training.checkpoint import Classifier


@dataclass(frozen=True)
class OE(Method):
    """Cross-entropy, and unsure predictions on outliers.

    Attributes:
        weight: lambda, of the loss on outliers, at least 0.
    """

    needs_outliers: ClassVar[bool] = True

    weight: float = 0.5

    def __post_init__(self) -> None:
        check_not_negative("oe", "weight", self.weight)

    def losses(self, classifier: "Classifier", batch: TrainingBatch, state: nn.Module) -> Losses:
        """Give the cross-entropy of each image, and the loss on the outliers."""
        features, outlier_features = joint_features("oe", classifier, batch)
        outlier_logits = classifier.head(outlier_features).float()
        unsure = (outlier_logits.logsumexp(1) - outlier_logits.mean(1)).mean()
        each = batch.cross_entropy(classifier.head(features))
        return Losses(each, batch.is_synthetic, extra=self.weight * unsure)
