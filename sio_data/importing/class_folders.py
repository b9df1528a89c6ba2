"""A folder of class folders with pictures, like `cat/001.png` and `dog/001.png`."""

import hashlib
import math
import os
from collections.abc import Iterable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np

from sio_data.compilation import SourceFile
from sio_data.errors import InputError
from sio_data.files import sha256_bytes
from sio_data.images import Pixels
from sio_data.importing.archive import Places, check_name
from sio_data.importing.npy import StoredImages
from sio_data.importing.pictures import EXTENSIONS, MAX_BYTES, Pictures
from sio_data.importing.scratch import open_scratch


class ClassFolders:
    """A folder of class folders; see `sio_data.importing.archive.Archive`.

    Classes come in the order of their names, or of their numbers if all are numbers. Hidden files are left out, and so
    is what lies beside the class folders, if it is no picture.

    Args:
        folder: The folder.
        image_size: Resize to this many pixels; None takes the size of the first picture, which all must have.
        held: Closes a scratch file in the end.

    Raises:
        InputError: It holds anything else, or links that lead out of it.
    """

    def __init__(self, folder: Path, image_size: int | None, held: ExitStack) -> None:
        self._folder, self._held = folder, held
        classes = self._list_classes()
        files = [self._list_pictures(name) for name in classes]
        self.class_names = tuple(classes)
        self._paths = [path for paths in files for path in paths]
        self.labels = np.repeat(np.arange(len(classes), dtype=np.int32), list(map(len, files)))
        self._pictures = Pictures(len(self._paths), self._load, self._name, image_size)
        self.image_size = self._pictures.image_size
        self.rule = {"format": "class folders"}

    def _list_classes(self) -> list[str]:
        entries = self._list(self._folder)
        outside = next((entry.path for entry in entries if _is_picture(entry.name) and not entry.is_dir()), None)
        if outside:
            raise InputError(
                f"{outside} lies in no class folder: {self._folder}/CLASS/{Path(outside).name} is expected."
            )
        classes = [entry.name for entry in entries if entry.is_dir()]
        if not classes:
            raise InputError(f"{self._folder} holds nothing to import: no class folders, .npy, .npz or .tar files.")
        return sorted(classes, key=int) if all(map(str.isdecimal, classes)) else classes

    def _list_pictures(self, name: str) -> list[str]:
        entries = self._list(self._folder / name)
        for entry in entries:
            if entry.is_dir():
                raise InputError(
                    f"{entry.path} is a folder in a class folder. Name the folder that holds the classes: "
                    f"{self._folder / name}?"
                )
            if not _is_picture(entry.name) or not entry.is_file():
                raise InputError(
                    f"{entry.path} is no picture ({', '.join(EXTENSIONS)}). Move it out of the class folder."
                )
        if not entries:
            raise InputError(f"{self._folder / name} holds no picture. Remove the folder if there is no such class.")
        return [f"{name}/{entry.name}" for entry in entries]

    def _list(self, folder: Path) -> list[os.DirEntry[str]]:
        """List what is in a folder and not hidden, by name."""
        with os.scandir(folder) as found:
            entries = sorted((entry for entry in found if not entry.name.startswith(".")), key=lambda entry: entry.name)
        for entry in entries:
            if entry.is_symlink():
                self._check_link(entry.path)
            check_name(entry.name, folder)
        return entries

    def _check_link(self, path: str) -> None:
        try:
            target = Path(path).resolve(strict=True)
        except (OSError, RuntimeError) as error:  # RuntimeError: of a loop, before Python 3.13
            raise InputError(f"{path} is a link that leads nowhere. Remove it.") from error
        if not target.is_relative_to(self._folder.resolve()):
            raise InputError(f"{path} is a link that leads out of {self._folder}. Put what it leads to there.")

    def _load(self, place: int) -> bytes:
        with (self._folder / self._paths[place]).open("rb") as file:
            return file.read(MAX_BYTES + 1)

    def _name(self, place: int) -> str:
        return str(self._folder / self._paths[place])

    def hash(self) -> tuple[SourceFile, ...]:
        """See `Archive`. The hash of a folder is that of the list that `sha256sum` gives of its pictures."""
        return self._hash_list(self._pictures.visit(sha256_bytes))

    def settle(self, scratch: Path | None) -> tuple[SourceFile, ...]:
        """See `Archive`. Each picture is read once: what is hashed is what is unpacked."""
        pixels = self._held.enter_context(open_scratch(scratch, math.prod(self._pictures.shape)))
        sources = self._hash_list(self._pictures.unpack(pixels, sha256_bytes))
        self._images = StoredImages(pixels, 0, self._pictures.shape, str(self._folder))
        return sources

    def _hash_list(self, digests: Iterable[str]) -> tuple[SourceFile, ...]:
        whole = hashlib.sha256()
        for path, digest in zip(self._paths, digests, strict=True):
            whole.update(f"{digest}  {path}\n".encode())
        return (SourceFile(self._folder.resolve().name, whole.hexdigest()),)

    def read(self, places: Places) -> Pixels:
        """See `Archive`."""
        return self._images.read(places)

    def describe(self, place: int) -> dict[str, Any]:
        """See `Archive`."""
        return {"file": self._paths[place]}


def _is_picture(name: str) -> bool:
    return name.rpartition(".")[2].lower() in EXTENSIONS
