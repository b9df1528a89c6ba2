"""The losses of mixed images, row by row in plain numbers."""

import torch

from sio_data.training.checkpoint import Classifier


def cross_entropy(logits: torch.Tensor, label: int) -> float:
    """-log softmax of one image's logits, float [C]."""
    exact = logits.double()
    return (exact.exp().sum().log() - exact[label]).item()


@torch.no_grad()
def logits_of(classifier: Classifier, images: torch.Tensor) -> torch.Tensor:
    """Give the logits of images that go through the network together, in training mode."""
    return classifier(images)


def weigh(rows: list[tuple[float, float, bool]], alpha: float) -> float:
    """The SIO formula, from (loss, weight, is_synthetic) of each row."""
    means = [
        sum(loss * weight for loss, weight, flag in rows if flag == synthetic)
        / sum(weight for _, weight, flag in rows if flag == synthetic)
        for synthetic in (False, True)
    ]
    return alpha * means[0] + (1 - alpha) * means[1]
