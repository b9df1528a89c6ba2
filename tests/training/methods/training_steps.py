"""A few training steps of a method on the digits, as the training loop does them."""

import torch
from torch import nn

from sio_data.embedded import load_embedded
from sio_data.training.checkpoint import Classifier
from sio_data.training.methods.base import Losses, Method, TrainingBatch, prepare_batch
from sio_data.training.objective import sio_loss

CLASSES = 6


def new_classifier(method: Method, seed: int = 0) -> Classifier:
    torch.manual_seed(seed)
    names = load_embedded("digits", "train").class_names
    return Classifier("convnet", names, 8, head=method.head, side_heads=method.side_heads(CLASSES)).train()


def new_state(method: Method, classifier: Classifier) -> nn.Module:
    return method.state(CLASSES, classifier.network.feature_dim)


def digits_batch(size: int = 32, synthetic: int = 8, outliers: int = 0) -> TrainingBatch:
    """Make a batch of digits of which the last ones count as synthetic, with textures as outliers."""
    digits = load_embedded("digits", "train")
    is_synthetic = torch.arange(size) >= size - synthetic
    unknown = load_embedded("textures", "val").images[:outliers].float() / 255 if outliers else None
    return TrainingBatch(digits.images[:size].float() / 255, digits.labels[:size], is_synthetic, unknown)


def prepared(
    method: Method, batch: TrainingBatch, state: nn.Module, progress: float = 0.0, seed: int = 0
) -> TrainingBatch:
    return prepare_batch(method, batch, state, torch.Generator().manual_seed(seed), progress)


def total(losses: Losses, alpha: float = 0.8, mix: str = "batch") -> torch.Tensor:
    loss = sio_loss(losses.each, losses.is_synthetic, alpha, mix, losses.weights)
    return loss if losses.extra is None else loss + losses.extra


def losses_of(method: Method, steps: int = 30, outliers: int = 0) -> list[float]:
    """Train on one batch of real and synthetic images by plain SGD, under the paper's formula of the objective.

    Args:
        method: The method.
        steps: How many.
        outliers: How many outliers the batch holds.

    Returns:
        The loss of each step.
    """
    classifier, batch = new_classifier(method), digits_batch(outliers=outliers)
    state = new_state(method, classifier)
    optimizer = torch.optim.SGD([*classifier.parameters(), *state.parameters()], 0.05)
    history = []
    for step in range(steps):
        loss = total(
            method.losses(classifier, prepared(method, batch, state, step / steps, seed=step), state), mix="loss"
        )
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        history.append(loss.item())
    return history
