"""A file for pixels that were packed: it has no name, and is gone when the process ends, however it ends."""

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, cast

from sio_data.errors import SioDataError
from sio_data.files import clear_if_full

_THEN = "Make space and run the same command again."


@contextmanager
def open_scratch(folder: Path | None, size: int) -> Iterator[BinaryIO]:
    """Hold a file without a name open.

    Args:
        folder: On whose disk it is; None means the system's folder for such files.
        size: How many bytes it will hold.

    Raises:
        SioDataError: There is no space for them, or it was gone before all of them were written.
    """
    place = folder or tempfile.gettempdir()
    free = shutil.disk_usage(place).free
    if free < size:
        raise SioDataError(f"unpacking takes {size:,} bytes in {place}, where {free:,} are free. {_THEN}")
    with clear_if_full(f"unpacking in {place}", _THEN), tempfile.TemporaryFile(dir=folder) as file:
        yield cast("BinaryIO", file)
