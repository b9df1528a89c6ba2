"""Read JSON as frozen dataclasses, by their types, trusting nothing."""

from collections.abc import Mapping
from dataclasses import is_dataclass
from math import isfinite
from types import UnionType
from typing import Any, TypeVar, get_args, get_origin, get_type_hints

Kind = TypeVar("Kind")


def read_typed(kind: type[Kind], value: object) -> Kind:
    """Build a dataclass from a JSON object that has exactly its fields.

    Known types of fields: int, float (finite), str, `X | None`, `tuple[X, ...]`, `Mapping[str, X]` and dataclasses.

    Raises:
        ValueError: A field is missing, too many, or of another type; the message names it.
    """
    built: Kind = _read(kind, value, "")
    return built


def _read(kind: Any, value: object, place: str) -> Any:
    if isinstance(kind, UnionType):
        return None if value is None else _read(get_args(kind)[0], value, place)
    if is_dataclass(kind) and isinstance(value, dict):
        hints = get_type_hints(kind)
        if strange := {*hints} ^ {*value}:
            raise ValueError(f"{place or 'the whole'} lacks or does not know {', '.join(sorted(strange))}")
        return kind(**{name: _read(hint, value[name], f"{place}.{name}".strip(".")) for name, hint in hints.items()})  # type: ignore[operator]
    if get_origin(kind) is tuple and isinstance(value, list):
        return tuple(_read(get_args(kind)[0], item, place) for item in value)
    if get_origin(kind) is Mapping and isinstance(value, dict):
        return {name: _read(get_args(kind)[1], item, f"{place}.{name}") for name, item in value.items()}
    if kind is float and isinstance(value, int | float) and not isinstance(value, bool) and isfinite(value):
        return float(value)
    if kind in (int, str) and type(value) is kind:
        return value
    raise ValueError(f"{place} is {value!r:.40}")
