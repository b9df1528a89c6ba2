"""What one forward pass over a set of images gives; every detector that needs no gradient works on it."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import torch

from sio_data.errors import InputError
from sio_data.image_set import ImageSet
from sio_data.training.augmentation import centre

if TYPE_CHECKING:
    from sio_data.training.checkpoint import Classifier

Array = torch.Tensor | npt.NDArray[np.generic]
_BATCH = 500


@dataclass(frozen=True, eq=False)
class Outputs:
    """Logits, features and labels of a set of images. NumPy arrays are taken, too.

    Attributes:
        logits: float [N, C].
        features: float [N, D], pooled, what the head takes.
        labels: int64 [N]; -1 where an image has none.

    Raises:
        InputError: The shapes do not fit together, or a value is NaN or infinite.
    """

    logits: torch.Tensor
    features: torch.Tensor
    labels: torch.Tensor

    def __init__(self, logits: Array, features: Array, labels: Array) -> None:
        object.__setattr__(self, "logits", torch.as_tensor(logits))
        object.__setattr__(self, "features", torch.as_tensor(features))
        object.__setattr__(self, "labels", torch.as_tensor(labels))
        count = len(self.logits)
        if self.logits.ndim != 2 or self.features.ndim != 2 or self.labels.ndim != 1:
            raise InputError("outputs are logits [N, C], features [N, D] and labels [N].")
        if not count or len(self.features) != count or len(self.labels) != count:
            raise InputError(
                f"outputs of {count} logits, {len(self.features)} features and {len(self.labels)} labels "
                "do not fit together, or are empty."
            )
        for name in ("logits", "features"):
            if not torch.isfinite(getattr(self, name)).all():
                raise InputError(f"the {name} hold NaN or infinite values; the network cannot be judged by them.")

    def __len__(self) -> int:
        return len(self.logits)

    @property
    def accuracy(self) -> float:
        """Share of the images whose largest logit is at their label, in [0, 1]."""
        return float((self.logits.argmax(1) == self.labels).double().mean())


@torch.inference_mode()
def compute_outputs(classifier: "Classifier", images: ImageSet, device: torch.device | str = "cpu") -> Outputs:
    """Run a classifier once over a set of images.

    Args:
        classifier: In evaluation mode, on `device`.
        images: Of the classifier's `load_size`, with labels in its class map.
        device: Where to run.

    Returns:
        Outputs on the CPU, float32.
    """
    size = classifier.image_size
    parts = images.images.split(_BATCH)
    features = torch.cat([classifier.features(centre(part.to(device), size)).cpu() for part in parts])
    logits = torch.cat([classifier.head(part.to(device)).cpu() for part in features.split(_BATCH)])
    return Outputs(logits, features, images.labels)
