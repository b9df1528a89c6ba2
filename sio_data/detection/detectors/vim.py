"""What is left of features outside the space of the training features: virtual-logit matching and its residual."""

from dataclasses import dataclass
from typing import Any, ClassVar

import torch

from sio_data.detection.detectors.base import Detector
from sio_data.detection.detectors.given import Given, Head, Need
from sio_data.detection.moments import compute_means, compute_scatters
from sio_data.detection.outputs import Outputs
from sio_data.errors import InputError

_NOTHING = 1e-6  # of the mean length: what rounding leaves of float32 features outside their space


@dataclass
class Residual(Detector):
    """Minus the length of what is left of a feature outside the principal space: `-|N'(f - u)|_2`.

    The residual alone of ViM (Wang et al., CVPR 2022): u and N are those of `ViM`. Fitted on the head and, as in
    OpenOOD v1.5, on the validation features, although the paper takes those of training. Cost: O(n D^2 + D^3) for n
    images to fit, O(N D dim) to score.

    Attributes:
        dim: Dimensions of the principal space; below D. (OpenOOD gives 0 for every image where it is D.)
        split: Which features it is fitted on: `val` or `train`.
    """

    name: ClassVar[str] = "residual"
    needs: ClassVar[tuple[Need, ...]] = ("val", "head")
    learned: ClassVar[tuple[str, ...]] = ("_origin", "_principal")

    dim: int = 512
    split: str = "val"

    def __post_init__(self) -> None:
        _check_dim(self.name, self.dim)
        if self.split not in ("val", "train"):
            raise InputError(f"residual: split must be val or train, not {self.split}.")

    def _fit(self, given: Given) -> None:
        outputs, kind = (given.val, "validation") if self.split == "val" else (given.train, "training")
        self._origin, self._principal = _find_space(self.name, self.dim, outputs, given.head)
        _average_residual(f"{self.name}: the {len(outputs)} {kind} features", outputs, self._origin, self._principal)

    def _score(self, outputs: Outputs) -> torch.Tensor:
        return -_measure(outputs, self._origin, self._principal)[0]


@dataclass
class ViM(Detector):
    """Energy minus a virtual logit: `log sum_c exp z_c - alpha |N'(f - u)|_2`.

    Wang et al., CVPR 2022. `u = -pinv(W) b` is the origin at which the logits vanish. N spans what is left of the
    training features' space (second moments about u) without the `dim` largest eigenvectors, and alpha scales the
    residual to the logits: `mean_train(max z) / mean_train |N'(f - u)|`. Fitted on the training outputs and the head.
    Cost: O(N_train D^2 + D^3) to fit, O(N D dim) to score.

    Attributes:
        dim: Dimensions of the principal space; below D.
    """

    name: ClassVar[str] = "vim"
    needs: ClassVar[tuple[Need, ...]] = ("train", "head")
    learned: ClassVar[tuple[str, ...]] = ("_origin", "_principal", "_scale")
    grid: ClassVar[tuple[dict[str, Any], ...]] = ({"dim": 256}, {"dim": 1000})

    dim: int = 256

    def __post_init__(self) -> None:
        _check_dim(self.name, self.dim)

    def _fit(self, given: Given) -> None:
        train = given.train
        self._origin, self._principal = _find_space(self.name, self.dim, train, given.head)
        residual = _average_residual(
            f"{self.name}: the {len(train)} training features", train, self._origin, self._principal
        )
        self._scale: torch.Tensor = train.logits.amax(1).double().mean() / residual

    def _score(self, outputs: Outputs) -> torch.Tensor:
        residual, _ = _measure(outputs, self._origin, self._principal)
        return outputs.logits.double().logsumexp(1) - self._scale * residual


def _check_dim(name: str, dim: int) -> None:
    if dim < 1:
        raise InputError(f"{name}: dim must be at least 1, not {dim}.")


def _find_space(name: str, dim: int, outputs: Outputs, head: Head) -> tuple[torch.Tensor, torch.Tensor]:
    """Give the origin u, float64 [D], and the principal space of features about it, float64 [D, dim]."""
    width = outputs.features.shape[1]
    if width == 1:
        raise InputError(f"{name}: features of 1 dimension leave nothing outside a principal space.")
    if dim >= width:
        raise InputError(
            f"{name}: dim={dim} leaves nothing of {width} features; give a dim below {width}, "
            f"for instance {width // 2}."
        )
    origin = -torch.linalg.pinv(head.weight) @ head.bias
    shift = compute_means(outputs).overall - origin
    _, vectors = torch.linalg.eigh(compute_scatters(outputs).total / len(outputs) + shift.outer(shift))
    return origin, vectors[:, width - dim :]


def _measure(outputs: Outputs, origin: torch.Tensor, principal: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Give the length of features outside the principal space and their whole length about u, float64 [N] both."""
    centred = outputs.features.double() - origin
    squared = centred.square().sum(1)
    return (squared - (centred @ principal).square().sum(1)).clamp(min=0).sqrt(), squared.sqrt()


def _average_residual(subject: str, outputs: Outputs, origin: torch.Tensor, principal: torch.Tensor) -> torch.Tensor:
    """Give the mean length outside the principal space.

    Raises:
        InputError: All features lie in it; the message begins with what they are.
    """
    sums = origin.new_zeros(2)
    for block in outputs.blocks(4 * len(origin)):
        sums += torch.stack(_measure(block, origin, principal)).sum(1)
    residual: torch.Tensor = sums[0] / len(outputs)
    if sums[0] <= _NOTHING * sums[1]:
        raise InputError(f"{subject} lie in {principal.shape[1]} dimensions; give a smaller dim.")
    return residual
