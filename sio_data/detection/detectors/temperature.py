"""Temperature scaling."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import ClassVar

import torch
from scipy.optimize import brentq

from sio_data.detection.detectors.base import Detector
from sio_data.detection.detectors.given import Given, Need
from sio_data.detection.outputs import Outputs

_COLDEST, _HOTTEST = 0.01, 1000.0


@dataclass
class TemperatureScaling(Detector):
    """Maximum softmax probability at a fitted temperature: `max_c softmax(z / T)_c` (Guo et al., ICML 2017).

    T gives the validation images the least negative log-likelihood, which is convex in 1/T. T stays 1 where no
    temperature from 0.01 to 1000 is best: with every validation image right, say, the likelihood grows for ever as T
    falls. OpenOOD v1.5 stops its optimiser less than half-way from 1.5 to the best T; `stop_early` gives its
    temperature. Fitted on the validation logits and labels. Cost: O(N_val C) a step, some 10 steps; O(N C) to score.

    Attributes:
        stop_early: Take one call of L-BFGS from T = 1.5 (rate 0.01, 50 iterations, no line search) for the best T.
            Where that leaves 0.01 to 1000, as it may on few images, T is the nearer end.
    """

    name: ClassVar[str] = "temp_scaling"
    needs: ClassVar[tuple[Need, ...]] = ("val", "val labels")
    learned: ClassVar[tuple[str, ...]] = ("_temperature",)

    stop_early: bool = False

    def _fit(self, given: Given) -> None:
        find = _stop_early if self.stop_early else _find_best
        self._temperature = torch.tensor(find(given.val), dtype=torch.float64, device=given.val.logits.device)

    def _score(self, outputs: Outputs) -> torch.Tensor:
        return (outputs.logits.double() / self._temperature).softmax(1).amax(1)


def _find_best(val: Outputs) -> float:
    @cache
    def excess(log_temperature: float) -> float:
        return _measure(val, math.exp(log_temperature), _excess)

    coldest, hottest = math.log(_COLDEST), math.log(_HOTTEST)
    if excess(coldest) <= 0 or excess(hottest) >= 0:
        return 1.0
    return math.exp(brentq(excess, coldest, hottest, xtol=1e-8))


def _stop_early(val: Outputs) -> float:
    temperature = torch.tensor([1.5], dtype=torch.float64)
    optimiser = torch.optim.LBFGS([temperature], lr=0.01, max_iter=50)

    def close() -> torch.Tensor:
        now = float(temperature)
        temperature.grad = -_measure(val, now, _excess) / temperature.square()
        return torch.tensor(_measure(val, now, _loss))

    optimiser.step(close)
    return min(max(float(temperature), _COLDEST), _HOTTEST)


def _measure(val: Outputs, temperature: float, measure: Callable[[torch.Tensor, float], torch.Tensor]) -> float:
    """Give the mean of a measure of the logits, less that of the label, at a temperature."""
    total = 0.0
    for block in val.blocks(5 * val.logits.shape[1]):
        logits = block.logits.double()
        total += float(measure(logits - logits.gather(1, block.labels[:, None]), temperature))
    return total / len(val)


def _loss(over_label: torch.Tensor, temperature: float) -> torch.Tensor:
    """Sum the negative log-likelihood of the labels."""
    return (over_label / temperature).logsumexp(1).sum()


def _excess(over_label: torch.Tensor, temperature: float) -> torch.Tensor:
    """Sum its derivative by 1/T: how much the mean logit under the softmax exceeds that of the label."""
    return torch.dot((over_label / temperature).softmax(1).flatten(), over_label.flatten())
