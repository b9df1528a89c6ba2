"""Agreement of a classifier with the labels, class by class; this finds a wrong class order."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import torch
from scipy.optimize import linear_sum_assignment
from scipy.stats import hypergeom

from sio_data.errors import InputError
from sio_data.quality.findings import Agreement, Network
from sio_data.training.checkpoint import Classifier

Counts = npt.NDArray[np.int64]
_CLEARLY = 0.2
_FALSE_ALARMS = 0.01


@torch.inference_mode()
def predict(classifier: Classifier, images: torch.Tensor, features: torch.Tensor | None = None) -> torch.Tensor:
    """Give a classifier's probabilities.

    Args:
        classifier: In evaluation mode, on its device.
        images: uint8 [B, 3, H, H], of its size.
        features: Its features of these images, float32 [B, D], if they are at hand.

    Returns:
        float32 [B, C] on the CPU; rows add up to 1.

    Raises:
        InputError: They are NaN.
    """
    device = next(classifier.parameters()).device
    logits = classifier(images.to(device)) if features is None else classifier.head(features.to(device))
    probabilities: torch.Tensor = logits.softmax(1).cpu()
    if not torch.isfinite(probabilities).all():
        raise InputError("the classifier gives probabilities that are NaN; its weights are unsound. Train it again.")
    return probabilities


def count_confusion(labels: Counts, predicted: Counts, shape: tuple[int, int]) -> Counts:
    """Count predictions.

    Args:
        labels: int64 [N], indices into the images' classes.
        predicted: int64 [N], indices into the classifier's classes.
        shape: How many of both there are.

    Returns:
        int64 of that shape: images by label (rows) and prediction (columns).
    """
    flat = np.bincount(labels * shape[1] + predicted, minlength=shape[0] * shape[1])
    return flat.reshape(shape)


def suspect_order(confusion: Counts, names: Sequence[str], classes: Sequence[str]) -> dict[str, str]:
    """Find classes that have changed places.

    The assignment of classes that the predictions fit best is compared to the labels. A class has changed its place if
    far more of its images are predicted as the class assigned to it than as its own: twice as many, and a fifth of its
    images more; and if that is no chance, by Fisher's exact test against the images of the other labels, at 1 % with
    Bonferroni's correction for all pairs of classes. If the class whose place it has taken is one of the set's, that
    one must have moved, too: a poor classifier that takes cats for dogs still knows dogs.

    Args:
        confusion: int64 [len(names), len(classes)]; see `count_confusion`.
        names: The images' classes, each of which is one of `classes`.
        classes: The classifier's classes.

    Returns:
        For each class that has moved, the class that its images look like.
    """
    rates = confusion / np.maximum(confusion.sum(1, keepdims=True), 1)
    rows, columns = linear_sum_assignment(rates, maximize=True)
    moved = {}
    for row, column in zip(rows.tolist(), columns.tolist(), strict=True):
        assigned, own = rates[row, column], rates[row, classes.index(names[row])]
        far_more = assigned >= max(2 * own, own + _CLEARLY)
        if classes[column] != names[row] and far_more and _is_no_chance(confusion, row, column):
            moved[names[row]] = classes[column]
    while standing := {name for name, other in moved.items() if other in names and other not in moved}:
        moved = {name: other for name, other in moved.items() if name not in standing}
    return moved


def _is_no_chance(confusion: Counts, row: int, column: int) -> bool:
    """Tell whether a prediction is significantly more frequent for a label than for the others."""
    predicted, labelled = confusion[:, column].sum(), confusion[row].sum()
    p_value = hypergeom.sf(confusion[row, column] - 1, confusion.sum(), predicted, labelled)
    return bool(p_value * confusion.size < _FALSE_ALARMS)


def summarise_agreement(
    classifier: Network, confusion: Counts, held_out: Counts, names: Sequence[str], classes: Sequence[str]
) -> Agreement:
    """Give the result.

    Args:
        classifier: Which classifier predicted.
        confusion: int64 [len(names), len(classes)], of the set; see `count_confusion`.
        held_out: int64 [len(classes), len(classes)], of held-out real images.
        names: The set's classes, each of which is one of `classes`.
        classes: The classifier's classes.
    """
    totals = confusion.sum(1).tolist()
    right = [int(row[classes.index(name)]) for row, name in zip(confusion, names, strict=True)]
    return Agreement(
        classifier=classifier,
        accuracy=sum(right) / sum(totals),
        per_class={
            name: count / total if total else None for name, count, total in zip(names, right, totals, strict=True)
        },
        held_out=float(np.trace(held_out) / held_out.sum()),
        classes=tuple(classes),
        confusion=tuple(map(tuple, confusion.tolist())),
        suspected=suspect_order(confusion, names, classes),
    )
