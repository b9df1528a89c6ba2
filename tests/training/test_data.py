"""Where the images of a training come from, and where they are held."""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file

from sio_data import Classifier, import_set, load_source, open_stream, train
from sio_data.embedded import load_embedded
from sio_data.errors import InputError
from sio_data.files import read_json
from sio_data.image_set import ImageSet
from sio_data.source_names import Split
from sio_data.training import series
from sio_data.training.beginning import TrainingData

QUICK = {"epochs": 1, "batch_size": 250, "seeds": [0]}


def weights(folder: Path) -> dict[str, torch.Tensor]:
    return load_file(folder / "seed-0/model.safetensors")


def same(one: Path, other: Path) -> bool:
    first, second = weights(one), weights(other)
    return all(torch.equal(first[name], second[name]) for name in first)


def record(folder: Path) -> dict[str, Any]:
    return read_json(folder / "seed-0/training.json")


@pytest.fixture(scope="module")
def classes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A class folder of 60 digits for training and 30 others for a test."""
    folder = tmp_path_factory.mktemp("classes")
    digits = load_embedded("digits", "train")
    for split, part in (("train", range(60)), ("test", range(60, 90))):
        for index in part:
            place = folder / split / digits.class_names[int(digits.labels[index])]
            place.mkdir(parents=True, exist_ok=True)
            Image.fromarray(digits.images[index].permute(1, 2, 0).numpy()).save(place / f"{index}.png")
    return folder


@pytest.fixture(scope="module")
def imported(classes: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The same images as two sets of ours."""
    top = tmp_path_factory.mktemp("imported")
    for split in ("train", "test"):
        import_set(str(classes / split), top / split, licence="cc0-1.0")
    return {split: top / split for split in ("train", "test")}


def test_a_set_trains_the_same_with_any_number_of_decoding_threads(
    tiny_set: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for workers in (1, 3):
        monkeypatch.setattr(series, "open_stream", partial(open_stream, workers=workers))
        train("digits", tmp_path / str(workers), synthetic=str(tiny_set), storage="stream", **QUICK)
    assert same(tmp_path / "1", tmp_path / "3")
    assert record(tmp_path / "1")["settings"]["synthetic_data"] == open_stream(tiny_set).digest


def test_mapped_images_train_to_the_same_weights_as_images_in_memory(
    classes: Path, tiny_set: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    options = QUICK | {"synthetic": str(tiny_set), "batch_size": 20, "method": "oe", "outliers": str(classes / "test")}
    asked = []

    def spy(name: str, split: Split, **named: Any) -> ImageSet:
        asked.append(named["storage"])
        return load_source(name, split, **named)

    monkeypatch.setattr(series, "load_source", spy)
    for storage in ("memory", "mapped"):
        train(str(classes), tmp_path / storage, storage=storage, **options)
    assert asked == ["memory"] * 4 + ["mapped"] * 4  # real, validation, synthetic, outliers
    assert same(tmp_path / "memory", tmp_path / "mapped")
    assert record(tmp_path / "memory")["settings"] == record(tmp_path / "mapped")["settings"]


def test_with_streaming_what_is_no_set_is_held_in_memory(tmp_path: Path) -> None:
    for storage in ("memory", "stream"):
        train("digits", tmp_path / storage, storage=storage, **QUICK)
    assert same(tmp_path / "memory", tmp_path / "stream")


@pytest.mark.parametrize("storage", ["memory", "mapped", "stream"])
def test_an_imported_set_is_real_data_with_other_images_to_validate_on(
    storage: str, imported: dict[str, Path], tmp_path: Path
) -> None:
    names = {split: str(folder) for split, folder in imported.items()}
    options: dict[str, Any] = QUICK | {"batch_size": 20, "epochs": 2, "storage": storage}
    run = train(names["train"], tmp_path / "runs", val=names["test"], **options)[0]
    judged = Classifier.from_pretrained(run.folder)
    images = load_source(names["test"], "train", hold_out=False).with_class_names(judged.class_names)
    right = (judged(images.images).argmax(1) == images.labels).double().mean().item()
    assert len(images) == 30
    assert run.val_accuracy == pytest.approx(right)
    assert record(tmp_path / "runs")["val"] == names["test"]


def test_an_imported_set_as_outliers_is_streamed(imported: dict[str, Path], tmp_path: Path) -> None:
    options = QUICK | {"method": "oe", "outliers": str(imported["test"]), "outlier_batch_size": 10}
    train("digits", tmp_path / "runs", storage="stream", **options)
    expected = open_stream(imported["test"]).digest
    assert record(tmp_path / "runs")["settings"]["outlier_data"] == expected


def test_a_split_that_is_named_is_taken_whole_and_else_the_validation_split(
    classes: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sizes = {}

    class LookedAtError(Exception):
        pass

    def look(data: TrainingData, *_: object, **__: object) -> None:
        sizes[len(sizes)] = (len(data.real), len(data.val))
        raise LookedAtError

    monkeypatch.setattr(series, "_record", lambda request, data, out: look(data))
    for val in (None, "digits", "digits#test", f"{classes}#test", f"{classes}#train"):
        with pytest.raises(LookedAtError):
            train("digits", tmp_path / "runs", val=val)
    train_size, val_size, test_size = (len(load_embedded("digits", split)) for split in ("train", "val", "test"))
    assert [size for size, _ in sizes.values()] == [train_size] * 5
    assert [size for _, size in sizes.values()] == [val_size, val_size, test_size, 30, 60]


Bad = Callable[[dict[str, Path]], dict[str, Any]]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (lambda sets: {"real": str(sets["train"])}, r"is a set of one split: name other images .*\(--val\)"),
        (lambda sets: {"real": "digits", "val": "textures"}, "has no label|have no label"),
        (lambda sets: {"real": "digits", "val": "digits-unknown"}, "six, seven, eight, nine, which are not among"),
        (lambda sets: {"real": "digits", "val": "nothing"}, "unknown source 'nothing'"),
        (lambda sets: {"real": "digits", "val": str(sets["other"])}, "cat.* which are not among"),
        (lambda sets: {"real": "digits", "val": str(sets["large"])}, "images of 16 pixels, digits of 8; load all with"),
        (
            lambda sets: {"real": "digits", "method": "oe", "outliers": str(sets["large"])},
            "images of 16 pixels, digits of 8; load all with",
        ),
    ],
)
def test_validation_images_and_outliers_that_do_not_fit_are_refused(
    options: Bad, message: str, imported: dict[str, Path], tmp_path: Path
) -> None:
    sets = dict(imported)
    for kind, size in (("other", 8), ("large", 16)):
        for name in ("cat", "dog") if kind == "other" else ("zero", "one"):
            (tmp_path / kind / name).mkdir(parents=True)
            for index in range(3):
                pixels = np.full((size, size, 3), index, np.uint8)
                Image.fromarray(pixels).save(tmp_path / kind / name / f"{index}.png")
        sets[kind] = import_set(str(tmp_path / kind), tmp_path / f"{kind}-set", licence="cc0-1.0").folder
    with pytest.raises(InputError, match=message):
        train(out=tmp_path / "runs", **options(sets), **QUICK)
    assert not (tmp_path / "runs").exists()
