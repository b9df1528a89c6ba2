"""RankFeat: the energy that is left when the largest singular direction of the maps is gone."""

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import torch

from sio_data.detection.detectors.network import NetworkDetector
from sio_data.detection.looks import Look
from sio_data.detection.outputs import Outputs
from sio_data.errors import InputError

if TYPE_CHECKING:
    from sio_data.training.checkpoint import Classifier


@dataclass
class RankFeat(NetworkDetector):
    """Energy of logits of maps without their largest singular part: `T log sum_c exp((z' + z'')_c / 2 T)`.

    Song et al., NeurIPS 2022. z' are the logits of the last stage's maps, z'' those of the stage before them, which
    then go through the last stage; from either, as a matrix of channels and positions, the part of the largest singular
    value is taken off first. For networks of two stages or more. Learns nothing. Cost: one more last stage and an
    eigenvalue problem of the size of the maps' positions for each image.

    Attributes:
        temperature: T, above 0.
    """

    name: ClassVar[str] = "rankfeat"

    temperature: float = 1.0

    def __post_init__(self) -> None:
        if not 0 < self.temperature < math.inf:
            raise InputError(f"rankfeat: temperature must be above 0, not {self.temperature}.")

    @property
    def observation(self) -> str:
        """The mean of both logits, whatever the parameters."""
        return "rankfeat"

    def misfit(self, network: "Classifier") -> str | None:
        """Refuse networks of one stage."""
        return None if len(network.network.stages()) > 1 else "it needs a network that can be cut into stages"

    def ask(self, look: Look) -> None:
        """Ask for the maps of the stages."""
        look.want_stages()

    def observe(self, look: Look) -> torch.Tensor:
        """Give the mean of both logits, float32 [n, C]."""
        network, head = look.classifier.network, look.classifier.head
        *_, before, last = look.stage_maps
        through = network.stages()[-1](without_largest_part(before))
        logits: torch.Tensor = head(network.pool(without_largest_part(last))) + head(network.pool(through))
        return logits / 2

    def _score(self, outputs: Outputs) -> torch.Tensor:
        logits = outputs.observed[self.observation].double()
        return self.temperature * (logits / self.temperature).logsumexp(1)


def without_largest_part(maps: torch.Tensor) -> torch.Tensor:
    """Take the part of the largest singular value off maps, float [n, K, h, w], as matrices of K and h w.

    The singular vector is the eigenvector of the smaller product of the matrix with itself, in float64, where squaring
    costs no digit that float32 has.
    """
    matrices = maps.flatten(2).double()
    is_wide = matrices.shape[1] < matrices.shape[2]
    tall = matrices.mT if is_wide else matrices
    direction = torch.linalg.eigh(tall.mT @ tall).eigenvectors[..., -1:]
    rest = tall - (tall @ direction) @ direction.mT
    without: torch.Tensor = (rest.mT if is_wide else rest).reshape(maps.shape)
    return without.to(maps.dtype)
