"""Lists of pictures as OpenOOD has them: a text file of lines `path label`, and the pictures in a folder elsewhere.

In OpenOOD's layout the lists lie in `data/benchmark_imglist/<set>/`, the pictures in `data/images_classic/` and
`data/images_largescale/`. A label is an index of a class, or -1 for none.
"""

import hashlib
import os
import stat
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath

import numpy as np
import torch

from sio_data.errors import ClassMapError, InputError, UnknownNameError, first_line
from sio_data.image_set import UNLABELLED, ImageSet
from sio_data.importing.pictures import MAX_BYTES, Pictures
from sio_data.mapped import map_images

PICTURE_FOLDERS = ("images_classic", "images_largescale")
_LARGEST_LIST = 1 << 30  # bytes; that of ImageNet has a tenth
_LONGEST_LINE = 1 << 13  # characters; a path has at most half
_LEVELS = 3  # folders that may hold the pictures: the list's own and two above it


def is_image_list(source: str) -> bool:
    """Tell whether a source's name is that of a list: a text file."""
    return source.endswith(".txt") and not Path(source).is_dir()


@dataclass(frozen=True)
class ImageList:
    """A list that was read; no picture was yet.

    Attributes:
        path: The list.
        pictures: Paths of the pictures below their root.
        labels: int64 [N], indices into `class_names`; -1 for none.
        class_names: The class map; empty if no picture has a label.
    """

    path: Path
    pictures: tuple[str, ...]
    labels: torch.Tensor
    class_names: tuple[str, ...]

    @classmethod
    def read(cls, path: str | Path, class_names: Sequence[str] | None = None, *, labelled: bool = True) -> "ImageList":
        """Read a list.

        Args:
            path: The list.
            class_names: Names of the labels, in their order. None takes the folders' names, if each folder of pictures
                has a label of its own.
            labelled: Whether labels are needed; without them all are -1.

        Raises:
            InputError: There is no such list, a line of it is none, or its labels have no names.
            ClassMapError: A label is outside the class names.
        """
        rows = list(_read_lines(Path(path)))
        if not rows:
            raise InputError(f"{path} holds no image.")
        pictures, numbers = zip(*rows, strict=True)
        labels = torch.tensor(numbers)
        if not labelled or bool((labels == UNLABELLED).all()):
            return cls(Path(path), pictures, torch.full_like(labels, UNLABELLED), ())
        names = _folder_names(Path(path), rows) if class_names is None else tuple(class_names)
        if int(labels.max()) >= len(names):
            raise ClassMapError(f"{path}: label {int(labels.max())} is outside the class map of {len(names)} classes.")
        return cls(Path(path), pictures, labels, names)

    @property
    def name(self) -> str:
        """What to call it in messages."""
        return str(self.path)

    def select(self, rows: Sequence[int]) -> "ImageList":
        """Give some of the pictures, by their places."""
        return replace(self, pictures=tuple(self.pictures[row] for row in rows), labels=self.labels[list(rows)])

    def load(self, image_size: int | None, *, mapped: bool = False) -> ImageSet:
        """Read the pictures.

        Args:
            image_size: Resize to this many pixels (the middle square); None keeps the size, which all must share.
            mapped: Whether they are decoded once, into a file of the cache that is mapped into memory.

        Raises:
            InputError: Pictures are missing, lie outside their root, or cannot be read.
        """
        root = _find_root(self.path, self.pictures[0])
        state = _look_at(self.path, root, self.pictures)
        paths = [root / picture for picture in self.pictures]
        pictures = Pictures(len(paths), lambda at: _read(paths[at]), lambda at: str(paths[at]), image_size)
        if mapped:
            decoded = map_images(
                ["list", state, pictures.image_size],
                lambda: zip(pictures.decode(f"decoding {self.name}"), self.labels.tolist(), strict=True),
                self.class_names,
                self.name,
            )
            return replace(decoded, labels=self.labels)
        count, height, width, channels = pictures.shape
        pixels = np.empty((count, channels, height, width), np.uint8)
        for place, picture in enumerate(pictures.decode(f"reading {self.name}")):
            pixels[place] = picture.transpose(2, 0, 1)
        return ImageSet(torch.from_numpy(pixels), self.labels, self.class_names, self.name)


def rows_without(images: ImageList | ImageSet, names: Collection[str]) -> list[int]:
    """Give the places of the images that are of none of some classes.

    Raises:
        UnknownNameError: There is no class of such a name.
        InputError: No image is left.
    """
    unknown = next((name for name in names if name not in images.class_names), None)
    if unknown is not None:
        raise UnknownNameError(f"class of {images.name}", unknown, images.class_names)
    out = torch.tensor([name in names for name in images.class_names] + [False])  # the last is for the label -1
    rows: list[int] = torch.nonzero(~out[images.labels.cpu()]).flatten().tolist()
    if not rows:
        raise InputError(f"{images.name} holds no image but of the classes left out.")
    return rows


