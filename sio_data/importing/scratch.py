"""A file for pixels that were packed: it has no name, and is gone when the process ends, however it ends."""

import shutil
import tempfile
from pathlib import Path
from typing import BinaryIO, cast

from sio_data.errors import SioDataError


def open_scratch(folder: Path | None, size: int) -> BinaryIO:
    """Open a file without a name.

    Args:
        folder: On whose disk it is; None means the system's folder for such files.
        size: How many bytes it will hold.

    Raises:
        SioDataError: There is no space for them.
    """
    free = shutil.disk_usage(folder or tempfile.gettempdir()).free
    if free < size:
        raise SioDataError(
            f"unpacking takes {size:,} bytes in {folder or tempfile.gettempdir()}, where {free:,} are free. Make space "
            "and run the same command again."
        )
    return cast("BinaryIO", tempfile.TemporaryFile(dir=folder))
