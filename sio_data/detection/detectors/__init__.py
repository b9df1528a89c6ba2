"""The detectors by name."""

from typing import Any

from sio_data.choices import make_choice
from sio_data.detection.detectors.base import Detector
from sio_data.detection.detectors.knn import KNN
from sio_data.detection.detectors.logits import EBO, MLS, MSP
from sio_data.detection.detectors.vim import ViM

DETECTORS: dict[str, type[Detector]] = {"msp": MSP, "mls": MLS, "ebo": EBO, "knn": KNN, "vim": ViM}


def create(name: str, **parameters: Any) -> Detector:
    """Make a detector.

    Args:
        name: One of `DETECTORS`.
        **parameters: Its parameters; see its class.

    Raises:
        UnknownNameError: There is no such detector, or it has no such parameter.
        InputError: A value is of the wrong type or out of range.
    """
    return make_choice("detector", DETECTORS, name, parameters)
