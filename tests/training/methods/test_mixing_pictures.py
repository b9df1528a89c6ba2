from pathlib import Path

import pytest
import torch
from PIL import Image

from sio_data.errors import InputError
from sio_data.training.methods import make_method, mixing_pictures
from sio_data.training.methods.mixing_pictures import draw_crops, load_pictures
from tests.training.methods.training_steps import digits_batch, new_classifier, new_state, prepared

CPU = torch.device("cpu")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Red, green and blue pictures of any size and format, and files that are none."""
    (tmp_path / "deeper").mkdir()
    Image.new("RGB", (40, 20), (255, 0, 0)).save(tmp_path / "a.png")
    Image.new("RGB", (9, 9), (0, 255, 0)).save(tmp_path / "b.bmp")
    Image.new("RGB", (50, 70), (0, 0, 255)).save(tmp_path / "deeper/c.JPG")
    (tmp_path / "notes.txt").write_text("no picture")
    (tmp_path / ".hidden.png").write_text("no picture either")
    return tmp_path


def test_pictures_of_a_folder_come_by_name_at_36_32nds_of_the_size(folder: Path) -> None:
    pictures = load_pictures(str(folder), 32, CPU)
    assert pictures.shape == (3, 3, 36, 36)
    assert pictures.dtype == torch.uint8
    red, green, blue = pictures.float().mean((2, 3)).round()
    assert red.tolist() == [255, 0, 0]
    assert green.tolist() == [0, 255, 0]
    assert blue[2] > 250
    assert load_pictures(str(folder), 32, CPU) is pictures


def test_they_are_mixed_in(folder: Path) -> None:
    method = make_method(f"pixmix:pictures={folder}")
    mixed = prepared(method, digits_batch(), new_state(method, new_classifier(method))).images
    assert (mixed[:, 0] != mixed[:, 1]).any()  # the digits are grey


def test_without_a_folder_fractals_are_drawn(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mixing_pictures, "FRACTALS", 3)
    assert load_pictures("", 16, CPU).shape == (3, 3, 18, 18)


def test_of_more_than_fit_into_memory_some_are_left_out(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mixing_pictures, "_MOST_BYTES", 2 * 3 * 18**2)
    red, blue = load_pictures(str(folder), 16, CPU).float().mean((2, 3))
    assert red[0] > 250
    assert blue[2] > 250


def test_crops_are_squares_of_the_pictures_from_anywhere() -> None:
    pictures = torch.randint(256, (5, 3, 10, 10), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    found = set()
    for crop in draw_crops(pictures, 200, 8, torch.Generator().manual_seed(1)):
        found |= {
            (number, row, column)
            for number in range(5)
            for row in range(3)
            for column in range(3)
            if torch.equal(pictures[number, :, row : row + 8, column : column + 8], crop)
        }
    assert len(found) == 45


def test_a_folder_without_pictures_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="holds no picture"):
        make_method(f"pixmix:pictures={tmp_path}")


def test_a_damaged_picture_is_named(folder: Path) -> None:
    (folder / "b.bmp").write_bytes(b"BM nothing")
    with pytest.raises(InputError, match=r"b\.bmp is no PNG"):
        load_pictures(str(folder), 16, CPU)


def test_a_picture_that_declares_too_many_pixels_is_refused(folder: Path) -> None:
    image = bytearray((folder / "b.bmp").read_bytes())
    image[18:26] = (60_000).to_bytes(4, "little") * 2
    (folder / "b.bmp").write_bytes(image)
    with pytest.raises(InputError, match=r"b\.bmp .*too many"):
        load_pictures(str(folder), 16, CPU)
