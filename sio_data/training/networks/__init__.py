"""The networks by name.

`transformers:FOLDER` and `transformers:OWNER/NAME@REVISION` are image classifiers of that library. They start from
their pretrained weights, with a fresh head.
"""

from collections.abc import Mapping
from typing import Any

from sio_data.errors import InputError, UnknownNameError
from sio_data.recipe import MAX_IMAGE_SIZE
from sio_data.training.networks.base import Network
from sio_data.training.networks.convnet import ConvNet
from sio_data.training.networks.pretrained import (
    PREFIX,
    load_pretrained_network,
    read_normalisation,
    rebuild_pretrained_network,
)
from sio_data.training.networks.resnet import ResNet18At32, ResNet18At224
from sio_data.training.networks.wide_resnet import WideResNet28x10

NETWORKS: dict[str, type[Network]] = {
    "convnet": ConvNet,
    "resnet18-32": ResNet18At32,
    "resnet18-224": ResNet18At224,
    "wrn-28-10": WideResNet28x10,
}


def check_network(name: str) -> None:
    """Refuse an unknown network. Nothing is loaded: whether there is such a pretrained one shows when it is built.

    Raises:
        UnknownNameError: There is none of that name.
    """
    if name not in NETWORKS and not (name.startswith(PREFIX) and name != PREFIX):
        raise UnknownNameError("network", name, [*NETWORKS, f"{PREFIX}NAME_OR_FOLDER"])


def build_network(name: str, image_size: int, network_config: Mapping[str, Any] | None = None) -> Network:
    """Build a network: with fresh weights, or with those of a pretrained one.

    Args:
        name: Of the network.
        image_size: Height and width of the images that it is to take.
        network_config: Of a pretrained network, to rebuild it without its folder and with fresh weights; see
            `Network.config_entries`.

    Raises:
        UnknownNameError: There is none of that name.
        InputError: It does not take images of that size; or it is a pretrained one whose files are unsound.
    """
    check_network(name)
    smallest = NETWORKS[name].smallest_image if name in NETWORKS else 1
    if type(image_size) is not int or not smallest <= image_size <= MAX_IMAGE_SIZE:
        raise InputError(f"{name} takes images of {smallest} to {MAX_IMAGE_SIZE} pixels, not {image_size!r}.")
    if name in NETWORKS:
        return NETWORKS[name]()
    if network_config is None:
        return load_pretrained_network(name, image_size)
    return rebuild_pretrained_network(name, image_size, network_config)


def own_normalisation(name: str) -> tuple[list[float], list[float]] | None:
    """Give the mean and the std that a pretrained network expects, per channel, of images in [0, 1].

    Returns:
        None if the network is none, or does not say.

    Raises:
        InputError: There is no such pretrained network, or what it says is no normalisation.
    """
    return read_normalisation(name) if name.startswith(PREFIX) else None
