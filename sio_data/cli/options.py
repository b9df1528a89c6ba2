"""Options that several commands share, and the reading of lists."""

from collections.abc import Callable
from typing import Annotated, TypeVar

import typer

from sio_data.errors import InputError

Number = TypeVar("Number")

SOURCE_HELP = "digits, digits-unknown, textures, path/to/folder, path/to/folder#split or hub:owner/name@revision#split."

Device = Annotated[
    str | None, typer.Option(help="cpu, cuda, cuda:1, …", show_default="cuda where there is one", metavar="NAME")
]
ImageSize = Annotated[
    int | None, typer.Option(help="Resize images to this many pixels.", show_default="their size", metavar="PIXELS")
]

SetFolder = Annotated[str, typer.Argument(help="Folder of the set, or a URL like s3://…", metavar="SET")]
Weights = Annotated[
    str | None,
    typer.Option(help="Where the generator's weights are.", show_default="what the set says", metavar="WEIGHTS"),
]
Sampling = Annotated[
    list[str] | None,
    typer.Option(
        help="A sampling option whose recorded value is no path any more, like classifier=FOLDER; repeat it.",
        metavar="KEY=VALUE",
    ),
]


def read_numbers(text: str | None, option: str) -> list[int] | None:
    """Read whole numbers with commas between them.

    Raises:
        InputError: It is something else.
    """
    return _read_list(text, int, f"{option} {text!r} is not a list of whole numbers like 1,2,3.")


def read_decimals(text: str | None, option: str) -> list[float] | None:
    """Read numbers with commas between them.

    Raises:
        InputError: It is something else.
    """
    return _read_list(text, float, f"{option} {text!r} is not a list of numbers like 0.5,0.25.")


def _read_list(text: str | None, read: Callable[[str], Number], message: str) -> list[Number] | None:
    if text is None:
        return None
    try:
        return [read(part) for part in text.split(",")]
    except ValueError as error:
        raise InputError(message) from error


def read_pairs(texts: list[str], option: str) -> dict[str, str]:
    """Read `key=value` texts.

    Raises:
        InputError: One is something else, or a key comes twice.
    """
    pairs: dict[str, str] = {}
    for text in texts:
        key, separator, value = text.partition("=")
        if not separator or not key or key in pairs:
            raise InputError(f"{option} {text!r} is not of the form KEY=VALUE, or comes twice.")
        pairs[key] = value
    return pairs
