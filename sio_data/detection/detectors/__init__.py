"""The detectors by name."""

import dataclasses
from typing import Any

from sio_data.detection.detectors.base import Detector
from sio_data.detection.detectors.knn import KNN
from sio_data.detection.detectors.logits import EBO, MLS, MSP
from sio_data.detection.detectors.vim import ViM
from sio_data.errors import InputError, UnknownNameError

DETECTORS: dict[str, type[Detector]] = {"msp": MSP, "mls": MLS, "ebo": EBO, "knn": KNN, "vim": ViM}


def create(name: str, **parameters: Any) -> Detector:
    """Make a detector.

    Args:
        name: One of `DETECTORS`.
        **parameters: Its parameters; see its class.

    Raises:
        UnknownNameError: There is no such detector, or it has no such parameter.
        InputError: A value is out of range.
    """
    if name not in DETECTORS:
        raise UnknownNameError("detector", name, DETECTORS)
    kind = DETECTORS[name]
    types = {field.name: field.type for field in dataclasses.fields(kind)}  # type: ignore[arg-type]
    for parameter, value in parameters.items():
        if parameter not in types:
            raise UnknownNameError(f"parameter of {name}", parameter, types)
        whole = types[parameter] is int
        if isinstance(value, bool) or not isinstance(value, int if whole else int | float):
            raise InputError(f"{name}: {parameter} must be a {'whole ' if whole else ''}number, not {value!r}.")
    return kind(**parameters)
