from pathlib import Path

import datasets
import numpy as np
import pytest
from PIL import Image

from sio_data import load_source
from sio_data.errors import InputError, UnknownNameError
from sio_data.source_names import SourceName


def make_folder(root: Path, splits: dict[str, int], size: tuple[int, int] = (8, 8)) -> Path:
    """A class-per-folder tree; picture i of a split has the grey value i."""
    for split, count in splits.items():
        for index in range(count):
            place = root / split / ("dog" if index % 2 else "cat")
            place.mkdir(parents=True, exist_ok=True)
            Image.new("RGB", size, (index,) * 3).save(place / f"{index:03d}.png")
    return root


def values(name: str, split: str, **options: object) -> list[int]:
    return sorted(load_source(name, split, **options).images[:, 0, 0, 0].tolist())


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("digits", SourceName("digits")),
        ("a/b", SourceName("a/b")),
        ("/a b/c#test", SourceName("/a b/c", split="test")),
        ("hub:me/set", SourceName("me/set", hub=True)),
        ("hub:me/set@v1#val", SourceName("me/set", True, "v1", "val")),
        ("hub:me/set#val", SourceName("me/set", True, None, "val")),
        ("hub:me/set/cats@v1", SourceName("me/set", True, "v1", config="cats")),
        ("hub:me/set/cats#val", SourceName("me/set", True, None, "val", "cats")),
        ("hub:me/set@feature/x", SourceName("me/set", True, "feature/x")),
    ],
)
def test_names_are_taken_apart(text: str, expected: SourceName) -> None:
    assert SourceName.parse(text) == expected


@pytest.mark.parametrize("text", ["", "#train", "hub:", "hub:name", "hub:a/b/c/d", "hub:a//c", "hub:a/b/"])
def test_names_of_nothing_are_refused(text: str) -> None:
    with pytest.raises(InputError, match="names no source"):
        SourceName.parse(text)


def test_a_folder_with_three_splits(tmp_path: Path) -> None:
    folder = make_folder(tmp_path / "set", {"train": 10, "validation": 4, "test": 6})
    assert values(str(folder), "train") == list(range(10))
    assert values(str(folder), "val") == list(range(4))
    assert values(str(folder), "test") == list(range(6))
    train = load_source(str(folder))
    assert train.class_names == ("cat", "dog")
    assert (train.labels == train.images[:, 0, 0, 0] % 2).all()


def test_a_missing_validation_split_is_held_out_of_training(tmp_path: Path) -> None:
    folder = make_folder(tmp_path / "set", {"train": 40, "test": 6})
    train, val = values(str(folder), "train"), values(str(folder), "val")
    assert len(val) == 4
    assert sorted(train + val) == list(range(40))
    assert values(str(folder), "val") == val


def test_a_split_named_in_the_source_is_a_data_set_of_its_own(tmp_path: Path) -> None:
    folder = make_folder(tmp_path / "set", {"train": 40, "validation": 3})
    assert values(f"{folder}#validation", "test") == [0, 1, 2]
    assert values(f"{folder}#train", "test") == list(range(40))
    train, val = values(f"{folder}#train", "train"), values(f"{folder}#train", "val")
    assert len(val) == 4
    assert sorted(train + val) == list(range(40))
    with pytest.raises(UnknownNameError, match="unknown split"):
        load_source(f"{folder}#nothing")
    with pytest.raises(UnknownNameError, match=r"unknown split of .* 'test'"):
        load_source(str(folder), "test")


def test_a_split_of_an_embedded_source_is_cut_too() -> None:
    train, val = load_source("digits#train", "train"), load_source("digits#train", "val")
    assert len(train) + len(val) == len(load_source("digits#train", "test")) == 541
    assert len(val) == pytest.approx(54, abs=3)


def test_nothing_is_held_out_of_synthetic_data(tmp_path: Path) -> None:
    folder = make_folder(tmp_path / "set", {"train": 40})
    assert values(str(folder), "train", hold_out=False) == list(range(40))


def test_too_few_images_to_hold_any_out_is_said_so(tmp_path: Path) -> None:
    folder = make_folder(tmp_path / "set", {"train": 4})
    with pytest.raises(InputError, match="too few images of each class to hold a tenth out"):
        load_source(str(folder))


README = """---
configs:
- config_name: default
  data_files: [{split: train, path: data.parquet}, {split: val, path: data.parquet}]
---
"""


def make_parquet(folder: Path, values_: list[int]) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    features = datasets.Features({"image": datasets.Image(), "label": datasets.ClassLabel(names=["a", "b"])})
    pictures = [Image.new("RGB", (8, 8), (value,) * 3) for value in values_]
    rows = {"image": pictures, "label": [value % 2 for value in values_]}
    datasets.Dataset.from_dict(rows, features=features).to_parquet(folder / "data.parquet")
    (folder / "README.md").write_text(README)
    return folder


