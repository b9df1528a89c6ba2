"""The norm of the gradient at the head."""

from dataclasses import dataclass
from typing import ClassVar

import torch

from sio_data.detection.detectors.base import Detector
from sio_data.detection.outputs import Outputs


@dataclass
class GradNorm(Detector):
    """L1 norm of the gradient, at the head's weights, of the divergence from the uniform distribution to softmax.

    Huang et al., NeurIPS 2021. The gradient of `sum_c -log p_c` is an outer product, so its norm is
    `(sum_c |C p_c - 1|) |f|_1` and needs no backward pass. Learns nothing. Cost: O(N (C + D)).
    """

    name: ClassVar[str] = "gradnorm"

    def _score(self, outputs: Outputs) -> torch.Tensor:
        probabilities = outputs.logits.double().softmax(1)
        surprise = (outputs.logits.shape[1] * probabilities - 1).abs().sum(1)
        return surprise * outputs.features.double().abs().sum(1)
