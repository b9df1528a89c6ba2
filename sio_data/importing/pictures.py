"""Encoded pictures (PNG, JPEG, WebP, BMP), read one by one from wherever they lie."""

import io
import math
import os
import struct
import warnings
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import cache
from itertools import chain
from typing import BinaryIO, TypeVar

from PIL import ExifTags, Image

from sio_data.errors import InputError, first_line
from sio_data.images import IMAGE_ERRORS, Pixels, fit_square
from sio_data.progress import progress
from sio_data.recipe import MAX_IMAGE_SIZE

EXTENSIONS = ("png", "jpg", "jpeg", "webp", "bmp")
_FORMATS = ("PNG", "JPEG", "WEBP", "BMP")
MAX_BYTES = 1 << 28
_MAX_PIXELS = 1 << 26
_BYTES_AT_ONCE = 1 << 24
_THREADS, _MAX_PIECE = 8, 16
_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
Found = TypeVar("Found")


class Pictures:
    """Pictures that become RGB images of one size.

    Args:
        count: How many there are, at least one.
        load: Gives the bytes of one, by its number.
        name: Gives what to call one in messages, by its number.
        image_size: Resize to this many pixels; None takes the size of the first, which all must have.

    Attributes:
        image_size: Height and width in pixels.

    Raises:
        InputError: The first cannot be read, or is not square and not resized.
    """

    def __init__(
        self, count: int, load: Callable[[int], bytes], name: Callable[[int], str], image_size: int | None
    ) -> None:
        self._count, self._load, self._name = count, load, name
        self._resize = image_size is not None
        self.image_size = image_size or self._size_of_first()

    def _size_of_first(self) -> int:
        with _strict(), self._open(0, self._load(0)) as picture:
            width, height = picture.size
        if width != height:
            raise InputError(f"{self._name(0)} has {width}x{height} pixels, not square. Give --image-size.")
        if width > MAX_IMAGE_SIZE:
            raise InputError(f"{self._name(0)} has {width}x{height} pixels. Give --image-size, up to {MAX_IMAGE_SIZE}.")
        return int(width)

    @property
    def shape(self) -> tuple[int, int, int, int]:
        """Of all of them as one array."""
        return (self._count, self.image_size, self.image_size, 3)

    def unpack(self, target: BinaryIO, visit: Callable[[bytes], Found]) -> Iterator[Found]:
        """Decode every one into a file, as one array of `shape`, and give what `visit` makes of its bytes.

        Raises:
            InputError: One cannot be read, or has another size than the first and is not resized.
        """

        def look_at(number: int) -> tuple[Pixels, Found]:
            data = self._load(number)
            return self._decode(number, data), visit(data)

        with _strict():
            for pixels, found in self._each("looking at all images", look_at):
                target.write(pixels.tobytes())
                yield found
        target.flush()

    def decode(self, doing: str) -> Iterator[Pixels]:
        """Decode every one, uint8 [H, H, 3]; `doing` is what the progress bar says.

        Raises:
            InputError: One cannot be read, or has another size than the first and is not resized.
        """
        with _strict():
            yield from self._each(doing, lambda number: self._decode(number, self._load(number)))

    def visit(self, visit: Callable[[bytes], Found]) -> Iterator[Found]:
        """Give what `visit` makes of the bytes of every one, and decode none."""
        return self._each("hashing all images", lambda number: visit(self._load(number)))

    def _each(self, doing: str, look_at: Callable[[int], Found]) -> Iterator[Found]:
        """Apply a function to the number of every one, in order, some at a time."""
        step = max(_THREADS, _BYTES_AT_ONCE // math.prod(self.shape[1:]))
        with progress(doing, self._count) as advance:
            for start in range(0, self._count, step):
                numbers = range(start, min(start + step, self._count))
                yield from _in_threads(look_at, numbers)
                advance(len(numbers), "")

    def _decode(self, number: int, data: bytes) -> Pixels:
        with self._open(number, data) as picture:
            if not self._resize and picture.size != (self.image_size, self.image_size):
                raise InputError(
                    f"{self._name(number)} has {picture.width}x{picture.height} pixels, {self._name(0)} "
                    f"{self.image_size}x{self.image_size}. Give --image-size."
                )
            try:
                return fit_square(_turn_upright(picture), self.image_size)
            except IMAGE_ERRORS as error:
                raise InputError(f"{self._name(number)} is damaged ({first_line(error)}).") from error

    def _open(self, number: int, data: bytes) -> Image.Image:
        """Open a picture; its size is read from its header before any pixel is."""
        if len(data) > MAX_BYTES:
            raise InputError(f"{self._name(number)} has more than {MAX_BYTES:,} bytes.")
        try:
            picture = Image.open(io.BytesIO(data), formats=_FORMATS)
        except (*IMAGE_ERRORS, Image.DecompressionBombWarning) as error:
            what = "declares too many pixels" if "bomb" in str(error) else "is no PNG, JPEG, WebP or BMP picture"
            raise InputError(f"{self._name(number)} {what}.") from error
        if picture.width * picture.height > _MAX_PIXELS:
            raise InputError(f"{self._name(number)} has {picture.width}x{picture.height} pixels, too many.")
        return picture


def _turn_upright(picture: Image.Image) -> Image.Image:
    """Turn or mirror a picture as its EXIF says, which cameras write; `load_dataset` does so, too."""
    picture.load()
    try:
        turn = _TURNS.get(picture.getexif().get(ExifTags.Base.Orientation, 1))
    except (SyntaxError, ValueError, struct.error):  # many pictures have a damaged EXIF, and sound pixels
        return picture
    return picture if turn is None else picture.transpose(turn)


@contextmanager
def _strict() -> Iterator[None]:
    """Let Pillow refuse pictures of very many pixels instead of warning of them, and be silent of lesser faults."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        warnings.simplefilter("error", Image.DecompressionBombWarning)
        yield


def _in_threads(function: Callable[[int], Found], numbers: Sequence[int]) -> Iterator[Found]:
    """Apply a function to each number, in order, in pieces that are worth a thread's while."""
    step = max(1, min(_MAX_PIECE, len(numbers) // _THREADS))
    pieces = [numbers[start : start + step] for start in range(0, len(numbers), step)]
    return chain.from_iterable(_readers().map(lambda piece: [function(number) for number in piece], pieces))


@cache
def _readers() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(min(_THREADS, os.cpu_count() or 1), "reader")
