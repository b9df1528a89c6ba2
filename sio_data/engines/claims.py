"""Claims through locked files: two runs on one folder share the work, or one is refused."""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from sio_data.errors import FolderInUseError
from sio_data.files import is_url


class Claim:
    """The right to make one shard. It ends with the process that holds it, however that ends.

    Args:
        descriptor: Of the locked file; None claims nothing.
    """

    def __init__(self, descriptor: int | None) -> None:
        self._descriptor = descriptor

    def __enter__(self) -> "Claim":
        return self

    def __exit__(self, *_: object) -> None:
        self.release()

    def release(self) -> None:
        """Let others claim it."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None


def claim(path: Path, wait: bool, shared: bool = False) -> Claim | None:
    """Claim a shard through a lock on a file.

    Where there are no such locks (behind a URL, on some network file systems) everybody gets a claim: a shard may then
    be made twice, which costs time and nothing else, because both makers write the same bytes in one step.

    Args:
        path: The file; made if it is missing.
        wait: Whether to wait for whoever has it.
        shared: Whether others may have it too, if they share it as well.

    Returns:
        The claim, or None if somebody else has it, or has completed the set and tidied up.
    """
    if is_url(path):
        return Claim(None)
    try:
        descriptor = os.open(path, os.O_CREAT | os.O_RDWR, 0o644)
    except FileNotFoundError:
        return None
    try:
        fcntl.flock(descriptor, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | (0 if wait else fcntl.LOCK_NB))
    except BlockingIOError:
        os.close(descriptor)
        return None
    except OSError:  # this file system has no locks
        os.close(descriptor)
        return Claim(None)
    if not _is_there(path, descriptor):
        os.close(descriptor)
        return None
    return Claim(descriptor)


def _is_there(path: Path, descriptor: int) -> bool:
    """Tell whether a lock holds: whoever had it before may have deleted the file, and others lock a new one."""
    try:
        return os.path.samestat(os.fstat(descriptor), path.stat())
    except FileNotFoundError:
        return False


@contextmanager
def sole_writer(place: Path) -> Iterator[None]:
    """Be the only one who writes a file or folder; the lock is a hidden file beside it, gone afterwards.

    Raises:
        FolderInUseError: Somebody else is writing it.
    """
    lock = place.with_name(f".{place.name}.lock")
    mine = claim(lock, wait=False)
    if mine is None:
        raise FolderInUseError(f"another run is writing {place} just now; wait for it, or name another folder.")
    with mine:
        try:
            yield
        finally:
            if not is_url(lock):
                lock.unlink(missing_ok=True)
