"""Where the shards of a set lie: a folder here or behind a URL, or a repository on the Hub."""

import io
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from threading import Event
from typing import TYPE_CHECKING, Any, Protocol, TypeVar, cast

from sio_data.errors import CorruptSetError, InputError, SioDataError, first_line
from sio_data.files import is_url
from sio_data.hub.names import HubName
from sio_data.texts import redact, url_secrets

if TYPE_CHECKING:
    from huggingface_hub import HfFileSystem

_PAUSES = (1.0, 2.0, 4.0, 8.0)
_LASTING = (FileNotFoundError, PermissionError, IsADirectoryError, NotADirectoryError)

T = TypeVar("T")


class NoSuchFileError(CorruptSetError):
    """A set lacks a file."""


class Store(Protocol):
    """Gives the files of a set."""

    def read(self, path: str, most: int, stop: Event) -> bytes:
        """Read a file whole, or its first `most` bytes.

        Args:
            path: In the set, with forward slashes.
            most: No more bytes than these are taken.
            stop: Once it is set, nothing is tried again.

        Raises:
            NoSuchFileError: It is not there.
            InputError: It does not fit in memory.
            SioDataError: It cannot be read, tried several times.
        """
        ...


@dataclass(frozen=True)
class FolderStore:
    """A set in a folder here, or behind a URL.

    Attributes:
        name: What to call it in messages: a URL may hold a password.
        folder: Where it lies.
    """

    name: str
    folder: Path

    def read(self, path: str, most: int, stop: Event) -> bytes:
        """See `Store`."""
        what = f"{self.name}/{path}"
        try:
            return _try_again(what, partial(self._read, self.folder / path, most), stop, url_secrets(str(self.folder)))
        except FileNotFoundError as error:
            raise NoSuchFileError(f"{what} is missing.") from error

    def _read(self, path: Path, most: int) -> bytes:
        if is_url(path):
            return _read_remote(path, most)
        with path.open("rb") as file:
            return file.read(most)


@dataclass(frozen=True)
class HubStore:
    """A set on the Hub.

    Attributes:
        name: The repository and the commit.
        place: The folder of the set in it; "" is the repository itself.
    """

    name: HubName
    place: str
    _files: "HfFileSystem" = field(default_factory=lambda: _hub_files())

    def read(self, path: str, most: int, stop: Event) -> bytes:
        """See `Store`."""
        from sio_data.hub.caching import inside
        from sio_data.hub.calls import MissingFileError, call, quiet

        path = inside(self.place, path)
        try:
            with quiet():
                return call(f"{self.name}, {path}", partial(self._read, path, most), stop)
        except MissingFileError as error:
            raise NoSuchFileError(f"{self.name}, {path} is missing. Its owner must publish it again.") from error

    def _read(self, path: str, most: int) -> bytes:
        place = f"datasets/{self.name.repository}@{self.name.revision}/{path}"
        with self._files.open(place, "rb", block_size=0) as file:
            return cast("bytes", file.read(most))


def _hub_files() -> "HfFileSystem":
    from huggingface_hub import HfFileSystem, constants

    return HfFileSystem(endpoint=constants.ENDPOINT, skip_instance_cache=True)


def _read_remote(path: Any, most: int) -> bytes:
    if path.protocol not in ("http", "https"):
        return cast("bytes", path.fs.cat_file(path.path, start=0, end=most))
    # A server may give the whole file, however long, to whoever asks for a part. With a size, it is asked but once.
    data = io.BytesIO()
    with path.fs.open(path.path, "rb", block_size=0, size=most) as file:
        while piece := file.read(most - data.tell()):  # as much as has arrived
            data.write(piece)
    return data.getvalue()


def _try_again(what: str, function: Callable[[], T], stop: Event, secrets: Sequence[str]) -> T:
    """Read something, again after a pause if that fails: what lies behind a URL may be out of reach for a moment.

    Raises:
        FileNotFoundError: It is not there.
        InputError: It may not be read, or does not fit in memory.
        SioDataError: It cannot be read, tried several times.
    """
    pauses = iter(_PAUSES)
    while True:
        try:
            return function()
        except (FileNotFoundError, SioDataError):
            raise
        except MemoryError as error:
            raise InputError(f"{what} does not fit in memory.") from error
        except Exception as error:  # each kind of URL has errors of its own
            pause = None if isinstance(error, _LASTING) else next(pauses, None)
            if pause is None:
                raise SioDataError(f"{what} cannot be read ({redact(first_line(error), *secrets)}).") from error
        _wait(pause, stop)


def _wait(seconds: float, stop: Event) -> None:
    """Pause, unless nobody waits any more.

    Raises:
        SioDataError: Nobody does.
    """
    if stop.wait(seconds):
        raise SioDataError("stopped.")