def _read_lines(path: Path) -> Iterator[tuple[str, int]]:
    """Give the path and the label of each line that is not empty."""
    try:
        found = path.stat()
        if not stat.S_ISREG(found.st_mode):
            raise InputError(f"{path} cannot be read as a list of images: it is no regular file.")
        if found.st_size > _LARGEST_LIST:
            raise InputError(f"{path} has more than {_LARGEST_LIST:,} bytes; it is no list of images.")
        with path.open(encoding="utf-8") as file:
            for number, line in enumerate(iter(lambda: file.readline(_LONGEST_LINE + 1), ""), 1):
                if len(line) > _LONGEST_LINE:
                    raise InputError(f"{path}, line {number} has more than {_LONGEST_LINE:,} characters.")
                if line.strip():
                    yield _parse_line(line.strip(), f"{path}, line {number}")
    except FileNotFoundError as error:
        raise InputError(
            f"{path}: there is no such list of images. OpenOOD's are in its download benchmark_imglist.zip, those of "
            "ImageNet-10 and ImageNet-dogs in the SIO repository."
        ) from error
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path} cannot be read as a list of images: {first_line(error)}.") from error


def _parse_line(line: str, where: str) -> tuple[str, int]:
    picture, _, label = line.rpartition(" ")
    picture = picture.strip()
    digits = label.removeprefix("-")
    if not picture or not (digits.isascii() and digits.isdigit()) or len(digits) > 9 or int(label) < UNLABELLED:
        raise InputError(f"{where}: {line[:80]!r} is not of the form `path label`, the label a class index or -1.")
    pure = PurePosixPath(picture)
    if pure.is_absolute() or ".." in pure.parts or "\0" in picture:
        raise InputError(f"{where}: {picture[:80]!r} leads out of the folder of pictures.")
    return picture, int(label)


def _folder_names(path: Path, rows: Sequence[tuple[str, int]]) -> tuple[str, ...]:
    """Name each label by the folder of its pictures."""
    folders: dict[int, set[str]] = {}
    for picture, label in rows:
        folders.setdefault(label, set()).add(PurePosixPath(picture).parent.name)
    names = [next(iter(folders[label])) for label in sorted(folders) if len(folders[label]) == 1]
    if sorted(folders) != list(range(len(names))) or len({*names}) != len(names):
        raise InputError(
            f"{path}: its labels have no names, and its pictures do not lie in one folder for each label. "
            "Give class names, or name the list in a benchmark file, with `classes`."
        )
    return tuple(names)


def _find_root(path: Path, first: str) -> Path:
    """Give the folder that holds the first picture; or else the one that holds its folder."""
    above = [path.absolute().parent, *path.absolute().parents[1:_LEVELS]]
    places = [folder / name for name in (*PICTURE_FOLDERS, "") for folder in above]
    top = PurePosixPath(first).parts[0]
    candidates = [place for place in places if (place / first).exists()]
    candidates += [place for place in places if place.name in PICTURE_FOLDERS and (place / top).is_dir()]
    if candidates:
        return candidates[0]
    likely = [above[-1] / name for name in PICTURE_FOLDERS]
    there = [place for place in places if place.name in PICTURE_FOLDERS and place.is_dir()]
    raise InputError(
        f"{path}: its first picture, {first}, is not in {' or '.join(map(str, there or likely))}. "
        "OpenOOD's layout has data/images_classic/ and data/images_largescale/ beside data/benchmark_imglist/."
    )


def _look_at(path: Path, root: Path, pictures: Sequence[str]) -> str:
    """Find every picture, and hash what `mapped` must know of them: paths, sizes and times.

    Raises:
        InputError: Some are missing, or a link leads out of the root.
    """
    inside, digest, missing = _Inside(path, root), hashlib.sha256(str(root.resolve()).encode()), []
    for picture in pictures:
        found = inside.look_at(picture)
        if found is None:
            missing.append(picture)
        else:
            digest.update(f"{picture}\0{found.st_size}\0{found.st_mtime_ns}\n".encode())
    if missing:
        raise InputError(
            f"{path}: {len(missing)} of {len(pictures)} pictures are missing, the first {root / missing[0]}. "
            "Put them there, or take them out of the list."
        )
    return digest.hexdigest()


class _Inside:
    """Looks at pictures of a root, and at none that a link leads out to."""

    def __init__(self, path: Path, root: Path) -> None:
        self._path, self._root = path, os.path.realpath(root)
        self._checked: set[str] = set()

    def look_at(self, picture: str) -> os.stat_result | None:
        place = os.path.join(self._root, picture)  # noqa: PTH118  a million pictures: pathlib takes twice as long
        folder = picture.rpartition("/")[0]
        if folder not in self._checked:
            self._check(os.path.realpath(os.path.join(self._root, folder)))  # noqa: PTH118
            self._checked.add(folder)
        try:
            found = os.lstat(place)
            if stat.S_ISLNK(found.st_mode):
                self._check(os.path.realpath(place))
                found = os.stat(place)  # noqa: PTH116
        except OSError:
            return None
        return found if stat.S_ISREG(found.st_mode) else None

    def _check(self, real: str) -> None:
        if real != self._root and not real.startswith(self._root + os.sep):
            raise InputError(
                f"{self._path}: a link leads out of {self._root}, to {real}. Put the pictures there, or make "
                "that folder as a whole the link."
            )


def _read(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            return file.read(MAX_BYTES + 1)
    except OSError as error:
        raise InputError(f"{path} cannot be read: {first_line(error)}.") from error
