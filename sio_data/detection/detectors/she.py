"""Simplified Hopfield energy."""

from dataclasses import dataclass
from typing import ClassVar

import torch

from sio_data.detection.detectors.base import Detector
from sio_data.detection.detectors.given import Given, Need
from sio_data.detection.moments import average_groups, compute_means
from sio_data.detection.outputs import Outputs


@dataclass
class SHE(Detector):
    """Inner product with the stored pattern of the predicted class: `<f, s_k>`.

    Zhang et al., ICLR 2023. `s_c` is the mean feature of the training images of class c that are predicted right. Where
    there are none (OpenOOD gives NaN), it is that of all images of the class, and where there are none either, that of
    all training images. Fitted on the training outputs and labels. Cost: O(N_train D) to fit, O(N D) to score.
    """

    name: ClassVar[str] = "she"
    needs: ClassVar[tuple[Need, ...]] = ("train", "train labels")
    learned: ClassVar[tuple[str, ...]] = ("_patterns",)

    def _fit(self, given: Given) -> None:
        right, counts = average_groups(given.train, _find_right)
        means = compute_means(given.train)
        patterns = means.class_means.where(means.class_counts.unsqueeze(1) > 0, means.overall)
        self._patterns = right[:-1].where(counts[:-1].unsqueeze(1) > 0, patterns)

    def _score(self, outputs: Outputs) -> torch.Tensor:
        return (outputs.features.double() * self._patterns[outputs.predictions]).sum(1)


def _find_right(block: Outputs) -> torch.Tensor:
    """Give the label of each image that is predicted right, and one more for the others."""
    return block.labels.where(block.predictions == block.labels, block.logits.shape[1])
