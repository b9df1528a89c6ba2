"""The heads of a classifier: features in, logits out."""

from collections.abc import Callable

from torch import nn

from sio_data.errors import UnknownNameError

HEADS: dict[str, Callable[[int, int], nn.Module]] = {"linear": nn.Linear}


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
