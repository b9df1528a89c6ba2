from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from sio_data.errors import InputError
from sio_data.images import decode, encode, fit_square, write_class_grid


@pytest.mark.parametrize("image_format", ["png", "webp"])
def test_lossless_round_trip(image_format: str) -> None:
    image = np.random.RandomState(0).randint(0, 256, (8, 8, 3), dtype=np.uint8)
    assert np.array_equal(decode(encode(image[None], image_format)[0], 8), image)


@pytest.mark.parametrize("image_format", ["png", "webp"])
def test_large_images_keep_their_order_and_their_bytes(image_format: str) -> None:
    images = np.random.RandomState(0).randint(0, 256, (5, 512, 512, 3), dtype=np.uint8)
    images[:, 1:] = images[:, :1]
    files = encode(images, image_format)
    assert files == [encode(image[None], image_format)[0] for image in images]
    assert all(np.array_equal(decode(file, 512), image) for file, image in zip(files, images, strict=True))


def test_jpg_is_close() -> None:
    image = np.full((8, 8, 3), 100, np.uint8)
    assert np.abs(decode(encode(image[None], "jpg")[0], 8).astype(int) - 100).max() <= 2


def test_a_huge_picture_is_refused_by_its_header() -> None:
    with pytest.raises(InputError, match="expected an RGB image of 8x8"):
        decode(encode(np.zeros((1, 3000, 3000, 3), np.uint8), "png")[0], 8)


def test_fit_square_keeps_the_middle_and_makes_grey_rgb() -> None:
    picture = Image.new("L", (30, 10), 0)
    picture.paste(255, (10, 0, 20, 10))
    assert (fit_square(picture, 10) == 255).all()


def test_fit_square_of_a_long_strip_takes_only_its_middle() -> None:
    strip = Image.new("RGB", (200_000, 2))
    strip.paste((255, 0, 0), (99_990, 0, 100_010, 2))
    assert (fit_square(strip, 64) == (255, 0, 0)).all()


def test_16_bit_greys_are_scaled_not_cut() -> None:
    values = np.array([[0, 257 * 10], [257 * 100, 65535]], np.uint16)
    assert fit_square(Image.fromarray(values), 2)[..., 0].tolist() == [[0, 10], [100, 255]]


def test_fit_square_antialiases() -> None:
    stripes = np.zeros((64, 64, 3), np.uint8)
    stripes[:, ::2] = 255
    small = fit_square(Image.fromarray(stripes), 8)
    assert np.abs(small.astype(int) - 127).max() < 20


def test_grid_shows_each_class_in_its_row(tmp_path: Path) -> None:
    red, blue = (np.full((8, 8, 3), colour, np.uint8) for colour in ((255, 0, 0), (0, 0, 255)))
    write_class_grid(tmp_path / "grid.png", [("red", [red, red]), ("blue", [blue])], columns=2)
    picture = np.asarray(Image.open(tmp_path / "grid.png"))
    upper, lower = np.array_split(picture, 2)
    assert (upper == (255, 0, 0)).all(-1).sum() == 2 * 48 * 48
    assert (lower == (0, 0, 255)).all(-1).sum() == 48 * 48
