"""The members of a tar, by offset: nothing is extracted, and nothing that the tar says is believed unseen."""

import tarfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, cast

from sio_data.errors import InputError
from sio_data.importing.archive import check_name

_MAX_HEADER_BYTES = 1 << 20
_COMPRESSED = {b"\x1f\x8b": "gzip", b"\xfd7zXZ\0": "xz", b"\x28\xb5\x2f\xfd": "zstd", b"BZh": "bzip2"}
_TAR_ERRORS = (tarfile.TarError, EOFError, OverflowError, RecursionError, ValueError)


@dataclass(frozen=True)
class Member:
    """A file in a tar.

    Attributes:
        name: Its path in there, which leads nowhere else.
        start: Where its bytes begin.
        size: How many there are.
    """

    name: str
    start: int
    size: int


def list_members(path: Path, file: IO[bytes]) -> Iterator[Member]:
    """List the files in a tar, in order.

    Args:
        path: What to call it in messages.
        file: The tar.

    Raises:
        InputError: It is no sound tar, was cut off, or holds links, devices or paths that lead out of it.
    """
    size = file.seek(0, 2)
    file.seek(0)
    try:
        headers = cast("IO[bytes]", _HeaderReader(path, file))
        with tarfile.open(fileobj=headers, mode="r:", encoding="utf-8", errors="strict") as tar:
            last = 0
            while (member := tar.next()) is not None:
                tar.members.clear()  # type: ignore[attr-defined]  # they would all be kept
                if tar.offset <= last:  # a negative size, by which some versions of tarfile run in a circle
                    raise InputError(f"{path} is no sound tar: it leads back into itself.")
                last = tar.offset
                if not member.isdir():
                    yield _check(path, member, size)
            _check_end(path, file, tar.offset)
    except _TAR_ERRORS as error:
        file.seek(0)
        start = file.read(max(map(len, _COMPRESSED)))
        kind = next((kind for magic, kind in _COMPRESSED.items() if start.startswith(magic)), None)
        what = f"is compressed by {kind}. Unpack it first" if kind else f"is no sound tar ({error})"
        raise InputError(f"{path} {what}.") from error


class _HeaderReader:
    """The file as `tarfile` sees it, which reads headers alone and would read as much as one of them declares."""

    def __init__(self, path: Path, file: IO[bytes]) -> None:
        self._path, self._file = path, file
        self.seek, self.tell = file.seek, file.tell

    def read(self, size: int) -> bytes:
        if not 0 <= size <= _MAX_HEADER_BYTES:
            raise InputError(f"{self._path} holds a header of {size:,} bytes: it is no sound tar.")
        return self._file.read(size)


def _check(path: Path, member: tarfile.TarInfo, size: int) -> Member:
    name = member.name
    if not member.isreg() or member.issparse():
        raise InputError(
            f"{path} holds {name!r}, which is a link, a device or a sparse file. Only plain files may be there."
        )
    check_name(name, path)
    if member.offset_data + member.size > size:
        raise InputError(f"{path} was cut off: {name} should have {member.size:,} bytes.")
    return Member(name, member.offset_data, member.size)


def _check_end(path: Path, file: IO[bytes], offset: int) -> None:
    """Check that a tar ends where it says so: `tarfile` takes whatever it cannot read for the end."""
    file.seek(offset)
    end = file.read(_MAX_HEADER_BYTES)
    if len(end) < tarfile.BLOCKSIZE or end.strip(b"\0"):
        raise InputError(f"{path} was cut off or is damaged: its end is not where its members end.")
