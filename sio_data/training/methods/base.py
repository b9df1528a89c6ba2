"""What a training method is."""

from abc import ABC, abstractmethod
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, ClassVar

import torch
import torch.nn.functional as F
from torch import nn

if TYPE_CHECKING:
    from sio_data.training.checkpoint import Classifier


@dataclass(frozen=True)
class TrainingBatch:
    """One augmented batch on its way to the loss.

    Attributes:
        images: float [B, 3, H, H] in [0, 1], RGB.
        labels: int64 [B].
        is_synthetic: bool [B].
        outliers: float [O, 3, H, H] in [0, 1], without labels; None if the method needs none.
        extras: What `prepare` has drawn for `losses`, by name.
        smoothing: Label smoothing: the share of each target that is spread over all classes, in [0, 1).
    """

    images: torch.Tensor
    labels: torch.Tensor
    is_synthetic: torch.Tensor
    outliers: torch.Tensor | None = None
    extras: dict[str, torch.Tensor] = field(default_factory=dict)
    smoothing: float = 0.0

    def __len__(self) -> int:
        return len(self.labels)

    def cross_entropy(self, logits: torch.Tensor, labels: torch.Tensor | None = None) -> torch.Tensor:
        """Give the cross-entropy of each image, float [B], with the label smoothing asked for.

        Args:
            logits: float [B, C].
            labels: int64 [B]; None means the batch's own.
        """
        targets = self.labels if labels is None else labels
        return F.cross_entropy(logits.float(), targets, reduction="none", label_smoothing=self.smoothing)


@dataclass(frozen=True)
class Losses:
    """The losses of a batch, before the SIO objective weighs them.

    Attributes:
        each: float [M]: M is B, or more if an image has several rows.
        is_synthetic: bool [M].
        weights: float [M], what each row counts; None means 1. See `sio_loss`.
        extra: A scalar that is added as it is, such as a loss on outliers; None means 0.
    """

    each: torch.Tensor
    is_synthetic: torch.Tensor
    weights: torch.Tensor | None = None
    extra: torch.Tensor | None = None


@dataclass(frozen=True)
class Method(ABC):
    """A training method: what it does to a batch, and what the loss of each image is.

    It is plug-and-play under the SIO objective, which weighs the losses that it gives. A method is a frozen dataclass;
    its fields, of type int, float, bool or str, are its parameters.

    Attributes:
        needs_outliers: Whether it trains on images of no known class, too.
        head: Which head the classifier gets; see `sio_data.training.heads`.
    """

    needs_outliers: ClassVar[bool] = False
    head: ClassVar[str] = "linear"

    def side_heads(self, classes: int) -> dict[str, int]:
        """Give the further linear heads that the classifier gets, by name, with how many outputs each has."""
        return {}

    def state(self, classes: int, features: int) -> nn.Module:
        """Make what is trained or kept beside the classifier, and dropped at the end.

        It may name parameters that weight decay must leave alone, in the attribute `without_decay`, as a head may.

        Args:
            classes: How many classes there are.
            features: How many features the network gives.
        """
        return nn.Module()

    def prepare(self, batch: TrainingBatch, generator: torch.Generator, progress: float) -> TrainingBatch:
        """Draw all that is random and change the pixels.

        Args:
            batch: On the device of the training.
            generator: A CPU generator, so that every device draws the same.
            progress: The share of the training that is done, in [0, 1).
        """
        return batch

    def draw(self, state: nn.Module, generator: torch.Generator, progress: float) -> dict[str, torch.Tensor]:
        """Draw what `losses` needs whose size hangs on the classes and features. See `prepare_batch`.

        Args:
            state: What `state` made; only the shapes of its tensors are read.
            generator: As for `prepare`, which comes first.
            progress: As for `prepare`.

        Returns:
            Tensors on the CPU by name.
        """
        return {}

    @abstractmethod
    def losses(self, classifier: "Classifier", batch: TrainingBatch, state: nn.Module) -> Losses:
        """Run the classifier. It draws nothing and reads nothing back from the device, so that it can be compiled.

        Args:
            classifier: In training mode.
            batch: What `prepare` gave.
            state: What `state` made; only its buffers may be changed here.
        """


def prepare_batch(
    method: Method, batch: TrainingBatch, state: nn.Module, generator: torch.Generator, progress: float
) -> TrainingBatch:
    """Do all to a batch that comes before `losses`: `prepare`, then `draw`, whose tensors join the extras.

    Args:
        method: The method.
        batch: On the device of the training.
        state: What the method's `state` made.
        generator: A CPU generator.
        progress: The share of the training that is done, in [0, 1).
    """
    batch = method.prepare(batch, generator, progress)
    drawn = method.draw(state, generator, progress)
    device = batch.images.device
    moved = {name: tensor.to(device, non_blocking=True) for name, tensor in drawn.items()}
    return replace(batch, extras=batch.extras | moved)
