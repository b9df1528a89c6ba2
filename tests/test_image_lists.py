import os
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from sio_data import load_source
from sio_data.errors import ClassMapError, InputError, UnknownNameError
from sio_data.image_lists import ImageList, rows_without
from tests.openood_layout import picture, write_list, write_pictures

ROWS = [("pets/cat/0.png", 0), ("pets/dog/1.png", 1), ("pets/dog/2.png", 1), ("pets/odd/3.png", -1)]


@pytest.fixture
def listed(tmp_path: Path) -> Path:
    """A list of a cat, two dogs and an image without a label, of seeds 0 to 3."""
    write_pictures(tmp_path / "data", {place: seed for seed, (place, _) in enumerate(ROWS)})
    return write_list(tmp_path / "data", "pets/test_pets.txt", ROWS)


def pixels(seed: int) -> torch.Tensor:
    return torch.from_numpy(np.asarray(picture(seed)).transpose(2, 0, 1).copy())


def test_a_list_gives_its_pictures_in_order_with_labels(listed: Path) -> None:
    images = ImageList.read(listed, ["cat", "dog"]).load(None)
    assert images.images.tolist() == torch.stack([pixels(seed) for seed in range(4)]).tolist()
    assert images.labels.tolist() == [0, 1, 1, -1]
    assert images.class_names == ("cat", "dog")


def test_a_list_is_a_source_of_one_split(tmp_path: Path) -> None:
    rows = [(f"pets/{('cat', 'dog')[index % 2]}/{index}.png", index % 2) for index in range(40)]
    write_pictures(tmp_path, {place: seed for seed, (place, _) in enumerate(rows)})
    source = str(write_list(tmp_path, "pets/train_pets.txt", rows))
    whole, train, val = (load_source(source, split, image_size=4) for split in ("test", "train", "val"))
    assert (len(whole), len(train), len(val)) == (40, 36, 4)
    assert whole.class_names == ("cat", "dog")
    assert whole.images.shape == (40, 3, 4, 4)
    assert len(load_source(source, "train", hold_out=False)) == 40
    assert load_source(source, "test", labelled=False).labels.tolist() == [-1] * 40
    with pytest.raises(UnknownNameError, match="A list is one split"):
        load_source(f"{source}#test", "test")


def test_a_mapped_list_is_decoded_once_and_anew_if_a_picture_changed(listed: Path) -> None:
    source = str(listed)
    held = load_source(source, "test", labelled=False)
    mapped = load_source(source, "test", labelled=False, storage="mapped")
    assert mapped.images.tolist() == held.images.tolist()
    assert load_source(source, "test", labelled=False, storage="mapped").images.tolist() == held.images.tolist()
    target = listed.parents[2] / "images_classic/pets/cat/0.png"
    picture(50).save(target)
    changed = load_source(source, "test", labelled=False, storage="mapped")
    assert changed.images[0].tolist() == pixels(50).tolist()


@pytest.mark.parametrize(
    "place", ["images_largescale", "images_classic", "", "benchmark_imglist", "benchmark_imglist/pets"]
)
def test_pictures_are_found_beside_the_lists_or_above_them(tmp_path: Path, place: str) -> None:
    write_pictures(tmp_path, {"pets/cat/0.png": 7}, place)
    source = write_list(tmp_path, "pets/test_pets.txt", [("pets/cat/0.png", -1)])
    assert ImageList.read(source).load(None).images[0].tolist() == pixels(7).tolist()


def test_spaces_in_paths_and_empty_lines_do_not_matter(tmp_path: Path) -> None:
    write_pictures(tmp_path, {"big cats/one cat.png": 3})
    source = write_list(tmp_path, "pets/test_pets.txt", [("big cats/one cat.png", 0)])
    source.write_text(source.read_text() + "\n\n")
    images = ImageList.read(source).load(None)
    assert images.class_names == ("big cats",)
    assert len(images) == 1


def test_missing_pictures_are_counted(listed: Path) -> None:
    folder = listed.parents[2] / "images_classic/pets"
    (folder / "cat/0.png").unlink()
    (folder / "dog/2.png").unlink()
    with pytest.raises(InputError, match=r"2 of 4 pictures are missing, the first .*images_classic/pets/cat/0\.png"):
        load_source(str(listed), "test", labelled=False)
    for path in folder.rglob("*.png"):
        path.unlink()
    with pytest.raises(InputError, match="4 of 4 pictures are missing"):
        load_source(str(listed), "test", labelled=False)


def test_pictures_that_lie_nowhere_are_said_where_to_lie(tmp_path: Path) -> None:
    source = write_list(tmp_path, "pets/test_pets.txt", ROWS)
    with pytest.raises(InputError, match=r"pets/cat/0\.png, is not in .*data/images_classic/") as caught:
        ImageList.read(source, ["cat", "dog"]).load(None)
    assert str(caught.value).count(str(tmp_path)) == 3  # the list, and two folders


