"""`.npz` archives: zip files of `.npy` arrays, as NumPy writes them, of images and their labels.

They hold `image` and `label` (DM-Improves-AT; the DDPM sets of CIFAR and SVHN), `images` and `labels`, or `arr_0` and
`arr_1` (ADM). What is stored uncompressed is read where it lies; what is compressed is unpacked once into a file
without a name, which is gone when the process ends, however it ends.
"""

import shutil
import struct
import tempfile
import zipfile
import zlib
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from typing import IO, BinaryIO, cast
from zipfile import ZipFile, ZipInfo

from sio_data.errors import InputError, SioDataError
from sio_data.importing.archive import pickled, refuse_doubled_names
from sio_data.importing.arrays import ArrayArchive, Part
from sio_data.importing.npy import ArrayHeader, StoredImages, check_images, read_header, read_labels
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
    return ArrayArchive([_open_part(path, held) for path in paths], image_size)


def _open_part(path: Path, held: ExitStack) -> Part:
    file = held.enter_context(path.open("rb"))
    if file.read(1) == b"\x80":
        raise pickled(path)
    with _sound(path):
        archive = held.enter_context(ZipFile(file))
        members = _list_members(path, archive)
        images, labels = (_find(path, members, names) for names in (_IMAGES, _LABELS))
        header = _read_header(path, archive, images)
        check_images(header)
        if images.file_size > max(_BOMB_BYTES, _BOMB_RATIO * images.compress_size):
            raise InputError(
                f"{header.name} unpacks to more than {_BOMB_RATIO} times its size, {images.file_size:,} bytes, which "
                "no real images do. If it is no bomb, save it again with np.savez, uncompressed."
            )
        label_header = _read_header(path, archive, labels)
        with archive.open(labels) as packed:
            packed.read(label_header.start)
            values = read_labels(packed, label_header, header.shape[0])
            packed.read(1)  # its end, where the checksum is compared
    return Part([path], header.shape, values, partial(_settle, path, file, archive, images, header, held))


@contextmanager
def _sound(path: Path) -> Iterator[None]:
    try:
        yield
    except _ZIP_ERRORS as error:
        raise InputError(f"{path} is no sound .npz archive ({error}).") from error


def _list_members(path: Path, archive: ZipFile) -> dict[str, ZipInfo]:
    members: dict[str, ZipInfo] = {}
    for member in archive.infolist():
        if member.filename.startswith("/") or ".." in member.filename.split("/"):
            raise InputError(
                f"{path} holds {member.filename!r}, a path that leads out of it: it is not what NumPy writes."
            )
        if member.filename in members:
            raise InputError(f"{path} holds {member.filename} twice.")
        members[member.filename] = member
    return members


def _find(path: Path, members: dict[str, ZipInfo], names: Sequence[str]) -> ZipInfo:
    member = next((members[f"{name}.npy"] for name in names if f"{name}.npy" in members), None)
    if member is None:
        found = ", ".join(name.removesuffix(".npy") for name in list(members)[:10]) or "nothing"
        what = "images" if names == _IMAGES else "labels, and a set needs one for each image"
        raise InputError(f"{path} holds no {what}: none of {', '.join(names)}. It holds {found}.")
    if member.flag_bits & _ENCRYPTED:
        raise InputError(f"{path} is encrypted.")
    if member.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        raise InputError(f"{path} is compressed in a way that NumPy does not write. Save it again with np.savez.")
    if member.compress_type == zipfile.ZIP_STORED and member.compress_size != member.file_size:
        raise InputError(f"{path}: {member.filename} has two sizes.")
    return member


def _read_header(path: Path, archive: ZipFile, member: ZipInfo) -> ArrayHeader:
    with archive.open(member) as packed:
        return read_header(packed, member.file_size, f"{path}: {member.filename.removesuffix('.npy')}")


def _settle(
    path: Path,
    file: BinaryIO,
    archive: ZipFile,
    member: ZipInfo,
    header: ArrayHeader,
    held: ExitStack,
    scratch: Path | None,
) -> StoredImages:
    """Read all pixels once, which compares their checksum, and keep them unpacked."""
    unpacked, offset = file, header.start
    with _sound(path):
        if member.compress_type == zipfile.ZIP_STORED:
            _copy(path, archive, member, None)
            offset += _data_start(file, member)
        else:
            unpacked = held.enter_context(_scratch_file(scratch, member.file_size))
            _copy(path, archive, member, unpacked)
    return StoredImages(unpacked, offset, header.shape, header.name)


def _copy(path: Path, archive: ZipFile, member: ZipInfo, target: IO[bytes] | None) -> None:
    doing = "unpacking" if target else "checking"
    with (
        archive.open(member) as packed,
        progress(f"{doing} {path.name}, MiB", -(-member.file_size // _MEBIBYTE)) as advance,
    ):
        size = 0
        while piece := packed.read(_MEBIBYTE):
            if target:
                target.write(piece)
            size += len(piece)
            advance(1, "")
        if target:
            target.flush()
    if size != member.file_size:
        raise InputError(f"{path}: {member.filename} ends early.")


def _data_start(file: BinaryIO, member: ZipInfo) -> int:
    file.seek(member.header_offset)
    name, extra = struct.unpack("<HH", file.read(_LOCAL_HEADER)[26:])
    return member.header_offset + _LOCAL_HEADER + int(name + extra)


def _scratch_file(folder: Path | None, size: int) -> BinaryIO:
    """Open a file without a name.

    Raises:
        SioDataError: There is no space for that many bytes.
    """
    free = shutil.disk_usage(folder or tempfile.gettempdir()).free
    if free < size:
        raise SioDataError(
            f"unpacking takes {size:,} bytes in {folder or tempfile.gettempdir()}, where {free:,} are free. Make space "
            "and run the same command again."
        )
    return cast("BinaryIO", tempfile.TemporaryFile(dir=folder))
