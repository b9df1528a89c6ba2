"""`.npz` archives: zip files of `.npy` arrays, as NumPy writes them, of images and their labels.

They hold `image` and `label` (DM-Improves-AT; the DDPM sets of CIFAR and SVHN), `images` and `labels`, or `arr_0` and
`arr_1` (ADM). What is stored uncompressed is read where it lies; what is compressed is unpacked into a scratch file.
"""

import struct
import zipfile
import zlib
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from typing import BinaryIO
from zipfile import ZipFile, ZipInfo

from sio_data.errors import InputError, first_line
from sio_data.importing.archive import check_name, pickled, refuse_doubled_names
from sio_data.importing.arrays import ArrayArchive, Part
from sio_data.importing.npy import ArrayHeader, StoredImages, check_images, read_header, read_labels
from sio_data.importing.scratch import open_scratch
from sio_data.progress import progress

_IMAGES = ("image", "images", "arr_0")
_LABELS = ("label", "labels", "arr_1")
_ENCRYPTED = 1
_LOCAL_HEADER = 30
_MEBIBYTE = 1 << 20
_BOMB_BYTES, _BOMB_RATIO = 64 * _MEBIBYTE, 200
_ZIP_ERRORS = (zipfile.BadZipFile, zlib.error, struct.error, EOFError, ArithmeticError, RuntimeError, ValueError)


def open_npz(paths: Sequence[Path], image_size: int | None, held: ExitStack) -> ArrayArchive:
    """Open an archive, or several that are parts of one.

    Args:
        paths: The parts, in order.
        image_size: Resize to this many pixels; None keeps the size.
        held: Closes the files in the end.

    Raises:
        InputError: One holds no images with labels, or they differ in size.
    """
    refuse_doubled_names(paths)
    return ArrayArchive([_Npz(path, held).part() for path in paths], image_size)


class _Npz:
    """One archive, whose members are checked before they are read."""

    def __init__(self, path: Path, held: ExitStack) -> None:
        self._path, self._held = path, held
        self._file = held.enter_context(path.open("rb"))
        if self._file.read(1) == b"\x80":
            raise pickled(path)
        with self._sound():
            self._archive = held.enter_context(ZipFile(self._file))
            self._members = self._list_members()

    @contextmanager
    def _sound(self) -> Iterator[None]:
        try:
            yield
        except _ZIP_ERRORS as error:
            raise InputError(f"{self._path} is no sound .npz archive ({first_line(error)}).") from error

    def _list_members(self) -> dict[str, ZipInfo]:
        members: dict[str, ZipInfo] = {}
        for member in self._archive.infolist():
            check_name(member.filename, self._path)
            if member.filename in members:
                raise InputError(f"{self._path} holds {member.filename} twice.")
            members[member.filename] = member
        return members

    def part(self) -> Part:
        """Check what it holds, but for the pixels, and read the labels."""
        images, labels = self._find("images", _IMAGES), self._find("labels", _LABELS)
        with self._sound():
            header, label_header = self._read_header(images), self._read_header(labels)
            check_images(header)
            self._refuse_bomb(images)
            with self._archive.open(labels) as packed:
                packed.read(label_header.start)
                values = read_labels(packed, label_header, header.shape[0])
                packed.read(1)  # its end, where the checksum is compared
        return Part([self._path], header.shape, values, partial(self._open, images, header))

    def _find(self, what: str, names: Sequence[str]) -> ZipInfo:
        member = next((self._members[f"{name}.npy"] for name in names if f"{name}.npy" in self._members), None)
        if member is None:
            found = ", ".join(name.removesuffix(".npy") for name in list(self._members)[:10]) or "nothing"
            raise InputError(f"{self._path} holds no {what}: none of {', '.join(names)}. It holds {found}.")
        if member.flag_bits & _ENCRYPTED:
            raise InputError(f"{self._path} is encrypted.")
        if member.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
            raise InputError(f"{self._path} is compressed in a way that NumPy does not write. Save it with np.savez.")
        if member.compress_type == zipfile.ZIP_STORED and member.compress_size != member.file_size:
            raise InputError(f"{self._path}: {member.filename} has two sizes.")
        return member

    def _read_header(self, member: ZipInfo) -> ArrayHeader:
        with self._archive.open(member) as packed:
            return read_header(packed, member.file_size, f"{self._path}: {member.filename.removesuffix('.npy')}")

    def _refuse_bomb(self, member: ZipInfo) -> None:
        if member.file_size > max(_BOMB_BYTES, _BOMB_RATIO * member.compress_size):
            raise InputError(
                f"{self._path}: {member.filename} unpacks to more than {_BOMB_RATIO} times its size, "
                f"{member.file_size:,} bytes, which no real images do. If it is no bomb, save it with np.savez, which "
                "does not compress."
            )

    def _open(self, member: ZipInfo, header: ArrayHeader, scratch: Path | None) -> StoredImages:
        """Read all pixels once, which compares their checksum, and keep them unpacked."""
        file: BinaryIO = self._file
        start = header.start
        with self._sound():
            if member.compress_type == zipfile.ZIP_STORED:
                self._copy(member, None)
                start += self._data_start(member)
            else:
                file = self._held.enter_context(open_scratch(scratch, member.file_size))
                self._copy(member, file)
        return StoredImages(file, start, header.shape, header.name)

    def _copy(self, member: ZipInfo, target: BinaryIO | None) -> None:
        doing = f"{'unpacking' if target else 'checking'} {self._path.name}, MiB"
        size = 0
        with (
            self._archive.open(member) as packed,
            progress(doing, -(-member.file_size // _MEBIBYTE)) as advance,
        ):
            while piece := packed.read(_MEBIBYTE):
                if target:
                    target.write(piece)
                size += len(piece)
                advance(1, "")
        if target:
            target.flush()
        if size != member.file_size:
            raise InputError(f"{self._path}: {member.filename} ends early.")

    def _data_start(self, member: ZipInfo) -> int:
        self._file.seek(member.header_offset)
        name, extra = struct.unpack("<HH", self._file.read(_LOCAL_HEADER)[26:])
        return member.header_offset + _LOCAL_HEADER + int(name + extra)
