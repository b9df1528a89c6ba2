"""Rotation prediction beside classification (Hendrycks et al., NeurIPS 2019, arXiv 1906.12340).

    L = CE(y, p(R_0 x)) + lambda mean_{r in 0, 90, 180, 270} CE(r, p_rot(R_r x))

p_rot is a side head, `rotation`. lambda is 1, that of the released command (a weight of 3 on a third of the rotation
loss). The class is learnt from upright images only, and all four rotations go through the network in one pass. The
released code also can predict translations, which that command leaves out. Labels of rotations are not smoothed.

The four rotations belong to their image: its loss is the sum above, and the SIO objective weighs that as real or
synthetic. With one kind of image that is the loss of the paper.
"""

import dataclasses
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import nn

from sio_data.training.methods.base import Losses, Method, TrainingBatch
from sio_data.training.methods.parameters import check_not_negative

if TYPE_CHECKING:
    from sio_data.training.checkpoint import Classifier

_TURNS = 4


@dataclass(frozen=True)
class RotPred(Method):
    """Cross-entropy, and telling by how much an image is turned.

    Attributes:
        weight: lambda, of the rotation loss, at least 0.
    """

    weight: float = 1.0

    def __post_init__(self) -> None:
        check_not_negative("rotpred", "weight", self.weight)

    def side_heads(self, classes: int) -> dict[str, int]:
        """Give the head that tells the rotations apart, one output for each quarter turn."""
        return {"rotation": _TURNS}

    def prepare(self, batch: TrainingBatch, generator: torch.Generator, progress: float) -> TrainingBatch:
        """Turn each image by a quarter, a half and three quarters: extra `turned`, float [3 B, 3, H, H]."""
        turned = torch.cat([batch.images.rot90(turns, (2, 3)) for turns in range(1, _TURNS)])
        return dataclasses.replace(batch, extras={**batch.extras, "turned": turned})

    def losses(self, classifier: "Classifier", batch: TrainingBatch, state: nn.Module) -> Losses:
        """Give the loss of each image with that of its rotations."""
        features = classifier.features(torch.cat([batch.images, batch.extras["turned"]]))
        turns = torch.arange(_TURNS, device=features.device).repeat_interleave(len(batch))
        rotations = F.cross_entropy(classifier.side_heads["rotation"](features).float(), turns, reduction="none")
        each = batch.cross_entropy(classifier.head(features[: len(batch)]))
        return Losses(each + self.weight * rotations.view(_TURNS, -1).mean(0), batch.is_synthetic)
