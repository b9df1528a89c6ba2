"""What an importer reads: labelled images in somebody's files, whatever their format."""

import hashlib
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from sio_data.compilation import SourceFile
from sio_data.errors import InputError
from sio_data.images import Pixels
from sio_data.progress import progress
from sio_data.recipe import Option

Places = npt.NDArray[np.int32]
"""Labels of images, or their places in an archive: four bytes each, because an archive may hold very many."""

_MEBIBYTE = 1 << 20
_MAX_NAME_BYTES = 1 << 12
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\ud800-\udfff]")


class Archive(Protocol):
    """Images with labels, to be read in any order. Opened, its structure and labels are checked, its pixels are not.

    Attributes:
        labels: int32 [N], from 0 on.
        class_names: What the labels stand for; None if the files do not say.
        image_size: Height and width that `read` gives, in pixels.
        rule: How the files are read.
    """

    @property
    def labels(self) -> Places: ...  # noqa: D102  see the class
    @property
    def class_names(self) -> tuple[str, ...] | None: ...  # noqa: D102
    @property
    def image_size(self) -> int: ...  # noqa: D102
    @property
    def rule(self) -> Mapping[str, Option]: ...  # noqa: D102

    def hash(self) -> tuple[SourceFile, ...]:
        """Hash the files, as `settle` does, and check nothing."""
        ...

    def settle(self, scratch: Path | None) -> tuple[SourceFile, ...]:
        """Hash the files and check all that is in them. Must be called before `read`.

        Args:
            scratch: A folder for a file without a name, if something must be unpacked; None means the system's.

        Raises:
            InputError: Something in them is damaged.
            SioDataError: No space is left in the scratch folder.
        """
        ...

    def read(self, places: Places) -> Pixels:
        """Read images.

        Args:
            places: int32 [B], each from 0 to N - 1.

        Returns:
            uint8 [B, H, H, 3], RGB.
        """
        ...

    def describe(self, place: int) -> dict[str, Any]:
        """Say in which file, and where in it, an image is."""
        ...


def hash_files(paths: Iterable[Path]) -> tuple[SourceFile, ...]:
    """Hash files, with a progress bar for each."""
    return tuple(SourceFile(path.name, _hash(path)) for path in paths)


def _hash(path: Path) -> str:
    digest = hashlib.sha256()
    total = -(-path.stat().st_size // _MEBIBYTE)
    with path.open("rb") as file, progress(f"hashing {path.name}, MiB", total) as advance:
        while piece := file.read(_MEBIBYTE):
            digest.update(piece)
            advance(1, "")
    return digest.hexdigest()


def pickled(name: object) -> InputError:
    """Give the error for what only unpickling could read."""
    return InputError(
        f"{name} holds pickled objects, and reading these can run any code, so that it is left alone. If you trust who "
        "made it, load it yourself and save plain arrays: np.savez(path, image=images, label=labels)."
    )


def check_name(name: str, where: object) -> None:
    """Refuse a name that no honest archive has: one that leads out of it, is very long, or holds control characters.

    Raises:
        InputError: It does.
    """
    if name.startswith("/") or ".." in name.split("/"):
        raise InputError(f"{where} holds {name!r}, a path that leads out of it.")
    if len(name.encode(errors="replace")) > _MAX_NAME_BYTES or _CONTROL.search(name):
        raise InputError(f"{where} holds a file of the name {name[:80]!r}, which is too long or no plain UTF-8 text.")


def refuse_doubled_names(paths: Iterable[Path]) -> None:
    """Refuse files that samples could not be traced back to: two of one name.

    Raises:
        InputError: There are.
    """
    names: set[str] = set()
    for path in paths:
        if path.name in names:
            raise InputError(
                f"two sources are called {path.name}; rename one, so that samples can be traced back to it."
            )
        names.add(path.name)
