"""What is to be known of a detector before it is chosen."""

import dataclasses
import inspect
from collections.abc import Mapping
from typing import Any

from sio_data.detection.detectors.base import Detector
from sio_data.detection.detectors.given import Need


@dataclasses.dataclass(frozen=True)
class Description:
    """A detector in words.

    Attributes:
        summary: The first paragraph of its documentation.
        needs: What it is fitted on.
        parameters: Its parameters with their defaults.
        tried: What the parameter search tries; empty if there is nothing to search.
    """

    summary: str
    needs: tuple[Need, ...]
    parameters: Mapping[str, Any]
    tried: str


def describe(detector: type[Detector]) -> Description:
    """Describe a detector."""
    fields = dataclasses.fields(detector)  # type: ignore[arg-type]
    values: dict[str, list[Any]] = {}
    for settings in detector.grid:
        for name, value in settings.items():
            if value not in values.setdefault(name, []):
                values[name].append(value)
    return Description(
        summary=" ".join(inspect.getdoc(detector).split("\n\n")[0].split()),  # type: ignore[union-attr]
        needs=detector.needs,
        parameters={field.name: field.default for field in fields if field.init},
        tried="; ".join(f"{name} {', '.join(map(str, tried))}" for name, tried in values.items()),
    )
