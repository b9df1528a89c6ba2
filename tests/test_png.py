import io

import numpy as np
import pytest
from PIL import Image
from sklearn.datasets import load_sample_image

from sio_data.png import encode_png


@pytest.mark.parametrize("shape", [(1, 1), (1, 7), (5, 1), (32, 32), (17, 33)])
@pytest.mark.parametrize("kind", ["noise", "flat", "ramp"])
def test_every_pixel_is_kept(shape: tuple[int, int], kind: str) -> None:
    noise = np.random.RandomState(0).randint(0, 256, (3, *shape, 3))
    images = {"noise": noise, "flat": noise * 0 + 255, "ramp": np.cumsum(noise * 0 + 3, axis=2) % 256}[kind]
    images = images.astype(np.uint8)
    files = encode_png(images)
    assert len(files) == 3
    for data, image in zip(files, images, strict=True):
        with Image.open(io.BytesIO(data)) as picture:
            assert (picture.format, picture.mode) == ("PNG", "RGB")
            assert np.array_equal(np.asarray(picture), image)


def test_an_image_has_the_same_bytes_in_any_batch() -> None:
    images = np.random.RandomState(0).randint(0, 256, (4, 8, 8, 3)).astype(np.uint8)
    assert encode_png(images)[2] == encode_png(images[2:3])[0]


def test_photographs_take_hardly_more_space_than_with_pillow() -> None:
    photograph = load_sample_image("china.jpg")
    images = np.stack([photograph[top : top + 32, 200:232] for top in range(0, 384, 32)])
    ours = sum(map(len, encode_png(images)))
    pillow = 0
    for image in images:
        buffer = io.BytesIO()
        Image.fromarray(image).save(buffer, "PNG")
        pillow += buffer.tell()
    assert ours < 1.05 * pillow
