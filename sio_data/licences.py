"""Names of licences, as the Hugging Face Hub writes them."""

import re

from sio_data.errors import InputError

_UNSTATED = ("", "unknown")
_NAME = re.compile(r"[a-z0-9][a-z0-9.+-]{0,95}")

# https://huggingface.co/docs/hub/repositories-licenses: those that a card may name without further words.
_IDENTIFIERS = frozenset(
    "afl-3.0 agpl-3.0 apache-2.0 apple-amlr apple-ascl artistic-2.0 bigcode-openrail-m bigscience-bloom-rail-1.0 "
    "bigscience-openrail-m bsd bsd-2-clause bsd-3-clause bsd-3-clause-clear bsl-1.0 c-uda cc cc-by-2.0 cc-by-2.5 "
    "cc-by-3.0 cc-by-4.0 cc-by-nc-2.0 cc-by-nc-3.0 cc-by-nc-4.0 cc-by-nc-nd-3.0 cc-by-nc-nd-4.0 cc-by-nc-sa-2.0 "
    "cc-by-nc-sa-3.0 cc-by-nc-sa-4.0 cc-by-nd-4.0 cc-by-sa-3.0 cc-by-sa-4.0 cc0-1.0 cdla-permissive-1.0 "
    "cdla-permissive-2.0 cdla-sharing-1.0 creativeml-openrail-m deepfloyd-if-license ecl-2.0 epl-1.0 epl-2.0 "
    "etalab-2.0 eupl-1.1 gemma gfdl gpl gpl-2.0 gpl-3.0 isc lgpl lgpl-2.1 lgpl-3.0 lgpl-lr llama2 lppl-1.3c mit "
    "mpl-2.0 ms-pl ncsa odbl odc-by ofl-1.1 openrail openrail++ osl-3.0 other pddl postgresql unlicense wtfpl "
    "zlib".split()
)


def is_stated(licence: str) -> bool:
    """Tell whether a text names a licence."""
    return licence.strip().lower() not in _UNSTATED


def check_licence(licence: str) -> str:
    """Give a licence's name in the Hub's writing.

    Raises:
        InputError: It is none: empty, `unknown`, or not made of lower-case letters, digits, `.`, `+` and `-`.
    """
    name = licence.strip().lower()
    if not is_stated(name) or not _NAME.fullmatch(name):
        raise InputError(f"licence {licence!r} is no name like cc-by-4.0, apache-2.0, mit or my-own-terms.")
    return name


def licence_metadata(licence: str) -> dict[str, str]:
    """Give what a card's metadata says of a licence: names that the Hub does not know stand as `license_name`."""
    if licence in _IDENTIFIERS or not is_stated(licence):
        return {"license": licence or "unknown"}
    return {"license": "other", "license_name": licence}
