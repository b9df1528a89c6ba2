"""Wide residual networks (Zagoruyko & Komodakis 2016, arXiv 1605.07146)."""

import torch
from torch import nn

from sio_data.training.networks.base import Network, Stage, init_convolutions

_BLOCKS = 4  # in each of three groups: (28 - 4) / 6
_WIDTHS = (16, 160, 320, 640)


class PreActivationBlock(nn.Module):
    """Normalisation and ReLU before each of two 3x3 convolutions, and a shortcut, a 1x1 convolution at a new width."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.bn1 = nn.BatchNorm2d(inputs)
        self.relu = nn.ReLU(inplace=True)
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(outputs)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, padding=1, bias=False)
        self.downsample = nn.Conv2d(inputs, outputs, 1, stride, bias=False) if inputs != outputs else None

    def forward(self, maps: torch.Tensor) -> torch.Tensor:
        """Give the next maps, float [N, outputs, h / stride, w / stride]."""
        active = self.relu(self.bn1(maps))
        residual = self.conv2(self.relu(self.bn2(self.conv1(active))))
        following: torch.Tensor = residual + (maps if self.downsample is None else self.downsample(active))
        return following


class WideResNet28x10(Network):
    """WRN-28-10 without dropout, for images of about 32 pixels: 28 layers, ten times as wide as a ResNet."""

    feature_dim = _WIDTHS[-1]
    smallest_image = 4

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, _WIDTHS[0], 3, padding=1, bias=False)
        self.layer1 = _group(_WIDTHS[0], _WIDTHS[1], stride=1)
        self.layer2 = _group(_WIDTHS[1], _WIDTHS[2], stride=2)
        self.layer3 = _group(_WIDTHS[2], _WIDTHS[3], stride=2)
        self.bn1 = nn.BatchNorm2d(self.feature_dim)
        self.relu = nn.ReLU(inplace=True)
        init_convolutions(self)

    def maps(self, images: torch.Tensor) -> torch.Tensor:
        """Give the last feature maps, float [N, 640, h, w], not negative: a quarter of the image's size."""
        return self._last(self.layer2(self.layer1(self.conv1(images))))

    def stages(self) -> tuple[Stage, ...]:
        """Give the first convolution and the three groups, the last one with its normalisation and ReLU."""
        return self.conv1, self.layer1, self.layer2, self._last

    def _last(self, maps: torch.Tensor) -> torch.Tensor:
        last: torch.Tensor = self.relu(self.bn1(self.layer3(maps)))
        return last


def _group(inputs: int, outputs: int, stride: int) -> nn.Sequential:
    rest = (PreActivationBlock(outputs, outputs, 1) for _ in range(_BLOCKS - 1))
    return nn.Sequential(PreActivationBlock(inputs, outputs, stride), *rest)
