"""Mappings that come with the package under a name, or stand in a YAML file of one's own."""

from collections.abc import Sequence
from importlib.resources import files
from pathlib import Path
from typing import Any

import yaml

from sio_data.errors import InputError, UnknownNameError, first_line

_ENDINGS = (".yaml", ".yml")
_LARGEST_FILE = 100_000  # bytes


def load_named(kind: str, name: str, known: Sequence[str], package: str, shape: str) -> dict[Any, Any]:
    """Read a mapping; what is in it is not checked.

    Args:
        kind: What it is, for messages: `preset`.
        name: One of `known`, or a file whose name ends in `.yaml` or `.yml`.
        known: The names that come with the package.
        package: Where their files lie.
        shape: How such a mapping looks, for messages: "such as `epochs: 200`".

    Raises:
        UnknownNameError: There is none of that name.
        InputError: There is no such file, or it is no mapping.
    """
    if name in known:
        return _parse(files(package).joinpath(f"{name}.yaml").read_text(encoding="utf-8"), f"{kind} {name}", shape)
    if not name.endswith(_ENDINGS):
        raise UnknownNameError(kind, name, known, "Or name a .yaml file of your own.")
    return _parse(_read(Path(name), f"{kind} {name}"), f"{kind} {name}", shape)


def _read(path: Path, what: str) -> str:
    try:
        if path.stat().st_size > _LARGEST_FILE:
            raise InputError(f"{what} is larger than {_LARGEST_FILE:,} bytes; it must be some other file.")
        return path.read_text(encoding="utf-8")
    except FileNotFoundError as error:
        raise InputError(f"{what}: no such file.") from error
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{what} cannot be read: {first_line(error)}") from error


def _parse(text: str, what: str, shape: str) -> dict[Any, Any]:
    try:
        value = yaml.safe_load(text)
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise InputError(f"{what} is no sound YAML: {' '.join(str(error).split())}") from error
    if not isinstance(value, dict):
        raise InputError(f"{what} must be a mapping {shape}, not {type(value).__name__}.")
    return value
