"""The command line that repeats a call: what cards and reports quote."""

import inspect
import re
import shlex
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from sio_data.texts import clean_urls

_PARAMETER = re.compile(r"(?<==)/[^,]*")  # one that is an absolute path


def command_line(command: str, positional: Sequence[str] = (), /, **options: object) -> str:
    """Write a call as the `sio-data` command that repeats it.

    Args:
        command: Name of the command.
        positional: Its arguments.
        **options: Its options. None is left out; True is a flag and False its `--no-` form; a sequence of numbers is
            joined by commas; other sequences and the `key=value` pairs of a mapping repeat the option.
    """
    words = ["sio-data", command, *positional]
    for name, value in options.items():
        flag = name.replace("_", "-")
        if isinstance(value, bool):
            words.append(f"--{flag}" if value else f"--no-{flag}")
        else:
            words += [word for text in _texts(value) for word in (f"--{flag}", text)]
    return shlex.join(words)


def _texts(value: object) -> list[str]:
    if value is None:
        return []
    if isinstance(value, Mapping):
        return [f"{key}={item}" for key, item in value.items()]
    if isinstance(value, list | tuple):
        numbers = all(isinstance(item, int | float) for item in value)
        return [",".join(map(str, value))] if numbers else [str(item) for item in value]
    return [str(value)]


def shown_place(place: str) -> str:
    """Give a place as others may see it: of an absolute path only the last part, after `…/`; a URL without its login.

    A word before it, as in `transformers:/home/me/vit`, stays, and so do parameters' names, as in
    `pixmix:pictures=/home/me/fractals`.
    """
    place = clean_urls(place)
    kind, colon, rest = place.partition(":")
    if colon and kind.isalnum() and rest.startswith("/") and not rest.startswith("//"):
        return f"{kind}:{shown_place(rest)}"
    if colon and kind.isalnum() and "=" in rest:
        return f"{kind}:{_PARAMETER.sub(lambda found: shown_place(found[0]), rest)}"
    path = Path(place)
    return f"…/{path.name}" if path.is_absolute() else place


def changed(function: Callable[..., object], **values: object) -> dict[str, object]:
    """Give the arguments of a call that are not the function's defaults."""
    parameters = inspect.signature(function).parameters
    return {name: value for name, value in values.items() if value != parameters[name].default}