@pytest.mark.parametrize("row", ["../secret.png 0", "/etc/passwd 0", "pets/../../secret.png 0", "pets/cat/../x.png 0"])
def test_no_path_leads_out_of_the_pictures(listed: Path, row: str) -> None:
    picture(9).save(listed.parents[2] / "secret.png")
    listed.write_text(f"pets/cat/0.png 0\n{row}\n")
    with pytest.raises(InputError, match=r"test_pets\.txt, line 2: .* leads out of the folder of pictures"):
        load_source(str(listed), "test")


def test_no_link_leads_out_of_the_pictures(listed: Path, tmp_path: Path) -> None:
    pets = listed.parents[2] / "images_classic/pets"
    picture(9).save(tmp_path / "secret.png")
    (pets / "cat/0.png").unlink()
    (pets / "cat/0.png").symlink_to(tmp_path / "secret.png")
    with pytest.raises(InputError, match="a link leads out of"):
        load_source(str(listed), "test", labelled=False)
    (pets / "cat/0.png").unlink()
    (pets / "cat").rmdir()
    (tmp_path / "elsewhere").mkdir()
    picture(9).save(tmp_path / "elsewhere/0.png")
    (pets / "cat").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(InputError, match="a link leads out of"):
        load_source(str(listed), "test", labelled=False)


def test_links_within_and_of_the_whole_folder_are_followed(listed: Path, tmp_path: Path) -> None:
    data = listed.parents[2]
    (data / "images_classic/pets/cat/0.png").unlink()
    (data / "images_classic/pets/cat/0.png").symlink_to("../dog/1.png")
    (data / "images_classic").rename(tmp_path / "moved")
    (data / "images_classic").symlink_to(tmp_path / "moved")
    images = load_source(str(listed), "test", labelled=False)
    assert images.images[0].tolist() == images.images[1].tolist() == pixels(1).tolist()


@pytest.mark.parametrize(
    "line", ["pets/cat/0.png", "0", "pets/cat/0.png cat", "a.png -2", "a.png 1.5", "a.png --1", "a.png ²"]
)
def test_lines_of_another_form_are_named(listed: Path, line: str) -> None:
    listed.write_text(f"pets/cat/0.png 0\n{line}\n")
    with pytest.raises(InputError, match=r"line 2: .* is not of the form `path label`"):
        load_source(str(listed), "test")


def test_labels_need_names(listed: Path) -> None:
    with pytest.raises(ClassMapError, match="label 1 is outside the class map of 1 classes"):
        ImageList.read(listed, ["cat"])
    listed.write_text("pets/val/0.png 0\npets/val/1.png 1\n")
    with pytest.raises(InputError, match="its labels have no names"):
        load_source(str(listed), "test")
    listed.write_text("pets/cat/0.png 0\npets/dog/1.png 2\n")
    with pytest.raises(InputError, match="its labels have no names"):
        load_source(str(listed), "test")


def test_classes_can_be_left_out(listed: Path) -> None:
    whole = ImageList.read(listed, ["cat", "dog"])
    assert rows_without(whole, ["dog"]) == [0, 3]
    with pytest.raises(UnknownNameError, match="Did you mean 'dog'"):
        rows_without(whole, ["dogs"])
    with pytest.raises(InputError, match="no image but of the classes left out"):
        rows_without(whole.select([0, 1]), ["cat", "dog"])


def test_what_would_be_read_for_ever_is_no_list(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.txt")
    with pytest.raises(InputError, match="no regular file"):
        load_source(str(tmp_path / "pipe.txt"))
    (tmp_path / "zero.txt").symlink_to("/dev/zero")
    with pytest.raises(InputError, match="no regular file"):
        load_source(str(tmp_path / "zero.txt"))
    (tmp_path / "long.txt").write_text(f"a.png 0\n{'a' * 100_000}.png 0\n")
    with pytest.raises(InputError, match="line 2 has more than 8,192 characters") as caught:
        load_source(str(tmp_path / "long.txt"))
    assert len(str(caught.value)) < 1000
    with (tmp_path / "huge.txt").open("wb") as file:
        file.truncate((1 << 30) + 1)
    with pytest.raises(InputError, match="has more than 1,073,741,824 bytes"):
        load_source(str(tmp_path / "huge.txt"))


def test_what_is_no_list_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="there is no such list of images"):
        load_source(str(tmp_path / "test_pets.txt"))
    (tmp_path / "empty.txt").write_text("\n")
    with pytest.raises(InputError, match="holds no image"):
        load_source(str(tmp_path / "empty.txt"))
    (tmp_path / "bytes.txt").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(InputError, match="cannot be read as a list"):
        load_source(str(tmp_path / "bytes.txt"))


def test_a_damaged_picture_is_named(listed: Path) -> None:
    (listed.parents[2] / "images_classic/pets/dog/1.png").write_bytes(b"no picture")
    with pytest.raises(InputError, match=r"pets/dog/1\.png is no PNG, JPEG, WebP or BMP"):
        load_source(str(listed), "test", labelled=False)


def test_sizes_must_agree_or_be_asked_for(listed: Path) -> None:
    Image.new("RGB", (8, 12)).save(listed.parents[2] / "images_classic/pets/dog/1.png")
    with pytest.raises(InputError, match="Give --image-size"):
        load_source(str(listed), "test", labelled=False)
    assert load_source(str(listed), "test", labelled=False, image_size=6).images.shape == (4, 3, 6, 6)
