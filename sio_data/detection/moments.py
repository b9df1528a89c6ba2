"""Means and scatters of features: one pass over the images each, in float64, shared by all detectors that ask."""

from collections.abc import Callable
from dataclasses import dataclass

import torch

from sio_data.detection.outputs import Outputs


@dataclass(frozen=True)
class Means:
    """Means of features.

    Attributes:
        overall: Of all images, float64 [D].
        class_means: Of the images of each class, float64 [C, D]; zeros where a class has none.
        class_counts: How many images each class has, float64 [C].
    """

    overall: torch.Tensor
    class_means: torch.Tensor
    class_counts: torch.Tensor


@dataclass(frozen=True)
class Scatters:
    """Sums of outer products of features.

    Attributes:
        within: About the mean of each image's class, float64 [D, D]. Images without a class count as one more class.
        total: About the mean of all images, float64 [D, D].
    """

    within: torch.Tensor
    total: torch.Tensor


def compute_means(outputs: Outputs) -> Means:
    """Give the means of features, computed once."""
    means, counts = outputs.once("group means", lambda: average_groups(outputs, _find_groups))
    return Means((counts / counts.sum()) @ means, means[:-1], counts[:-1])


def compute_scatters(outputs: Outputs) -> Scatters:
    """Give the scatters of features, computed once. Cost: O(N D^2)."""
    return outputs.once("scatters", lambda: _compute_scatters(outputs))


def average_groups(
    outputs: Outputs, find_groups: Callable[[Outputs], torch.Tensor]
) -> tuple[torch.Tensor, torch.Tensor]:
    """Average features over groups of images.

    Args:
        outputs: Of the images.
        find_groups: Gives the group of each image of a block, int64 [n], from 0 to the number of classes.

    Returns:
        The means, float64 [C + 1, D], zeros where a group is empty; and the sizes, float64 [C + 1].
    """
    width, groups = outputs.features.shape[1], outputs.logits.shape[1] + 1
    sums = torch.zeros(groups, width, dtype=torch.float64, device=outputs.features.device)
    counts = torch.zeros_like(sums[:, 0])
    for block in outputs.blocks(2 * width):
        members = find_groups(block)
        sums.index_add_(0, members, block.features.double())
        counts += members.bincount(minlength=groups)
    return sums / counts.clamp(min=1).unsqueeze(1), counts


def _find_groups(block: Outputs) -> torch.Tensor:
    """Give the label of each image, and one more for those that have none."""
    classes = block.logits.shape[1]
    return block.labels.where((block.labels >= 0) & (block.labels < classes), classes)


def _compute_scatters(outputs: Outputs) -> Scatters:
    """Sum within the groups first: what is left of large, close classes is not lost in a difference."""
    means, counts = outputs.once("group means", lambda: average_groups(outputs, _find_groups))
    within = torch.zeros(2 * means.shape[1:], dtype=torch.float64, device=means.device)
    for block in outputs.blocks(3 * means.shape[1]):
        centred = block.features.double() - means[_find_groups(block)]
        within.addmm_(centred.T, centred)
    apart = (means - (counts / counts.sum()) @ means) * counts.sqrt().unsqueeze(1)
    return Scatters(within, within + apart.T @ apart)
