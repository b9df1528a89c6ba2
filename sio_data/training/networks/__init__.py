"""The networks by name."""

from collections.abc import Callable

from sio_data.errors import UnknownNameError
from sio_data.training.networks.base import Network
from sio_data.training.networks.convnet import ConvNet
from sio_data.training.networks.resnet import ResNet18At32, ResNet18At224
from sio_data.training.networks.wide_resnet import WideResNet28x10

NETWORKS: dict[str, Callable[[], Network]] = {
    "convnet": ConvNet,
    "resnet18-32": ResNet18At32,
    "resnet18-224": ResNet18At224,
    "wrn-28-10": WideResNet28x10,
}


def check_network(name: str) -> None:
    """Refuse an unknown network.

    Raises:
        UnknownNameError: There is none of that name.
    """
    if name not in NETWORKS:
        raise UnknownNameError("network", name, NETWORKS)


def build_network(name: str) -> Network:
    """Build a network with fresh weights.

    Raises:
        UnknownNameError: There is none of that name.
    """
    check_network(name)
    return NETWORKS[name]()
