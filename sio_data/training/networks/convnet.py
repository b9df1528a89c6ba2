"""A small network that can be trained on a processor."""

import torch
from torch import nn

from sio_data.training.networks.base import Network, Stage


class ConvNet(Network):
    """Three 3x3 convolutions of 64, 128 and 512 channels, halving the image twice, then the mean over positions.

    Its 512 features are as many as ResNet-18's, so that detectors run with their stock parameters. They are not
    negative.
    """

    feature_dim = 512
    smallest_image = 8

    def __init__(self) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for inputs, outputs, stride in ((3, 64, 1), (64, 128, 2), (128, self.feature_dim, 2)):
            layers += [
                nn.Conv2d(inputs, outputs, 3, stride, padding=1, bias=False),
                nn.BatchNorm2d(outputs),
                nn.ReLU(),
            ]
        self.layers = nn.Sequential(*layers)

    def maps(self, images: torch.Tensor) -> torch.Tensor:
        """Give the last feature maps, float [N, 512, H / 4, H / 4]."""
        maps: torch.Tensor = self.layers(images)
        return maps

    def stages(self) -> tuple[Stage, ...]:
        """Give the three convolutions, each with its normalisation and ReLU."""
        return self.layers[0:3], self.layers[3:6], self.layers[6:9]
