"""Detectors that take the heads of networks trained with certain methods: MCD, RotPred, T2FNorm."""

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, cast

import torch
import torch.nn.functional as F
from torch import nn

from sio_data.detection.detectors.base import Detector
from sio_data.detection.detectors.given import Given, Head, Need
from sio_data.detection.detectors.network import NetworkDetector
from sio_data.detection.looks import Look
from sio_data.detection.outputs import Outputs
from sio_data.errors import InputError

if TYPE_CHECKING:
    from sio_data.training.checkpoint import Classifier

_TURNS = 4


@dataclass
class MCD(Detector):
    """Minus the difference of what two heads predict: `-sum_c |p1 - p2|_c`.

    Yu & Aizawa, ICCV 2019. p1 is the softmax of the logits, p2 that of the side head `second`, which networks have that
    were trained with the method of the same name. Learns nothing but that head. Cost: O(N C D).
    """

    name: ClassVar[str] = "mcd"
    needs: ClassVar[tuple[Need, ...]] = ("network",)
    learned: ClassVar[tuple[str, ...]] = ("_weight", "_bias")

    def misfit(self, network: "Classifier") -> str | None:
        """Refuse networks without a second head."""
        return None if "second" in network.side_heads else "it needs the second head of the method mcd"

    def _fit(self, given: Given) -> None:
        reason = self.misfit(given.network)
        if reason:
            raise InputError(f"mcd does not fit this network: {reason}.")
        layer = cast(nn.Linear, given.network.side_heads["second"])
        head = Head.of(layer, given.device or layer.weight.device)
        self._weight, self._bias = head.weight, head.bias

    def _score(self, outputs: Outputs) -> torch.Tensor:
        second = Head(self._weight, self._bias).logits(outputs.features.double())
        return -(outputs.logits.double().softmax(1) - second.softmax(1)).abs().sum(1)


@dataclass
class T2FNorm(Detector):
    """Largest softmax probability of the head on features divided by tau: `max_c softmax(W f / tau + b)_c`.

    Regmi et al., CVPR Workshops 2024: the score of networks trained with the method of the same name, in its released
    form. The features are not normalised. tau is the one of the training; with tau = 1 this is `msp`, which is how the
    released code scores on ImageNet-1k. Learns nothing but the head. Cost: O(N C D).

    Attributes:
        temperature: tau, above 0.
    """

    name: ClassVar[str] = "t2fnorm"
    needs: ClassVar[tuple[Need, ...]] = ("head",)
    learned: ClassVar[tuple[str, ...]] = ("_weight", "_bias")

    temperature: float = 0.1

    def __post_init__(self) -> None:
        if not 0 < self.temperature < math.inf:
            raise InputError(f"t2fnorm: temperature must be above 0, not {self.temperature}.")

    def _fit(self, given: Given) -> None:
        self._weight, self._bias = given.head.weight, given.head.bias

    def _score(self, outputs: Outputs) -> torch.Tensor:
        logits = Head(self._weight, self._bias).logits(outputs.features.double() / self.temperature)
        return logits.softmax(1).amax(1)


@dataclass
class RotPred(NetworkDetector):
    """How sure the class is, less how unsure the rotations are: `KL(uniform || p) - mean_r -log2 p_rot(r | R_r x)`.

    Hendrycks et al., NeurIPS 2019. p is the softmax of the logits, p_rot that of the side head `rotation` on the image
    turned by r quarters, r from 0 to 3, which networks have that were trained with the method of the same name. In
    bits. Learns nothing. Cost: three more forward passes over the images.
    """

    name: ClassVar[str] = "rotpred"

    @property
    def observation(self) -> str:
        """The mean loss of the rotations."""
        return "rotpred"

    def misfit(self, network: "Classifier") -> str | None:
        """Refuse networks without a head of rotations."""
        return None if "rotation" in network.side_heads else "it needs the rotation head of the method rotpred"

    def observe(self, look: Look) -> torch.Tensor:
        """Give the mean loss of the rotations in bits, float64 [n]."""
        head = look.classifier.side_heads["rotation"]
        losses = torch.zeros(len(look.images), dtype=torch.float64, device=look.images.device)
        for turns in range(_TURNS):
            turned = look.inputs.detach().rot90(turns, (2, 3))
            features = look.forward(turned)[0] if turns else look.features
            losses -= head(features).double().log_softmax(1)[:, turns]
        return losses / (_TURNS * math.log(2))

    def _score(self, outputs: Outputs) -> torch.Tensor:
        logs = F.log_softmax(outputs.logits.double(), 1)
        certainty = -(logs.mean(1) + math.log(logs.shape[1])) / math.log(2)
        return certainty - outputs.observed[self.observation]
