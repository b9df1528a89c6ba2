"""Where the samples of tars lie, in some tens of bytes each: a set of millions must fit in memory."""

import json
import os
from array import array
from collections.abc import Mapping
from dataclasses import dataclass
from typing import IO, Any

import numpy as np

from sio_data.errors import InputError
from sio_data.files import canonical_json
from sio_data.importing.archive import Places
from sio_data.importing.tar_index import Member

_NO_JSON = -1


@dataclass(frozen=True)
class Sample:
    """Adjacent files of one name in a tar.

    Attributes:
        key: The name, up to its first dot.
        members: The files, by extension.
    """

    key: str
    members: dict[str, Member]


class SampleTable:
    """Samples with a picture, a label as text, and perhaps a JSON file, in the order in which they were added."""

    def __init__(self) -> None:
        self._tars, self._labels = array("i"), array("i")
        self._images, self._jsons = array("q"), array("q")  # start and size of each
        self._keys, self._key_ends = bytearray(), array("q", [0])
        self._texts: dict[str, int] = {}

    def __len__(self) -> int:
        return len(self._tars)

    def add(self, tar: int, sample: Sample, image: str, label: str) -> None:
        """Add a sample of the tar of that number; `image` is the extension of its picture."""
        about = sample.members.get("json")
        self._tars.append(tar)
        self._labels.append(self._texts.setdefault(label, len(self._texts)))
        self._images.extend((sample.members[image].start, sample.members[image].size))
        self._jsons.extend((about.start, about.size) if about else (_NO_JSON, 0))
        self._keys += sample.key.encode()
        self._key_ends.append(len(self._keys))

    def tar(self, place: int) -> int:
        """Give the number of a sample's tar."""
        return self._tars[place]

    def key(self, place: int) -> str:
        """Give a sample's key."""
        return self._keys[self._key_ends[place] : self._key_ends[place + 1]].decode()

    def image(self, place: int) -> tuple[int, int]:
        """Say where in its tar a sample's picture begins, and how many bytes it has."""
        return self._images[2 * place], self._images[2 * place + 1]

    def json(self, place: int) -> Member | None:
        """Say where a sample's JSON is, if it has any."""
        start, size = self._jsons[2 * place : 2 * place + 2]
        return None if start == _NO_JSON else Member(f"{self.key(place)}.json", start, size)

    def index_labels(self) -> tuple[Places, tuple[str, ...] | None]:
        """Turn labels into numbers: as they are, if all are numbers; otherwise as places in the sorted list of names.

        Returns:
            Labels, int32 [N], and the list of names, if they are names.

        Raises:
            InputError: Some are numbers and some are not, or they are no whole numbers from 0 on.
        """
        texts = list(self._texts)
        codes = np.frombuffer(self._labels, np.int32)
        if all(map(_is_label, texts)):
            return np.array([int(text) for text in texts], np.int32)[codes], None
        wrong = next((text for text in texts if _is_number(text)), None)
        if wrong is not None:
            raise InputError(f"labels must all be whole numbers from 0 on, or all names, not like {wrong[:40]!r}.")
        names = sorted(texts)
        places = {name: place for place, name in enumerate(names)}
        return np.array([places[text] for text in texts], np.int32)[codes], tuple(names)


def _is_label(text: str) -> bool:
    return text.isascii() and text.isdecimal() and len(text) < 10


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def read_text(file: IO[bytes], member: Member, most: int) -> str:
    """Read a short text without the white space around it; an empty one if it is too long or no UTF-8."""
    try:
        return _read(file, member, most).decode().strip()
    except ValueError:
        return ""


def read_json_object(file: IO[bytes], member: Member | None, most: int) -> Mapping[str, Any] | None:
    """Read a JSON object that can be written again as it is; None if there is none, or it is too large."""
    try:
        value = json.loads(_read(file, member, most)) if member else None
        written = canonical_json(value)
        json.dumps(value, ensure_ascii=False).encode()  # fails if it holds half a character
    except (RecursionError, ValueError):
        return None
    return value if isinstance(value, dict) and len(written) <= most else None


def _read(file: IO[bytes], member: Member, most: int) -> bytes:
    if member.size > most:
        raise ValueError(f"{member.name} is too large")
    return os.pread(file.fileno(), member.size, member.start)
