"""What a detector is fitted on."""

from dataclasses import dataclass
from typing import Literal, TypeVar

import torch
from torch import nn

from sio_data.detection.outputs import Outputs
from sio_data.errors import InputError
from sio_data.training.checkpoint import Classifier

Need = Literal["train", "train labels", "val", "val labels", "head", "network"]
Value = TypeVar("Value")


@dataclass(frozen=True)
class Head:
    """A linear layer from features to logits.

    Attributes:
        weight: W, float64 [C, D].
        bias: b, float64 [C].
    """

    weight: torch.Tensor
    bias: torch.Tensor

    @classmethod
    def of(cls, layer: nn.Linear, device: torch.device) -> "Head":
        """Take the weights out of a layer; one without a bias has a bias of zeros."""
        weight = layer.weight.detach().clone().double().to(device)
        bias = torch.zeros_like(weight[:, 0]) if layer.bias is None else layer.bias.detach().clone().double().to(device)
        return cls(weight, bias)

    def logits(self, features: torch.Tensor) -> torch.Tensor:
        """Give the logits, float64 [N, C], of features, float64 [N, D]."""
        return features @ self.weight.T + self.bias

    def energy(self, features: torch.Tensor) -> torch.Tensor:
        """Give `log sum_c exp z_c`, float64 [N], of the logits of features, float64 [N, D]."""
        return self.logits(features).logsumexp(1)


class Given:
    """What a detector is fitted on. Whatever it asks for and was not given is an error that says so.

    Attributes:
        shape: How many logits and features whatever was asked for has; None before.
        device: Where the outputs lie that were asked for first; the others are moved there. None before.
    """

    def __init__(
        self,
        detector: str,
        train: Outputs | None,
        val: Outputs | None,
        head: nn.Linear | None,
        network: Classifier | None,
    ) -> None:
        if network is not None and not isinstance(network, Classifier):
            raise InputError(f"{detector}: network must be a Classifier of this package, not {_kind(network)}.")
        if head is None and network is not None and isinstance(network.head, nn.Linear):
            head = network.head
        self._detector = detector
        self._outputs = {"train": train, "val": val}
        self._head, self._network = head, network
        self.shape: tuple[int, int] | None = None
        self.device: torch.device | None = None

    @property
    def train(self) -> Outputs:
        """Outputs of the training images."""
        return self._give("train", "the outputs of the training images")

    @property
    def val(self) -> Outputs:
        """Outputs of the validation images."""
        return self._give("val", "the outputs of the validation images")

    @property
    def head(self) -> Head:
        """The network's last layer, on the device of the outputs."""
        layer = self._require(self._head, "a linear head", "head=")
        if not isinstance(layer, nn.Linear):
            raise InputError(f"{self._detector}: head must be a torch.nn.Linear, not {_kind(layer)}.")
        classes, width = layer.weight.shape
        self._check_shape((classes, width), "a head")
        head = Head.of(layer, self.device or layer.weight.device)
        if not (torch.isfinite(head.weight).all() and torch.isfinite(head.bias).all()):
            raise InputError(f"{self._detector}: the head holds NaN or infinite weights.")
        return head

    @property
    def network(self) -> Classifier:
        """The network itself."""
        return self._require(self._network, "the network", "network=")

    def check(self, needs: tuple[Need, ...]) -> None:
        """Refuse what lacks something.

        Raises:
            InputError: Something needed was not given, does not fit the rest, or a label is missing or out of range.
        """
        for need in needs:
            outputs = getattr(self, need.split()[0])
            if need.endswith("labels"):
                self._check_labels(outputs, need)

    def _give(self, split: str, what: str) -> Outputs:
        outputs = self._require(self._outputs[split], what, f"{split}=")
        self._check_shape((outputs.logits.shape[1], outputs.features.shape[1]), what)
        self.device = self.device or outputs.logits.device
        self._outputs[split] = outputs.to(self.device)
        return outputs.to(self.device)

    def _check_shape(self, shape: tuple[int, int], what: str) -> None:
        if self.shape not in (None, shape):
            found = "{} logits and {} features".format
            raise InputError(
                f"{self._detector}: {what} of {found(*shape)} and others of {found(*self.shape)} do not fit."
            )
        self.shape = shape

    def _check_labels(self, outputs: Outputs, need: str) -> None:
        classes = outputs.logits.shape[1]
        if outputs.labels.min() < 0 or outputs.labels.max() >= classes:
            raise InputError(f"{self._detector} is fitted on the {need}, which must be from 0 to {classes - 1}.")

    def _require(self, value: Value | None, what: str, argument: str) -> Value:
        if value is None:
            raise InputError(f"{self._detector} is fitted on {what}: give {argument}.")
        return value


def _kind(value: object) -> str:
    return type(value).__name__
