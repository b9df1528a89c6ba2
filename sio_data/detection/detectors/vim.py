"""Virtual-logit matching."""

from dataclasses import dataclass

import torch
from torch import nn

from sio_data.detection.detectors.base import Detector
from sio_data.detection.outputs import Outputs
from sio_data.errors import InputError

_NOTHING = 1e-6  # of the mean length: what rounding leaves of float32 features outside their space


@dataclass
class ViM(Detector):
    """Energy minus a virtual logit: `log sum_c exp z_c - alpha |N'(f - u)|_2`.

    Wang et al., CVPR 2022. `u = -pinv(W) b` is the origin at which the logits vanish. N spans what is left of the
    training features' space (second moments about u) without the `dim` largest eigenvectors, and alpha scales the
    residual to the logits: `mean_train(max z) / mean_train |N'(f - u)|`. Fitted on the training outputs and the head.
    Cost: O(N_train D^2 + D^3) to fit, O(N D (D - dim)) to score.

    Attributes:
        dim: Dimensions of the principal space; below D.
    """

    dim: int = 256

    def __post_init__(self) -> None:
        if self.dim < 1:
            raise InputError(f"vim: dim must be at least 1, not {self.dim}.")

    def _fit(self, train: Outputs | None, val: Outputs | None, head: nn.Linear | None) -> None:
        if train is None or head is None:
            raise InputError(
                "vim is fitted on the outputs of the training images and a linear head: give train= and head=."
            )
        features = train.features.double()
        width = features.shape[1]
        if self.dim >= width:
            raise InputError(
                f"vim: dim={self.dim} leaves nothing of {width} features; give a dim below {width}, "
                f"for instance {width // 2}."
            )
        if tuple(head.weight.shape) != (train.logits.shape[1], width):
            raise InputError(f"vim: a head of shape {list(head.weight.shape)} does not fit {width} features.")
        weight = head.weight.detach().double().to(features.device)
        bias = torch.zeros_like(weight[:, 0]) if head.bias is None else head.bias.detach().double().to(weight.device)
        self._origin = -torch.linalg.pinv(weight) @ bias
        centred = features - self._origin
        _, vectors = torch.linalg.eigh(centred.T @ centred / len(centred))
        self._rest = vectors[:, : width - self.dim]
        residual = (centred @ self._rest).norm(dim=1).mean()
        if residual <= _NOTHING * centred.norm(dim=1).mean():
            raise InputError(
                f"vim: the {len(train)} training features lie in {self.dim} dimensions; give a smaller dim."
            )
        self._scale: torch.Tensor = train.logits.double().amax(1).mean() / residual

    def _score(self, outputs: Outputs) -> torch.Tensor:
        residual: torch.Tensor = ((outputs.features.double() - self._origin) @ self._rest).norm(dim=1)
        return outputs.logits.double().logsumexp(1) - self._scale * residual
