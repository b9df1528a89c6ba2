"""The heads of a classifier: features in, logits out."""

from collections.abc import Callable
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import nn

from sio_data.errors import UnknownNameError


class CosineHead(nn.Module):
    """The head of Generalised ODIN: `h / g` with `h_c = cos(f, w_c)` and `g = sigmoid(BN(w_g f + b_g))`.

    The cosine divides by norms + 1e-4. See `sio_data.training.methods.godin`.

    Args:
        features: D, what it takes.
        classes: C, what it gives.

    Attributes:
        weight: float [C, D], the directions w_c.
        confidence: The linear layer and the batch normalisation of g.
    """

    without_decay: ClassVar[tuple[str, ...]] = ("weight",)

    def __init__(self, features: int, classes: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(classes, features))
        nn.init.kaiming_normal_(self.weight, nonlinearity="relu")
        self.confidence = nn.Sequential(nn.Linear(features, 1), nn.BatchNorm1d(1))

    def numerator(self, features: torch.Tensor) -> torch.Tensor:
        """Give h, float [N, C], from features, float [N, D]."""
        cosines: torch.Tensor = F.linear(_scaled(features), _scaled(self.weight))
        return cosines

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        """Give the logits, float [N, C], from features, float [N, D]."""
        logits: torch.Tensor = self.numerator(features) / self.confidence(features).sigmoid()
        return logits


def _scaled(rows: torch.Tensor) -> torch.Tensor:
    lengths: torch.Tensor = torch.linalg.vector_norm(rows, dim=1, keepdim=True)
    return rows / (lengths + 1e-4)


HEADS: dict[str, Callable[[int, int], nn.Module]] = {"cosine": CosineHead, "linear": nn.Linear}


def build_head(name: str, features: int, classes: int) -> nn.Module:
    """Build a head with fresh weights.

    A head may name parameters of its own that weight decay must leave alone, in the attribute `without_decay`.

    Args:
        name: One of `HEADS`.
        features: D, what it takes.
        classes: C, what it gives.

    Raises:
        UnknownNameError: There is none of that name.
    """
    if name not in HEADS:
        raise UnknownNameError("head", name, HEADS)
    return HEADS[name](features, classes)
