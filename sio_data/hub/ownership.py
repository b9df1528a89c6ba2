"""Whose a repository on the Hub is: only one of ours, or one that holds nothing yet, may be changed."""

import re
from collections.abc import Iterable, Mapping
from pathlib import Path

from huggingface_hub.hf_api import RepoFile

from sio_data.errors import InputError
from sio_data.files import read_json
from sio_data.hub.downloads import check_size, download
from sio_data.hub.names import HubName
from sio_data.manifest import MANIFEST, is_manifest
from sio_data.recovery import CARD
from sio_data.runs import CONFIG
from sio_data.set_card import NOTES_MARK
from sio_data.training.checkpoint import is_config

_KNOWN = {MANIFEST: is_manifest, CONFIG: is_config}
_BLANK_CARD = re.compile(r"\s*(---\s*\n.*?^---)?\s*", re.DOTALL | re.MULTILINE)


def find_foreign(name: HubName, kind: str, remote: Mapping[str, RepoFile], markers: Iterable[str]) -> str | None:
    """Find a file that shows that a repository is not ours to change.

    Args:
        name: Repository and commit.
        kind: `dataset` or `model`.
        remote: Its files.
        markers: The files whose content tells ours: `sio.json` of sets, `config.json` of a checkpoint.

    Returns:
        Its path; None if the repository is ours, or holds at most the card that the Hub gives to a new one.

    Raises:
        SioDataError: The Hub cannot be reached.
    """
    there = [marker for marker in markers if marker in remote]
    if there:
        return next((marker for marker in there if not is_ours(_fetch(name, kind, remote, marker))), None)
    found = [path for path in remote if path != ".gitattributes"]
    if found == [CARD]:
        return None if _is_card_of_ours(_fetch(name, kind, remote, CARD)) else CARD
    return next((path for path in found if path != CARD), None)


def is_ours(place: Path) -> bool:
    """Tell by its keys whether a file is the `sio.json` of a set, or the `config.json` of a checkpoint."""
    try:
        return _KNOWN[place.name](read_json(place))
    except InputError:
        return False


def _is_card_of_ours(place: Path) -> bool:
    text = place.read_text(encoding="utf-8", errors="replace")
    return NOTES_MARK in text or bool(_BLANK_CARD.fullmatch(text))


def _fetch(name: HubName, kind: str, remote: Mapping[str, RepoFile], path: str) -> Path:
    check_size(name, path, remote[path].size)
    return download(name, kind, path)
