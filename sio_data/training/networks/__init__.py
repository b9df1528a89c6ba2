"""The networks by name."""

from collections.abc import Callable

from sio_data.errors import UnknownNameError
from sio_data.training.networks.base import Network
from sio_data.training.networks.convnet import ConvNet

NETWORKS: dict[str, Callable[[], Network]] = {"convnet": ConvNet}


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
