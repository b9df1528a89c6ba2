import io
import zlib

import numpy as np
import pytest
from PIL import Image
from sklearn.datasets import load_sample_image

from sio_data.png import encode_png, unfilter_png, unpack_png


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


def noise(count: int, size: int) -> np.ndarray:
    return np.random.RandomState(0).randint(0, 256, (count, size, size, 3)).astype(np.uint8)


def as_pillow_writes(image: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, "PNG")
    return buffer.getvalue()


@pytest.mark.parametrize(("count", "size"), [(0, 8), (1, 1), (3, 32), (7, 256)])
def test_what_is_encoded_is_decoded(count: int, size: int) -> None:
    images = noise(count, size)
    rows = [unpack_png(memoryview(file), size) for file in (encode_png(images) if count else [])]
    assert np.array_equal(unfilter_png(rows, size), images)


def test_all_filters_of_png_are_undone() -> None:
    photograph = load_sample_image("china.jpg")[:64, :64]
    file = as_pillow_writes(photograph)
    rows = unpack_png(file, 64)
    assert rows is not None
    assert len({*rows[:: 1 + 3 * 64]}) > 1
    others = [bytes([kind]) + bytes(range(192)) for kind in range(5) for _ in range(16)][:64]
    packed = [rows, b"".join(others), rows]
    assert np.array_equal(unfilter_png(packed, 64)[[0, 2]], [photograph] * 2)
    assert np.array_equal(unfilter_png(packed, 64)[1], unfilter_png(packed[1:2], 64)[0])


def with_pixels(file: bytes, packed: bytes) -> bytes:
    """The file with other compressed rows."""
    chunk = b"IDAT" + packed
    return file[:33] + len(packed).to_bytes(4, "big") + chunk + zlib.crc32(chunk).to_bytes(4, "big") + file[-12:]


def spoil(file: bytes) -> dict[str, bytes]:
    return {
        "nothing": b"",
        "cut off": file[:-1],
        "a changed byte": file[:45] + bytes([file[45] ^ 1]) + file[46:],
        "another size": encode_png(noise(1, 9))[0],
        "pixels of another size": file[:33] + encode_png(noise(1, 9))[0][33:],
        "many more pixels than said": file[:33] + encode_png(np.zeros((1, 2000, 2000, 3), np.uint8))[0][33:],
        "a filter that there is not": with_pixels(file, zlib.compress(b"\x05" + bytes(24) + bytes(25 * 7))),
        "pixels without their checksum": with_pixels(file, zlib.compress(bytes(25 * 8))[:-4]),
    }


@pytest.mark.parametrize("how", spoil(bytes(60)))
def test_other_files_are_left_to_pillow(how: str) -> None:
    file = encode_png(noise(1, 8))[0]
    assert unpack_png(file, 8) is not None
    assert unpack_png(spoil(file)[how], 8) is None
