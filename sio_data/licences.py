"""Names of licences, as the Hugging Face Hub writes them."""

import re
from functools import cache
from importlib.resources import files

from sio_data.errors import InputError

_UNKNOWN = ("", "unknown", "none")
_NAME = re.compile(r"[a-z0-9][a-z0-9.+-]{0,95}")


def is_known_licence(licence: str) -> bool:
    """Tell whether anybody stated the terms of something."""
    return licence.strip().lower() not in _UNKNOWN


def check_licence(licence: str) -> str:
    """Give a licence's name in the Hub's writing.

    Raises:
        InputError: It is none: empty, `unknown`, or not made of lower-case letters, digits, `.`, `+` and `-`.
    """
    name = licence.strip().lower()
    if not is_known_licence(name) or not _NAME.fullmatch(name):
        raise InputError(f"licence {licence!r} is no name like cc-by-4.0, apache-2.0, mit or my-own-terms.")
    return name


def licence_metadata(licence: str) -> dict[str, str]:
    """Give what a card's metadata says of a licence: names that the Hub does not know stand as `license_name`."""
    if not is_known_licence(licence):
        return {"license": "unknown"}
    if licence in _hub_names():
        return {"license": licence}
    return {"license": "other", "license_name": licence}


@cache
def _hub_names() -> frozenset[str]:
    """Read the names that a card may give alone: https://huggingface.co/docs/hub/repositories-licenses."""
    return frozenset(files("sio_data").joinpath("licences.txt").read_text(encoding="utf-8").split())