def test_no_stale_rows_of_another_folder_or_of_before(tmp_path: Path) -> None:
    """load_dataset's own cache knows a folder with such a README by name and README alone."""
    one, two = make_parquet(tmp_path / "x/data", [1, 2]), make_parquet(tmp_path / "y/data", [3, 4, 5])
    assert values(str(one), "train") == [1, 2]
    assert values(str(two), "train") == [3, 4, 5]
    make_parquet(one, [6, 7, 8])
    assert values(str(one), "train") == [6, 7, 8]


def test_a_missing_label_is_none_not_a_crash(tmp_path: Path) -> None:
    folder = make_parquet(tmp_path / "set", [1, 2])
    features = datasets.Features({"image": datasets.Image(), "label": datasets.ClassLabel(names=["a", "b"])})
    rows = {"image": [Image.new("RGB", (8, 8))] * 2, "label": [1, None]}
    datasets.Dataset.from_dict(rows, features=features).to_parquet(folder / "data.parquet")
    assert load_source(str(folder)).labels.tolist() == [1, -1]


def test_a_folder_name_may_hold_a_hash_sign(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = make_folder(tmp_path / "odd # = ü", {"train": 6, "val": 2})
    assert len(load_source(str(folder))) == 6
    assert len(load_source(f"{folder}#validation", "test")) == 2
    monkeypatch.chdir(folder)
    assert len(load_source(".")) == 6


@pytest.mark.parametrize("size", [0, -8, 10**6])
def test_image_sizes_out_of_range_are_refused(size: int) -> None:
    with pytest.raises(InputError, match="image_size must be from 1 to"):
        load_source("digits", image_size=size)


def test_without_labels_means_without() -> None:
    images = load_source("digits-unknown", "test", labelled=False)
    assert images.labels.unique().tolist() == [-1]
    assert images.class_names == ()


def test_resizing_keeps_name_and_labels() -> None:
    small, large = load_source("digits", "val"), load_source("digits", "val", image_size=16)
    assert (large.name, large.labels.tolist()) == (small.name, small.labels.tolist())
    assert large.images.shape == (109, 3, 16, 16)


def test_without_labels_a_set_of_one_split_is_that_split(tmp_path: Path) -> None:
    for index in range(3):
        (tmp_path / "flat").mkdir(exist_ok=True)
        Image.new("L", (8, 8), index).save(tmp_path / f"flat/{index}.png")
    images = load_source(str(tmp_path / "flat"), "test", labelled=False)
    assert images.images[:, 0, 0, 0].tolist() == [0, 1, 2]
    assert images.labels.tolist() == [-1, -1, -1]
    with pytest.raises(InputError, match="no labels with class names"):
        load_source(str(tmp_path / "flat"), "train")


def test_sizes_must_agree_or_be_asked_for(tmp_path: Path) -> None:
    folder = make_folder(tmp_path / "set", {"train": 4, "val": 2}, size=(8, 12))
    with pytest.raises(InputError, match="Give --image-size"):
        load_source(str(folder))
    assert load_source(str(folder), image_size=6).images.shape[1:] == (3, 6, 6)


def test_the_hub_gets_name_configuration_revision_and_split(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    def load(path: str, config: str | None, *, revision: str | None, streaming: bool) -> datasets.DatasetDict:
        asked.append((path, config, revision))
        features = datasets.Features({"img": datasets.Image(), "label": datasets.ClassLabel(names=["a", "b"])})
        rows = {"img": [Image.fromarray(np.zeros((4, 4, 3), np.uint8))] * 2, "label": [0, 1]}
        return datasets.DatasetDict({"val": datasets.Dataset.from_dict(rows, features=features)})

    monkeypatch.setattr(datasets, "load_dataset", load)
    images = load_source("hub:me/set/cats@v1#val", "test")
    load_source("hub:me/set", "val")
    assert asked == [("me/set", "cats", "v1"), ("me/set", None, None)]
    assert images.class_names == ("a", "b")


def test_what_cannot_be_read_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UnknownNameError, match="Did you mean 'digits'"):
        load_source("digts")
    with pytest.raises(UnknownNameError, match="unknown split of digits-unknown 'train'"):
        load_source("digits-unknown", "train")
    with pytest.raises(InputError, match="hub:nobody/nothing cannot be read"):
        load_source("hub:nobody/nothing")
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="cannot be read as a data set"):
        load_source(str(tmp_path / "empty"))
    (tmp_path / "text").mkdir()
    (tmp_path / "text/a.csv").write_text("x,y\n1,2\n")
    with pytest.raises(InputError, match=r"no column of images. Its columns: x \(Value\)"):
        load_source(str(tmp_path / "text"))
    (tmp_path / "broken/cat").mkdir(parents=True)
    (tmp_path / "broken/cat/a.png").write_bytes(b"no picture")
    (tmp_path / "broken/dog").mkdir(parents=True)
    (tmp_path / "broken/dog/a.png").write_bytes(b"no picture")
    with pytest.raises(InputError, match="image 0"):
        load_source(str(tmp_path / "broken"), hold_out=False)
