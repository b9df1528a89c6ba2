"""Arrays in NumPy's `.npy` format: headers that are checked, and images that are read where they lie."""

import io
import math
import os
import tokenize
import warnings
from dataclasses import dataclass
from typing import IO, Any, BinaryIO

import numpy as np
import numpy.typing as npt
from numpy.lib import format as npy

from sio_data.errors import InputError, first_line
from sio_data.images import Pixels
from sio_data.importing.archive import Places, pickled
from sio_data.recipe import MAX_IMAGE_SIZE, MAX_SAMPLES

_READERS = {(1, 0): npy.read_array_header_1_0, (2, 0): npy.read_array_header_2_0}
_HEADER_BYTES = 1 << 14
_PICKLE = b"\x80"
_BYTES_AT_ONCE = 1 << 20


@dataclass(frozen=True)
class ArrayHeader:
    """What a `.npy` file says of its array.

    Attributes:
        name: What to call the array in messages.
        shape: Its shape.
        dtype: Its number type.
        start: Where in the file the values begin.
    """

    name: str
    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    start: int


def read_header(file: IO[bytes], size: int, name: str) -> ArrayHeader:
    """Read the header at the beginning of a `.npy` file.

    Args:
        file: The file, at its beginning.
        size: How many bytes it holds.
        name: What to call it in messages.

    Raises:
        InputError: It is no plain array, or not of the size that it declares.
    """
    beginning = file.read(_HEADER_BYTES)
    if beginning.startswith(_PICKLE):
        raise pickled(name)
    buffer = io.BytesIO(beginning)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # NumPy's about headers that Python 2 wrote
            shape, column_wise, dtype = _READERS[npy.read_magic(buffer)](buffer)
    except (ValueError, TypeError, KeyError, SyntaxError, RecursionError, MemoryError, tokenize.TokenError) as error:
        raise InputError(f"{name} is no sound .npy array ({first_line(error)}).") from error
    if dtype.hasobject:
        raise pickled(name)
    if column_wise:
        raise InputError(f"{name} is stored column by column. Save it again with np.ascontiguousarray(...).")
    if not all(0 <= side <= MAX_SAMPLES for side in shape):
        raise InputError(f"{name} declares an impossible shape.")
    declared = math.prod(shape) * dtype.itemsize
    if declared != size - buffer.tell():
        raise InputError(
            f"{name} declares {list(shape)} values of type {dtype}, {declared:,} bytes, and holds "
            f"{size - buffer.tell():,}: it was cut off or edited."
        )
    return ArrayHeader(name, shape, dtype, buffer.tell())


def check_images(header: ArrayHeader) -> None:
    """Refuse an array that is not one of images: uint8 [N, H, W, 3].

    Raises:
        InputError: It is not.
    """
    name, shape = header.name, list(header.shape)
    if len(shape) == 3:
        raise InputError(f"{name} is grey, {shape}. Save it as [N, H, W, 3]: np.repeat(images[..., None], 3, axis=3).")
    if len(shape) == 4 and shape[1] == 3 and shape[3] != 3:
        raise InputError(f"{name} is {shape}, channels first. Save it as [N, H, W, 3]: images.transpose(0, 2, 3, 1).")
    if len(shape) != 4 or shape[3] != 3:
        raise InputError(f"{name} must hold images as [N, H, W, 3], not {shape}.")
    if header.dtype != np.uint8:
        raise InputError(
            f"{name} must hold uint8 from 0 to 255, not {header.dtype}. Numbers from 0 to 1 become that by "
            "(255 * images).round().clip(0, 255).astype('uint8')."
        )
    if not shape[0]:
        raise InputError(f"{name} holds no image.")
    if not all(1 <= side <= MAX_IMAGE_SIZE for side in shape[1:3]):
        raise InputError(
            f"{name} holds images of {shape[1]}x{shape[2]} pixels; from 1 to {MAX_IMAGE_SIZE} are allowed."
        )


def read_labels(file: IO[bytes], header: ArrayHeader, count: int) -> Places:
    """Read an array of labels.

    Args:
        file: The file, where its values begin.
        header: Its header.
        count: How many images there are.

    Returns:
        int32 [count], from 0 on.

    Raises:
        InputError: It is no such array.
    """
    if header.shape not in ((count,), (count, 1)):
        raise InputError(f"{header.name} must hold one label for each of {count:,} images, not {list(header.shape)}.")
    if header.dtype.kind not in "iuf":
        raise InputError(f"{header.name} must hold whole numbers from 0 on, not {header.dtype}.")
    labels = np.empty(count, np.int32)
    step = _BYTES_AT_ONCE // header.dtype.itemsize
    for start in range(0, count, step):
        here = min(step, count - start)
        labels[start : start + here] = _check_labels(_read_values(file, header, here), header)
    return labels


def _read_values(file: IO[bytes], header: ArrayHeader, count: int) -> npt.NDArray[Any]:
    data = file.read(count * header.dtype.itemsize)
    if len(data) != count * header.dtype.itemsize:
        raise InputError(f"{header.name} ends early.")
    return np.frombuffer(data, header.dtype)


def _check_labels(values: npt.NDArray[Any], header: ArrayHeader) -> npt.NDArray[Any]:
    if header.dtype.kind == "f":
        what = "NaN or infinity" if not np.isfinite(values).all() else str(header.dtype)
        raise InputError(f"{header.name} holds {what}; labels must be whole numbers: labels.astype('int64').")
    wrong = values[(values < 0) | (values > MAX_SAMPLES)]
    if len(wrong):
        raise InputError(f"{header.name} holds the label {wrong[0]}; labels must be from 0 on, one for each class.")
    return values


class StoredImages:
    """Images that lie uncompressed in a file, read where they lie: pages of a mapped file would count as memory.

    Args:
        file: The file; it stays open.
        start: Where in it the first pixel is.
        shape: [N, H, W, 3].
        name: What to call them in messages.
    """

    def __init__(self, file: BinaryIO, start: int, shape: tuple[int, ...], name: str) -> None:
        self._file, self._start, self._shape, self._name = file, start, shape, name
        self._bytes_each = math.prod(shape[1:])

    def read(self, places: Places) -> Pixels:
        """Read images, in the order of the file whatever that of `places`: disks like it.

        Returns:
            uint8 [B, H, W, 3].

        Raises:
            InputError: The file became shorter meanwhile.
        """
        images = np.empty((len(places), *self._shape[1:]), np.uint8)
        for row in np.argsort(places).tolist():
            offset = self._start + int(places[row]) * self._bytes_each
            data = os.pread(self._file.fileno(), self._bytes_each, offset)
            if len(data) != self._bytes_each:
                raise InputError(f"{self._name} became shorter while it was read.")
            images[row] = np.frombuffer(data, np.uint8).reshape(self._shape[1:])
        return images
