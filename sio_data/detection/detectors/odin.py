"""Detectors that perturb the input a little and look at the softmax: ODIN, IODIN, Generalised ODIN."""

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, cast

import torch
import torch.nn.functional as F

from sio_data.detection.detectors.network import NetworkDetector
from sio_data.detection.looks import Look
from sio_data.detection.outputs import Outputs
from sio_data.errors import InputError
from sio_data.training.heads import CosineHead

if TYPE_CHECKING:
    from sio_data.training.checkpoint import Classifier

_GRID = tuple(
    {"temperature": temperature, "noise": noise}
    for noise in (0.0014, 0.0028)
    for temperature in (1.0, 10.0, 100.0, 1e3)
)


@dataclass
class ODIN(NetworkDetector):
    """Largest softmax probability at a high temperature, after a step that raises it: `max_c softmax(z(x') / T)_c`.

    Liang et al., ICLR 2018. `x' = x - eps s / sigma` on the normalised input x, where s is the sign of the gradient of
    the cross-entropy of `z(x) / T` at the predicted class (+1 where it is 0), and sigma the standard deviation of the
    classifier's normalisation. Learns nothing. Cost: a backward pass and one more forward pass over the images.

    Attributes:
        temperature: T, above 0.
        noise: eps, at least 0.
    """

    name: ClassVar[str] = "odin"
    grid = _GRID

    temperature: float = 1000.0
    noise: float = 0.0014

    def __post_init__(self) -> None:
        if not 0 < self.temperature < math.inf:
            raise InputError(f"{self.name}: temperature must be above 0, not {self.temperature}.")
        _check_noise(self.name, self.noise)

    @property
    def observation(self) -> str:
        """The scores; they hang on both parameters."""
        return f"{self.name} temperature={float(self.temperature)} noise={float(self.noise)}"

    def ask(self, look: Look) -> None:
        """Ask for a pass that gradients can go back through."""
        look.want_gradient(self._objective, self._cross_entropy)

    def observe(self, look: Look) -> torch.Tensor:
        """Give the scores, float64 [n]."""
        gradient = look.gradient(self._objective)
        step = self._chosen(gradient) * _signs(gradient) / look.classifier.std
        _, logits = look.forward(look.inputs - self.noise * step)
        return (logits.double() / self.temperature).softmax(1).amax(1)

    @property
    def _objective(self) -> str:
        return f"cross-entropy at {float(self.temperature)}"

    def _cross_entropy(self, _features: torch.Tensor, logits: torch.Tensor) -> torch.Tensor:
        return F.cross_entropy(logits / self.temperature, logits.argmax(1), reduction="none")

    def _chosen(self, gradient: torch.Tensor) -> torch.Tensor:
        """Give 1 where the input is to be changed, otherwise 0; it fits the shape of the gradient."""
        return torch.ones_like(gradient[:1, :1, :1, :1])

    def _score(self, outputs: Outputs) -> torch.Tensor:
        return outputs.observed[self.observation]


@dataclass
class IODIN(ODIN):
    """ODIN that changes only the one input value with the largest gradient (Regmi, 2024).

    A value is one channel of one pixel. Learns nothing. Cost: that of ODIN, whose gradient it shares at the same
    temperature.

    Attributes:
        temperature: T, above 0.
        noise: eps, at least 0.
    """

    name: ClassVar[str] = "iodin"

    def _chosen(self, gradient: torch.Tensor) -> torch.Tensor:
        strongest = gradient.abs().flatten(1).argmax(1, keepdim=True)
        return torch.zeros_like(gradient).flatten(1).scatter_(1, strongest, 1.0).view_as(gradient)


@dataclass
class GODIN(NetworkDetector):
    """Largest softmax probability of the cosines h of Generalised ODIN's head, after a step that raises the largest.

    Hsu et al., CVPR 2020: `max_c softmax(h(x'))_c` with `x' = x + eps s / sigma`, s the sign of the gradient of
    `max_c h_c(x)` (+1 where it is 0). For networks trained with the method of the same name. The softmax is what the
    released code takes; the paper takes `max_c h_c(x')`. Learns nothing. Cost: that of ODIN.

    Attributes:
        noise: eps, at least 0.
        softmax: Whether the softmax is taken.
    """

    name: ClassVar[str] = "godin"

    noise: float = 0.0025
    softmax: bool = True

    def __post_init__(self) -> None:
        _check_noise(self.name, self.noise)

    @property
    def observation(self) -> str:
        """The scores; they hang on both parameters."""
        return f"godin noise={float(self.noise)} softmax={self.softmax}"

    def misfit(self, network: "Classifier") -> str | None:
        """Refuse other heads."""
        return None if isinstance(network.head, CosineHead) else "it needs the cosine head of the method godin"

    def ask(self, look: Look) -> None:
        """Ask for a pass that gradients can go back through."""
        numerator = cast(CosineHead, look.classifier.head).numerator
        look.want_gradient("largest cosine", lambda features, _logits: numerator(features).amax(1))

    def observe(self, look: Look) -> torch.Tensor:
        """Give the scores, float64 [n]."""
        numerator = cast(CosineHead, look.classifier.head).numerator
        gradient = look.gradient("largest cosine")
        features, _ = look.forward(look.inputs + self.noise * _signs(gradient) / look.classifier.std)
        cosines = numerator(features).double()
        return (cosines.softmax(1) if self.softmax else cosines).amax(1)

    def _score(self, outputs: Outputs) -> torch.Tensor:
        return outputs.observed[self.observation]


def _signs(gradient: torch.Tensor) -> torch.Tensor:
    return torch.where(gradient >= 0, 1.0, -1.0)


def _check_noise(detector: str, value: float) -> None:
    if not 0 <= value < math.inf:
        raise InputError(f"{detector}: noise must be at least 0, not {value}.")
