"""Things chosen by name, with their parameters: `knn:k=20`, `logitnorm:temperature=0.05`.

What can be chosen are dataclasses in a table; their fields are the parameters.
"""

import dataclasses
import json
from collections.abc import Mapping
from typing import Any, TypeVar

from sio_data.errors import InputError, UnknownNameError

Chosen = TypeVar("Chosen")

_TOO_LARGE = 1 << 63  # for a tensor

_KINDS: dict[type, tuple[type | tuple[type, ...], str]] = {
    int: (int, "a whole number"),
    float: ((int, float), "a number"),
    bool: (bool, "true or false"),
    str: (str, "a text"),
}


def parse_choice(text: str) -> tuple[str, dict[str, Any]]:
    """Read `name` or `name:parameter=value,parameter=value`; numbers, true and false are taken for what they are.

    Raises:
        InputError: A part is not of that form.
    """
    name, _, rest = text.partition(":")
    parameters: dict[str, Any] = {}
    for pair in filter(None, rest.split(",")):
        key, sign, value = pair.partition("=")
        if not key or not sign or not value:
            raise InputError(f"{text!r}: {pair!r} is not of the form parameter=value.")
        try:
            parameters[key] = json.loads(value)
        except ValueError:
            parameters[key] = value
    return name, parameters


def make_choice(kind: str, table: Mapping[str, type[Chosen]], name: str, parameters: Mapping[str, Any]) -> Chosen:
    """Make what was chosen.

    Args:
        kind: What it is, for messages: `detector`.
        table: Dataclasses by name. Their fields are of type int, float, bool or str.
        name: One of them.
        parameters: Values of its fields.

    Raises:
        UnknownNameError: There is none of that name, or it has no such parameter.
        InputError: A value is of the wrong type or out of range.
    """
    if name not in table:
        raise UnknownNameError(kind, name, table)
    types = {field.name: field.type for field in dataclasses.fields(table[name])}  # type: ignore[arg-type]
    values = {parameter: _plain(value) for parameter, value in parameters.items()}
    for parameter, value in values.items():
        if parameter not in types:
            raise UnknownNameError(f"parameter of {name}", parameter, types)
        accepted, meaning = _KINDS[types[parameter]]  # type: ignore[index]
        if not isinstance(value, accepted) or (isinstance(value, bool) and types[parameter] is not bool):
            raise InputError(f"{name}: {parameter} must be {meaning}, not {value!r}.")
        if isinstance(value, int) and abs(value) >= _TOO_LARGE:
            raise InputError(f"{name}: {parameter} is too large.")
    return table[name](**values)


def _plain(value: Any) -> Any:
    """Give a scalar of NumPy as what it is in Python."""
    return value.item() if type(value).__module__ == "numpy" and hasattr(value, "item") else value
