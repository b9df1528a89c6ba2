"""ResNet-18 (He et al. 2016, arXiv 1512.03385), with torchvision's parameter names."""

import torch
from torch import nn

from sio_data.training.networks.base import Network, Stage, init_convolutions


class BasicBlock(nn.Module):
    """Two 3x3 convolutions and a shortcut, which is a 1x1 convolution where the shape changes."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(outputs)
        self.relu = nn.ReLU(inplace=True)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(outputs)
        self.downsample: nn.Module = nn.Identity()
        if stride != 1 or inputs != outputs:
            shortcut = nn.Conv2d(inputs, outputs, 1, stride, bias=False)
            self.downsample = nn.Sequential(shortcut, nn.BatchNorm2d(outputs))

    def forward(self, maps: torch.Tensor) -> torch.Tensor:
        """Give the next maps, float [N, outputs, h / stride, w / stride]."""
        residual = self.bn2(self.conv2(self.relu(self.bn1(self.conv1(maps)))))
        following: torch.Tensor = self.relu(residual + self.downsample(maps))
        return following


class ResNet18At32(Network):
    """ResNet-18 for images of about 32 pixels: the stem is one 3x3 convolution of stride 1, without max-pooling."""

    feature_dim = 512
    smallest_image = 8

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = self.stem()
        self.bn1 = nn.BatchNorm2d(64)
        self.relu = nn.ReLU(inplace=True)
        self.maxpool = self.stem_pool()
        self.layer1 = nn.Sequential(BasicBlock(64, 64, 1), BasicBlock(64, 64, 1))
        self.layer2 = nn.Sequential(BasicBlock(64, 128, 2), BasicBlock(128, 128, 1))
        self.layer3 = nn.Sequential(BasicBlock(128, 256, 2), BasicBlock(256, 256, 1))
        self.layer4 = nn.Sequential(BasicBlock(256, 512, 2), BasicBlock(512, 512, 1))
        init_convolutions(self)

    def stem(self) -> nn.Conv2d:
        """Make the first convolution."""
        return nn.Conv2d(3, 64, 3, padding=1, bias=False)

    def stem_pool(self) -> nn.Module:
        """Make what pools the stem's maps."""
        return nn.Identity()

    def maps(self, images: torch.Tensor) -> torch.Tensor:
        """Give the last feature maps, float [N, 512, h, w], not negative: an eighth of the image's size."""
        last: torch.Tensor = self.layer4(self.layer3(self.layer2(self.layer1(self._first(images)))))
        return last

    def stages(self) -> tuple[Stage, ...]:
        """Give the stem and the four layers."""
        return self._first, self.layer1, self.layer2, self.layer3, self.layer4

    def _first(self, images: torch.Tensor) -> torch.Tensor:
        maps: torch.Tensor = self.maxpool(self.relu(self.bn1(self.conv1(images))))
        return maps


class ResNet18At224(ResNet18At32):
    """ResNet-18 as published and in torchvision, for images of about 224 pixels; its maps are a 32nd of their size."""

    smallest_image = 32

    def stem(self) -> nn.Conv2d:
        """Make the first convolution, 7x7 of stride 2."""
        return nn.Conv2d(3, 64, 7, stride=2, padding=3, bias=False)

    def stem_pool(self) -> nn.Module:
        """Make what pools the stem's maps, by 2."""
        return nn.MaxPool2d(3, stride=2, padding=1)
