"""Pictures: encoding, decoding, fitting to a square, and grids by class. All pixels are RGB uint8."""

import io
import os
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from itertools import repeat
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw, UnidentifiedImageError

from sio_data.errors import InputError
from sio_data.files import write_bytes
from sio_data.png import encode_png

Pixels = npt.NDArray[np.uint8]

_PILLOW_FORMATS: dict[str, dict[str, object]] = {
    "webp": {"format": "WEBP", "lossless": True},
    "jpg": {"format": "JPEG", "quality": 95, "subsampling": 0},
}
_BYTES_AT_ONCE = 1 << 20
_LONGEST_NAME = 40  # in a grid
IMAGE_FORMATS = ("png", *_PILLOW_FORMATS)
IMAGE_ERRORS = (UnidentifiedImageError, Image.DecompressionBombError, OSError, SyntaxError, ValueError)  # of Pillow


def encode(images: Pixels, image_format: str) -> list[bytes]:
    """Encode images.

    Args:
        images: uint8 [B, H, W, 3].
        image_format: `png` and `webp` keep every pixel; `jpg` is lossy (quality 95).

    Returns:
        B files.
    """
    step = max(1, _BYTES_AT_ONCE // images[0].nbytes)
    pieces = [images[start : start + step] for start in range(0, len(images), step)]
    run_all = map if len(pieces) == 1 else _encoders().map
    return [file for files in run_all(_encode, pieces, repeat(image_format)) for file in files]


@cache
def _encoders() -> ThreadPoolExecutor:
    """Give threads for large images: one core encodes them more slowly than a good GPU draws them."""
    return ThreadPoolExecutor(min(8, os.cpu_count() or 1), "encoder")


def _encode(images: Pixels, image_format: str) -> list[bytes]:
    if image_format == "png":
        return encode_png(images)
    files = []
    for image in images:
        buffer = io.BytesIO()
        Image.fromarray(image).save(buffer, **_PILLOW_FORMATS[image_format])  # type: ignore[arg-type]
        files.append(buffer.getvalue())
    return files


def decode(data: bytes, size: int) -> Pixels:
    """Decode one RGB image of a known size.

    The size is read from the header before any pixel is, so that a small file cannot ask for much memory.

    Returns:
        uint8 [size, size, 3].

    Raises:
        InputError: It is no such image.
    """
    try:
        with Image.open(io.BytesIO(data), formats=("PNG", "WEBP", "JPEG")) as image:
            if image.size != (size, size) or image.mode != "RGB":
                raise InputError(f"expected an RGB image of {size}x{size}, found {image.mode} of {image.size}.")
            return np.asarray(image)
    except UnidentifiedImageError as error:
        raise InputError("not a readable image (of no known format).") from error
    except IMAGE_ERRORS as error:
        raise InputError(f"not a readable image ({error}).") from error


def fit_square(image: Image.Image, size: int) -> Pixels:
    """Resize the middle square with antialiasing. 16-bit greys are scaled to 8 bits, transparency is ignored.

    Returns:
        uint8 [size, size, 3].
    """
    if image.mode.startswith("I"):
        image = Image.fromarray((np.asarray(image).clip(0, 65535) // 257).astype(np.uint8))
    image = image.convert("RGB")
    if image.size != (size, size):
        side = min(image.size)
        left, top = ((length - side) / 2 for length in image.size)
        square = (left, top, left + side, top + side)
        image = image.resize((size, size), Image.Resampling.BICUBIC, box=square)
    return np.asarray(image)


def first_of_each(
    samples: Iterable[tuple[int, Pixels]], wanted: Mapping[int, int], size: int
) -> dict[int, list[Pixels]]:
    """Take the first images of some labels, and no more of the samples than that takes.

    Args:
        samples: Labels with their images.
        wanted: How many images of each label to take; at most as many as there are.
        size: To how many pixels to resize those taken.

    Returns:
        The images of each label wanted, uint8 [size, size, 3].
    """
    taken: dict[int, list[Pixels]] = {label: [] for label in wanted}
    missing = sum(wanted.values())
    if missing:
        for label, image in samples:
            if len(taken.get(label, ())) < wanted.get(label, 0):
                taken[label].append(image if len(image) == size else fit_square(Image.fromarray(image), size))
                missing -= 1
                if not missing:
                    break
    return taken


def write_class_grid(path: Path, rows: Sequence[tuple[str, Sequence[Pixels]]], columns: int = 12) -> None:
    """Draw a picture with one row a class: its name, then some of its images.

    Args:
        path: Where the PNG goes.
        rows: Class names, each with its images (uint8 [H, W, 3], all of one size).
        columns: How many images of each class are shown.
    """
    rows = [(_on_one_line(name), images) for name, images in rows]
    side = len(next(images for _, images in rows if len(images))[0])
    tile = side * max(1, 48 // side)
    margin = 12 + max(int(ImageDraw.Draw(Image.new("L", (1, 1))).textlength(name)) for name, _ in rows)
    width = margin + columns * (tile + 4)
    picture = Image.new("RGB", (width, len(rows) * (tile + 4) + 4), "white")
    draw = ImageDraw.Draw(picture)
    for row, (name, images) in enumerate(rows):
        top = 4 + row * (tile + 4)
        draw.text((6, top + tile // 2 - 6), name, fill="black")
        for column, image in enumerate(images[:columns]):
            enlarged = Image.fromarray(image).resize((tile, tile), Image.Resampling.NEAREST)
            picture.paste(enlarged, (margin + column * (tile + 4), top))
    buffer = io.BytesIO()
    picture.save(buffer, "PNG")
    write_bytes(path, buffer.getvalue())


def _on_one_line(name: str) -> str:
    line = " ".join(name.split())
    return line if len(line) <= _LONGEST_NAME else f"{line[: _LONGEST_NAME - 1]}…"
