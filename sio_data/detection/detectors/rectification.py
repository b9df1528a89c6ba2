"""Detectors that cut activations off at percentiles of known ones: ReAct, VRA."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import torch

from sio_data.detection.detectors.activations import ChangedActivations, check_percent
from sio_data.detection.detectors.given import Given, Need
from sio_data.detection.percentiles import feature_percentile
from sio_data.errors import InputError


@dataclass
class ReAct(ChangedActivations):
    """Energy of cut activations: `log sum_c exp (W min(f, t) + b)_c` (Sun et al., NeurIPS 2021).

    t is a percentile of all activations of the validation images, pooled over images and dimensions. Fitted on the
    validation features and the head. Cost: O(N_val D) to fit, O(N C D) to score.

    Attributes:
        percentile: Of the activations, from 0 to 100; what is above is cut down to it.
    """

    name: ClassVar[str] = "react"
    needs: ClassVar[tuple[Need, ...]] = ("val", "head")
    learned: ClassVar[tuple[str, ...]] = ("_weight", "_bias", "_threshold")
    grid: ClassVar[tuple[Mapping[str, Any], ...]] = tuple({"percentile": value} for value in (85, 90, 95, 99))

    percentile: float = 90

    def __post_init__(self) -> None:
        check_percent(self.name, "percentile", self.percentile)

    def _fit(self, given: Given) -> None:
        super()._fit(given)
        self._threshold = self._weight.new_tensor(feature_percentile(given.val, self.percentile))

    def _change(self, features: torch.Tensor) -> torch.Tensor:
        return features.minimum(self._threshold)


@dataclass
class VRA(ChangedActivations):
    """Energy of activations clipped on both sides: `log sum_c exp (W clip(f, lo, hi) + b)_c`.

    Xu et al., NeurIPS 2023. lo and hi are percentiles of all activations of the validation images, pooled over images
    and dimensions. The paper sets what is below lo to 0; OpenOOD v1.5 lifts it to lo, which is the default here, so
    that scores compare. Fitted on the validation features and the head. Cost: O(N_val D) to fit, O(N C D) to score.

    Attributes:
        low: Percentile lo, from 0 to `high`.
        high: Percentile hi, to 100.
        zero_low: Set what is below lo to 0, as the paper does.
    """

    name: ClassVar[str] = "vra"
    needs: ClassVar[tuple[Need, ...]] = ("val", "head")
    learned: ClassVar[tuple[str, ...]] = ("_weight", "_bias", "_lowest", "_highest")
    grid: ClassVar[tuple[Mapping[str, Any], ...]] = tuple(
        {"high": high, "low": low} for low in (1, 5, 10, 15) for high in (85, 90, 95, 99)
    )

    low: float = 10
    high: float = 90
    zero_low: bool = False

    def __post_init__(self) -> None:
        check_percent(self.name, "low", self.low)
        check_percent(self.name, "high", self.high)
        if self.low > self.high:
            raise InputError(f"vra: low must be at most high, not {self.low} and {self.high}.")

    def _fit(self, given: Given) -> None:
        super()._fit(given)
        self._lowest, self._highest = (
            self._weight.new_tensor(feature_percentile(given.val, value)) for value in (self.low, self.high)
        )

    def _change(self, features: torch.Tensor) -> torch.Tensor:
        if self.zero_low:
            return features.minimum(self._highest).where(features >= self._lowest, 0)
        return features.clamp(self._lowest, self._highest)
