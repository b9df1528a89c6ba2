"""Tiny real classifiers and images for tests of detectors that look at the network."""

from collections.abc import Mapping

import torch
from torch import nn

from sio_data import Classifier
from sio_data.detection import Outputs, compute_outputs
from sio_data.image_set import ImageSet
from sio_data.training.networks.base import Network, Stage

CLASSES = ("one", "two", "three")


class TinyNetwork(Network):
    """Two stages: a convolution to four channels, and one to six at half the size. Both end in a ReLU in place."""

    feature_dim = 6

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), nn.BatchNorm2d(4), nn.ReLU(inplace=True)),
            nn.Sequential(nn.Conv2d(4, 6, 3, stride=2, padding=1), nn.ReLU(inplace=True)),
        )

    def maps(self, images: torch.Tensor) -> torch.Tensor:
        maps: torch.Tensor = self.layers(images)
        return maps

    def stages(self) -> tuple[Stage, ...]:
        return self.layers[0], self.layers[1]


def make_classifier(seed: int = 0, head: str = "linear", side_heads: Mapping[str, int] | None = None) -> Classifier:
    """Make a classifier of three classes, eight pixels, and a std of its own for each channel; the name is in NETWORKS.

    See the fixture `tiny_network`.
    """
    torch.manual_seed(seed)
    made = Classifier("tiny", CLASSES, 8, [0.4, 0.5, 0.6], [0.2, 0.25, 0.3], head, side_heads)
    for module in made.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.running_mean, -0.5, 0.5)
            nn.init.uniform_(module.weight, 0.5, 1.5)
    return made.eval()


def make_images(count: int, seed: int = 0) -> ImageSet:
    """Make images that are brighter in the channel of their class."""
    generator = torch.Generator().manual_seed(seed)
    labels = torch.arange(count) % 3
    pixels = torch.randint(0, 120, (count, 3, 8, 8), generator=generator)
    pixels[torch.arange(count), labels] += 120
    return ImageSet(pixels.to(torch.uint8), labels, CLASSES)


def make_outputs(classifier: Classifier, count: int, seed: int = 0) -> Outputs:
    """Make the outputs of such images."""
    return compute_outputs(classifier, make_images(count, seed))
