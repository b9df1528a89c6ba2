"""KL matching."""

import math
from dataclasses import dataclass
from typing import ClassVar

import torch

from sio_data.detection.detectors.base import Detector
from sio_data.detection.detectors.given import Given, Need
from sio_data.detection.outputs import Outputs

_LARGEST = -math.log(5e-324)  # no finite divergence from float64 probabilities is larger


@dataclass
class KLM(Detector):
    """Minus the KL divergence to the nearest class template: `-min_c KL(p | d_c)` (Hendrycks et al., ICML 2022).

    p is the softmax of the logits, d_c its mean over the validation images *predicted* as c, or all mass on c where
    none is. Where every divergence is infinite the score is -744.44, the least that a finite one can give. Fitted on
    the validation logits. Cost: O(N_val C) to fit, O(N C^2) to score.
    """

    name: ClassVar[str] = "klm"
    needs: ClassVar[tuple[Need, ...]] = ("val",)
    learned: ClassVar[tuple[str, ...]] = ("_templates",)

    def _fit(self, given: Given) -> None:
        classes = given.val.logits.shape[1]
        sums = torch.zeros(classes, classes, dtype=torch.float64, device=given.val.logits.device)
        for block in given.val.blocks(3 * classes):
            sums.index_add_(0, block.predictions, block.logits.double().softmax(1))
        counts = given.val.predictions.bincount(minlength=classes)[:, None]
        self._templates = torch.where(counts > 0, sums / counts.clamp(min=1), torch.eye(classes).to(sums))

    def _floats(self, outputs: Outputs) -> int:
        return 6 * outputs.logits.shape[1]

    def _score(self, outputs: Outputs) -> torch.Tensor:
        probabilities = outputs.logits.double().softmax(1)
        possible = self._templates > 0
        logs = self._templates.log().where(possible, 0)
        divergences = torch.special.xlogy(probabilities, probabilities).sum(1, keepdim=True) - probabilities @ logs.T
        impossible = probabilities @ (~possible).to(logs).T > 0
        nearest: torch.Tensor = divergences.masked_fill(impossible, math.inf).amin(1).clamp(0, _LARGEST)
        return -nearest
