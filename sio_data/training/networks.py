"""Feature extractors: normalised images in, one feature vector an image out."""

from collections.abc import Callable

from torch import nn

from sio_data.errors import UnknownNameError


class ConvNet(nn.Sequential):
    """Three 3x3 convolutions of 64, 128 and 512 channels, halving the image twice, then the mean over positions.

    It is small enough to train on a processor. Its 512 features are as many as ResNet-18's, so that detectors run with
    their stock parameters. Input float [N, 3, H, W] with H of at least 8; output float [N, 512], not negative.
    """

    feature_dim = 512
    smallest_image = 8

    def __init__(self) -> None:
        layers: list[nn.Module] = []
        for inputs, outputs, stride in ((3, 64, 1), (64, 128, 2), (128, self.feature_dim, 2)):
            layers += [
                nn.Conv2d(inputs, outputs, 3, stride, padding=1, bias=False),
                nn.BatchNorm2d(outputs),
                nn.ReLU(),
            ]
        super().__init__(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten())


NETWORKS: dict[str, Callable[[], ConvNet]] = {"convnet": ConvNet}


def check_network(name: str) -> None:
    """Refuse an unknown network.

    Raises:
        UnknownNameError: There is none of that name.
    """
    if name not in NETWORKS:
        raise UnknownNameError("network", name, NETWORKS)


def build_network(name: str) -> ConvNet:
    """Build a network with fresh weights.

    Raises:
        UnknownNameError: There is none of that name.
    """
    check_network(name)
    return NETWORKS[name]()
