import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from sio_data import draw_preview, load_source, open_set
from sio_data.cli import main
from sio_data.errors import CorruptSetError, UnknownNameError
from tests.small_sets import write_imported_set, write_set

TILE, GAP = 48, 4


def tile(path: Path, row: int, column: int, columns: int, side: int) -> np.ndarray:
    """The pixels of one image of a grid, at their own size."""
    picture = Image.open(path).convert("RGB")
    left = picture.width - (columns - column) * (TILE + GAP)
    top = GAP + row * (TILE + GAP)
    return np.asarray(picture.crop((left, top, left + TILE, top + TILE)).resize((side, side), Image.Resampling.NEAREST))


def size_of(path: Path) -> tuple[int, int]:
    with Image.open(path) as picture:
        return picture.size


def test_rows_are_the_first_images_of_the_classes_asked_for(tiny_set: Path, tmp_path: Path) -> None:
    done = draw_preview(tiny_set, tmp_path / "a.png", classes=["five", "one"], columns=2)
    assert (done.class_names, done.classes, done.images) == (("five", "one"), 6, 4)
    images = open_set(tiny_set).read()
    for row, label in enumerate((5, 1)):
        for column, place in enumerate(np.flatnonzero(images.labels == label)[:2]):
            expected = images.images[place].permute(1, 2, 0).numpy()
            assert np.array_equal(tile(tmp_path / "a.png", row, column, 2, 8), expected)


def test_no_more_shards_are_read_than_it_takes(damaged: Path, tmp_path: Path) -> None:
    (damaged / "data/train-000003.tar").write_bytes(b"")
    assert draw_preview(damaged, tmp_path / "a.png", columns=2).images == 12
    with pytest.raises(CorruptSetError, match="train-000003"):
        draw_preview(damaged, tmp_path / "b.png", columns=5)
    assert not (tmp_path / "b.png").exists()


def test_of_a_thousand_classes_the_first_are_shown_and_the_picture_is_one_to_look_at(tmp_path: Path) -> None:
    names = tuple(f"class {'x' * 300 if label == 3 else ''} {label}" for label in range(1000))
    folder = write_set(tmp_path / "set", names, 1)
    done = draw_preview(folder, tmp_path / "a.png")
    assert (len(done.class_names), done.classes) == (20, 1000)
    assert draw_preview(folder, tmp_path / "b.png", classes=["class  999"]).images == 1
    for path in (tmp_path / "a.png", folder / "preview.png"):
        width, height = size_of(path)
        assert width < 2000
        assert height < 6000


def test_large_images_are_made_smaller(tmp_path: Path) -> None:
    folder = write_set(tmp_path / "set", ("a", "b"), 1, image_size=1000)
    draw_preview(folder, tmp_path / "a.png", columns=1)
    for path in (tmp_path / "a.png", folder / "preview.png"):
        assert size_of(path)[1] == 2 * (256 + GAP) + GAP


def test_classes_without_images_are_left_out(tmp_path: Path) -> None:
    folder = write_imported_set(tmp_path / "set")
    assert draw_preview(folder, tmp_path / "a.png").class_names == ("cat", "owl")


def test_real_data_stand_beside_synthetic_ones(tmp_path: Path) -> None:
    done = draw_preview("digits", tmp_path / "a.png", classes=["two"], columns=3)
    assert done.images == 3
    digits = load_source("digits")
    first = digits.images[int((digits.labels == 2).nonzero()[0])].permute(1, 2, 0).numpy()
    assert np.array_equal(tile(tmp_path / "a.png", 0, 0, 3, 8), first)
    assert draw_preview("textures#test", tmp_path / "b.png", columns=5, rows=2).images == 10
    with pytest.raises(UnknownNameError, match="Known: zero"):
        draw_preview("digits", tmp_path / "c.png", classes=["cat"])


def test_the_command_names_a_file_after_the_set(
    tiny_set: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["preview", f"{os.fspath(tiny_set)}/", "--class", "zero"]) == 0
    assert capsys.readouterr().out == "synthetic-preview.png: 5 images of 1 of 6 classes\n"
    before = (tmp_path / "synthetic-preview.png").read_bytes()
    assert main(["preview", str(tiny_set)]) == 2
    assert "is there already" in capsys.readouterr().err
    assert (tmp_path / "synthetic-preview.png").read_bytes() == before
