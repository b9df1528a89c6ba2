"""Detectors that prune or scale each image's activations by its own largest ones: ASH, SCALE."""

from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import torch

from sio_data.detection.detectors.activations import ChangedActivations, check_percent
from sio_data.detection.outputs import Outputs


@dataclass
class _Shaping(ChangedActivations):
    """Shapes features by the largest of them. Of equal ones, the first counts as larger."""

    grid: ClassVar[tuple[Mapping[str, Any], ...]] = tuple({"percentile": value} for value in range(65, 100, 5))

    percentile: float = 90

    def __post_init__(self) -> None:
        check_percent(self.name, "percentile", self.percentile)

    def _floats(self, outputs: Outputs) -> int:
        return 8 * outputs.features.shape[1] + 2 * outputs.logits.shape[1]

    def _change(self, features: torch.Tensor) -> torch.Tensor:
        width = features.shape[1]
        count = max(1, width - round(width * self.percentile / 100))
        largest = features.sort(dim=1, descending=True, stable=True).indices[:, :count]
        kept = torch.zeros_like(features).scatter_(1, largest, features.gather(1, largest))
        return self._shape(features, kept, largest)

    @abstractmethod
    def _shape(self, features: torch.Tensor, kept: torch.Tensor, largest: torch.Tensor) -> torch.Tensor:
        """Give the shaped features.

        Args:
            features: float64 [n, D].
            kept: The same with all but the largest set to 0.
            largest: Where these are, int64 [n, count].
        """


def _sharpness(features: torch.Tensor, kept: torch.Tensor, count: int) -> torch.Tensor:
    """Give `exp(sum f / sum kept)`, float64 [n, 1].

    Where activations are not negative the fraction is at most D / count. This bounds it for others, too; a feature of
    zeros, which no factor changes, has 1.
    """
    whole, part = features.sum(1, keepdim=True), kept.sum(1, keepdim=True)
    fraction = torch.where(part == 0, 1.0, whole / part)
    return fraction.clamp(max=features.shape[1] / count).exp()


@dataclass
class ASHB(_Shaping):
    """Energy after activation shaping, form B: the largest activations all become `sum f / their count`, the others 0.

    Djurisic et al., ICLR 2023. Of D activations `D - round(D percentile / 100)` are kept, one at least. It acts on
    the pooled feature, as in OpenOOD v1.5. Fitted on the head. Cost: O(N (D log D + C D)).

    Attributes:
        percentile: Share of the activations that is pruned, in %, from 0 to 100.
    """

    name: ClassVar[str] = "ash_b"

    def _shape(self, features: torch.Tensor, kept: torch.Tensor, largest: torch.Tensor) -> torch.Tensor:
        mean = features.sum(1, keepdim=True) / largest.shape[1]
        return torch.zeros_like(features).scatter_(1, largest, mean.expand(largest.shape))


@dataclass
class ASHP(_Shaping):
    """Energy after activation shaping, form P: the largest activations are kept, the others become 0.

    Djurisic et al., ICLR 2023. How many are kept, on what it is fitted and its cost: as `ASHB`.

    Attributes:
        percentile: Share of the activations that is pruned, in %, from 0 to 100.
    """

    name: ClassVar[str] = "ash_p"

    def _shape(self, features: torch.Tensor, kept: torch.Tensor, largest: torch.Tensor) -> torch.Tensor:
        return kept


@dataclass
class ASHS(_Shaping):
    """Energy after activation shaping, form S: as P, then all times `exp(sum f / sum kept)`.

    Djurisic et al., ICLR 2023. How many are kept, on what it is fitted and its cost: as `ASHB`.

    Attributes:
        percentile: Share of the activations that is pruned, in %, from 0 to 100.
    """

    name: ClassVar[str] = "ash_s"

    def _shape(self, features: torch.Tensor, kept: torch.Tensor, largest: torch.Tensor) -> torch.Tensor:
        return kept * _sharpness(features, kept, largest.shape[1])


@dataclass
class SCALE(_Shaping):
    """Energy after scaling: `log sum_c exp (W f exp(sum f / sum_largest f) + b)_c` (Xu et al., ICLR 2024).

    The largest are those that ASH would keep; nothing is pruned. It acts on the pooled feature, as in OpenOOD v1.5.
    Fitted on the head. Cost: O(N (D log D + C D)).

    Attributes:
        percentile: Share of the activations that is not among the largest, in %, from 0 to 100.
    """

    name: ClassVar[str] = "scale"

    percentile: float = 85

    def _shape(self, features: torch.Tensor, kept: torch.Tensor, largest: torch.Tensor) -> torch.Tensor:
        return features * _sharpness(features, kept, largest.shape[1])
