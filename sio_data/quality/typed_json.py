"""Read JSON as frozen dataclasses, by their types, trusting nothing."""

import sys
from collections.abc import Mapping
from dataclasses import is_dataclass
from types import UnionType
from typing import Any, TypeVar, get_args, get_origin, get_type_hints

Kind = TypeVar("Kind")
_MAX_INT = 2**53  # up to here every reader of JSON keeps whole numbers as they are
_MAX_FLOAT = sys.float_info.max


def read_typed(kind: type[Kind], value: object) -> Kind:
    """Build a dataclass from a JSON object that has exactly its fields.

    Known types of fields: int (from 0 to 2**53), float (finite), str (that UTF-8 can write), `X | None`,
    `tuple[X, ...]`, `Mapping[str, X]` and dataclasses.

    Raises:
        ValueError: A field is missing, too many, of another type or out of range; the message names it.
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
        return {_read(str, name, place): _read(get_args(kind)[1], item, place) for name, item in value.items()}
    if kind is float and isinstance(value, int | float) and not isinstance(value, bool) and abs(value) <= _MAX_FLOAT:
        return float(value)
    if kind is int and type(value) is int and 0 <= value <= _MAX_INT:
        return value
    if kind is str and isinstance(value, str) and _is_text(value):
        return value
    raise ValueError(f"{place} is {value!r:.40}")


def _is_text(value: str) -> bool:
    return not any("\ud800" <= sign <= "\udfff" for sign in value)
