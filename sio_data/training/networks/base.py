"""What a network is."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any

import torch
from torch import nn

Stage = Callable[[torch.Tensor], torch.Tensor]


class Network(nn.Module, ABC):
    """A feature extractor: normalised images in, one feature vector an image out.

    Attributes:
        feature_dim: D, how many features it gives.
        smallest_image: The smallest height and width that it takes, in pixels.
        config_entries: What a checkpoint's `config.json` holds to rebuild it, where its name does not say all.
    """

    feature_dim: int
    smallest_image: int = 1
    config_entries: Mapping[str, Any] = MappingProxyType({})

    @abstractmethod
    def maps(self, images: torch.Tensor) -> torch.Tensor:
        """Give the last feature maps, float [N, D, h, w].

        Args:
            images: float [N, 3, H, H], normalised.
        """

    def stages(self) -> tuple[Stage, ...]:
        """Give the steps from normalised images to the last maps, each from the maps of the one before.

        One after the other they are `maps`. The first step is the stem; a network that cannot be cut is one step.
        """
        return (self.maps,)

    def pool(self, maps: torch.Tensor) -> torch.Tensor:
        """Pool feature maps, float [N, D, h, w], to features, float [N, D]: the mean over positions."""
        return maps.mean((2, 3))

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Give the pooled features, float [N, D]; for the images see `maps`."""
        return self.pool(self.maps(images))


def init_convolutions(network: nn.Module) -> None:
    """Draw the weights of all convolutions as He et al. 2015 (arXiv 1502.01852) and torchvision do for ResNets."""
    for module in network.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
