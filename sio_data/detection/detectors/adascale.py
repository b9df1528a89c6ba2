"""AdaScale: SCALE with a percentile of its own for each image."""

import math
from dataclasses import dataclass
from typing import ClassVar

import torch

from sio_data.detection.detectors.given import Given, Head, Need
from sio_data.detection.detectors.network import NetworkDetector
from sio_data.detection.looks import Look
from sio_data.detection.outputs import Outputs
from sio_data.errors import InputError

_STEP = 0.5  # on the normalised input
_PERCENTILES = (60.0, 65.0, 70.0, 75.0, 80.0, 85.0, 90.0, 95.0, 99.0)


@dataclass
class AdaScaleA(NetworkDetector):
    """Energy of features scaled by `exp r`, r from a percentile of each image's own: `log sum_c exp (W f e^r + b)_c`.

    Regmi et al., 2025. The share `o` of the input values with the smallest gradient of the largest logit moves by 0.5
    along the gradient's sign, which gives the features f'. With sums over the `k1` % and the `k2` % largest features,
    `Q = sum relu(f') + weight * sum |f - f'|`; the percentile is `low + (1 - F(Q)) (high - low)`, where F is the
    empirical distribution of Q over the validation images; `r` is the sum of all activations over the sum of those
    above the percentile. Fitted on the validation images, all of them (OpenOOD: at most 5,000 drawn ones), and on the
    head. Cost: that of ODIN; settings that differ in other parameters than `o` share it.

    Attributes:
        low: Percentile of the images that change least, above 0.
        high: Percentile of those that change most, below 100.
        k1: Percent of the features that Q's first sum takes, above 0, at most 100; one feature at least.
        k2: Likewise of its second sum.
        weight: lambda, of the second sum, at least 0.
        o: Share of the input values that move, in [0, 1].
    """

    name: ClassVar[str] = "adascale_a"
    needs: ClassVar[tuple[Need, ...]] = ("val", "head", "network")
    learned: ClassVar[tuple[str, ...]] = ("_shifts", "_weight", "_bias")
    grid = tuple({"low": low, "high": high} for low in _PERCENTILES for high in _PERCENTILES if low < high)

    low: float = 75.0
    high: float = 85.0
    k1: float = 5.0
    k2: float = 1.0
    weight: float = 10.0
    o: float = 0.05

    def __post_init__(self) -> None:
        if not 0 < self.low <= self.high < 100:
            raise InputError(f"{self.name}: low and high must be percentiles in order, not {self.low} and {self.high}.")
        if not (0 < self.k1 <= 100 and 0 < self.k2 <= 100):
            raise InputError(f"{self.name}: k1 and k2 must be above 0 and at most 100, not {self.k1} and {self.k2}.")
        if not 0 <= self.weight < math.inf:
            raise InputError(f"{self.name}: weight must be at least 0, not {self.weight}.")
        if not 0 <= self.o <= 1:
            raise InputError(f"{self.name}: o must be from 0 to 1, not {self.o}.")

    @property
    def observation(self) -> str:
        """The features of the changed inputs; they hang on `o` alone."""
        return f"adascale o={float(self.o)}"

    def ask(self, look: Look) -> None:
        """Ask for a pass that gradients can go back through."""
        look.want_gradient("largest logit", _largest)

    def observe(self, look: Look) -> torch.Tensor:
        """Give the features of the changed inputs, float32 [n, D]."""
        gradient = look.gradient("largest logit").flatten(1)
        moved = gradient.abs().topk(int(self.o * gradient.shape[1]), largest=False, sorted=False).indices
        steps = torch.zeros_like(gradient).scatter_(1, moved, _STEP * gradient.gather(1, moved).sign())
        return look.forward(look.inputs + steps.view_as(look.inputs))[0]

    def _fit(self, given: Given) -> None:
        self._weight, self._bias = given.head.weight, given.head.bias
        self._learn_shifts(given)

    def _learn_shifts(self, given: Given) -> None:
        self.require_observation(given.val)
        parts = [self._shift(block) for block in given.val.blocks(self._floats(given.val))]
        self._shifts = torch.cat(parts).sort().values

    def _shift(self, outputs: Outputs) -> torch.Tensor:
        """Give Q, float64 [n]."""
        features, changed = outputs.features.double(), outputs.observed[self.observation].double()
        first = changed.relu().gather(1, _largest_places(features, self.k1)).sum(1)
        second = (features - changed).abs().gather(1, _largest_places(features, self.k2)).sum(1)
        return first + self.weight * second

    def _ratios(self, outputs: Outputs) -> torch.Tensor:
        """Give r, float64 [n]; 1 for features without an activation."""
        ranks = torch.searchsorted(self._shifts, self._shift(outputs), right=True)
        percentiles = self.low + (1 - ranks.double() / len(self._shifts)) * (self.high - self.low)
        active = outputs.features.double().relu()
        width = active.shape[1]
        counts = (width - (width * percentiles / 100).round()).long().clamp(min=1)
        sums = active.sort(descending=True).values.cumsum(1)
        kept = sums.gather(1, counts[:, None] - 1).squeeze(1)
        return torch.where(kept > 0, sums[:, -1] / kept, 1.0)

    def _floats(self, outputs: Outputs) -> int:
        return 10 * outputs.features.shape[1] + 2 * outputs.logits.shape[1]

    def _score(self, outputs: Outputs) -> torch.Tensor:
        scaled = outputs.features.double() * self._ratios(outputs).exp()[:, None]
        return Head(self._weight, self._bias).energy(scaled)


@dataclass
class AdaScaleL(AdaScaleA):
    """Energy of logits scaled by `r^2`, r as in AdaScale-A: `log sum_c exp(r^2 z_c)` (Regmi et al., 2025).

    Fitted on the validation images alone. Parameters and cost are those of AdaScale-A, which it shares a pass with.
    """

    name: ClassVar[str] = "adascale_l"
    needs: ClassVar[tuple[Need, ...]] = ("val", "network")
    learned: ClassVar[tuple[str, ...]] = ("_shifts",)

    def _fit(self, given: Given) -> None:
        self._learn_shifts(given)

    def _score(self, outputs: Outputs) -> torch.Tensor:
        return (outputs.logits.double() * self._ratios(outputs).square()[:, None]).logsumexp(1)


def _largest(_features: torch.Tensor, logits: torch.Tensor) -> torch.Tensor:
    return logits.gather(1, logits.argmax(1, keepdim=True)).squeeze(1)


def _largest_places(features: torch.Tensor, percent: float) -> torch.Tensor:
    width = features.shape[1]
    return features.topk(max(1, int(width * percent / 100)), sorted=False).indices
