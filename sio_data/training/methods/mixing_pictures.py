"""The pictures that PixMix mixes in: those of a folder, or fractals of our own.

Each process holds them once for each device, as uint8: 256 fractals, or up to 1 GiB of a folder's pictures.
"""

import io
from functools import lru_cache
from pathlib import Path

import numpy as np
import torch

from sio_data.errors import InputError
from sio_data.files import as_folder
from sio_data.importing.pictures import EXTENSIONS, MAX_BYTES, Pictures
from sio_data.training.methods.fractals import draw_fractals

FRACTALS = 256
_MOST_BYTES = 1 << 30
_LARGER = 36 / 32  # than the images: each time another part is cut out


def find_pictures(folder: str) -> list[Path]:
    """List the pictures in a folder and the folders in it, by name.

    Raises:
        InputError: There is no such folder, or it holds no picture.
    """
    root = as_folder(folder)
    if not root.is_dir():
        raise InputError(f"pixmix: pictures: {folder!r} is no folder.")
    paths = sorted((path for path in root.rglob("*") if _is_picture(path) and path.is_file()), key=str)
    if not paths:
        raise InputError(f"pixmix: pictures: {folder!r} holds no picture ({', '.join(EXTENSIONS)}).")
    return paths


@lru_cache(maxsize=2)
def load_pictures(folder: str, image_size: int, device: torch.device) -> torch.Tensor:
    """Give the pictures to mix in, read or drawn on the first call.

    Args:
        folder: Where they lie; empty means fractals. The middle square of each is taken. Of more than fit into 1 GiB
            every second is left out, or more of them.
        image_size: Of the images that they are mixed into, in pixels.
        device: Where to hold them.

    Returns:
        uint8 [N, 3, S, S], S is 36/32 of `image_size`.

    Raises:
        InputError: There are none, or one cannot be read.
    """
    size = round(image_size * _LARGER)
    if not folder:
        pixels = draw_fractals(FRACTALS, size)
    else:
        paths = find_pictures(folder)
        paths = paths[:: -(-len(paths) * 3 * size**2 // _MOST_BYTES)]
        pictures = Pictures(len(paths), lambda place: _read(paths[place]), lambda place: str(paths[place]), size)
        memory = io.BytesIO()
        for _ in pictures.unpack(memory, len):
            pass
        pixels = np.frombuffer(memory.getbuffer(), np.uint8).reshape(pictures.shape)
    return torch.from_numpy(pixels).permute(0, 3, 1, 2).contiguous().to(device)


def draw_crops(pictures: torch.Tensor, count: int, size: int, generator: torch.Generator) -> torch.Tensor:
    """Draw pictures, with replacement, and cut a random square out of each.

    Args:
        pictures: uint8 [N, 3, S, S].
        count: How many to draw.
        size: Of the squares, at most S.
        generator: A CPU generator.

    Returns:
        uint8 [count, 3, size, size] on the pictures' device.
    """
    chosen = torch.randint(len(pictures), (count,), generator=generator)
    corners = torch.randint(pictures.shape[-1] - size + 1, (2, count), generator=generator)
    span = torch.arange(size)
    rows, columns = corners[0, :, None] + span, corners[1, :, None] + span
    channels = torch.arange(3)
    places = (chosen[:, None, None, None], channels[:, None, None], rows[:, None, :, None], columns[:, None, None, :])
    return pictures[tuple(place.to(pictures.device, non_blocking=True) for place in places)]


def _is_picture(path: Path) -> bool:
    return path.suffix[1:].lower() in EXTENSIONS and not path.name.startswith(".")


def _read(path: Path) -> bytes:
    with path.open("rb") as file:
        return file.read(MAX_BYTES + 1)
