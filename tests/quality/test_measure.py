import html
import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from sio_data import ImageSet, load_source, measure, repair, train, verify
from sio_data.cli import main
from sio_data.cli.measure import _print_table
from sio_data.errors import ClassMapError, InputError, UnknownNameError
from sio_data.files import as_folder
from sio_data.quality import accuracy_score, batches, scan
from sio_data.quality.extractors import Extractor
from sio_data.quality.measures import MEASURES, Measures, read_measures
from tests.conftest import snapshot
from tests.quality.compiled import random_images, write_set

PIXELS = Extractor("pixels", "1", lambda images: images.flatten(1) / 255)


@pytest.fixture(scope="module")
def digits(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A set of 40 held-out digits, of which the first also comes last, and then three training images."""
    test, train = load_source("digits", "test"), load_source("digits", "train")
    chosen = [*range(40), 0]
    images = torch.cat((test.images[chosen], train.images[:2], (train.images[2:3].float() * 0.98).to(torch.uint8)))
    labels = torch.cat((test.labels[chosen], train.labels[:3]))
    folder = tmp_path_factory.mktemp("digits") / "set"
    return write_set(folder, ImageSet(images, labels, test.class_names), shard_size=15)


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A classifier of the digits that knows most of them."""
    folder = tmp_path_factory.mktemp("runs")
    return train("digits", folder, epochs=2, seeds=[0])[0].folder


@pytest.fixture
def folder(digits: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(digits, tmp_path / "set"))


def test_copies_and_duplicates_are_counted_and_named(folder: Path) -> None:
    found = measure(folder, real="digits", features=PIXELS, ratio=0.3)
    assert (found.images, found.real.images, found.real.held_out) == (44, 541, "test")
    assert (found.duplicates.inside, found.duplicates.of_real) == (1, 2)
    assert [(repeat.key, repeat.of) for repeat in found.duplicates.repeats] == [("000000040", "000000000")]
    assert found.near_copies.count == 3
    assert [(copy.key, copy.real) for copy in found.near_copies.listed] == [
        ("000000041", 0), ("000000042", 1), ("000000043", 2),
    ]  # fmt: skip
    assert [copy.distance for copy in found.near_copies.listed[:2]] == [0, 0]
    assert 0 < found.near_copies.listed[2].distance < 0.1
    assert found.near_copies.held_out < 5
    assert {(copy.key, copy.real, copy.distance) for copy in found.hash_copies.listed} >= {
        ("000000041", 0, 0), ("000000042", 1, 0), ("000000043", 2, 0),
    }  # fmt: skip
    assert found.agreement is None
    assert found.accuracy_score is None
    with Image.open(folder / "near-copies.png") as picture:
        assert picture.width > 4 * 2 * 90


def test_the_result_lies_in_the_set_and_counts_for_its_data_alone(folder: Path, digits: Path) -> None:
    found = measure(folder, real="digits", features=PIXELS)
    assert read_measures(folder) == found
    assert read_measures(digits) is None
    manifest = json.loads((folder / "sio.json").read_text())
    assert found.set_digest == manifest["digest"]
    (folder / MEASURES).write_text((folder / MEASURES).read_text().replace(manifest["digest"], "0" * 64))
    assert read_measures(folder) is None
    (folder / MEASURES).write_text("{")
    assert read_measures(folder) is None


def test_the_card_shows_the_measures_of_these_data_and_keeps_its_notes(folder: Path) -> None:
    card = folder / "README.md"
    card.write_text(card.read_text() + "Ask *us*.\n")
    found = measure(folder, real="digits", features=PIXELS)
    shown = card.read_text()
    assert shown.endswith("Ask *us*.\n")
    for name, value in found.rows():
        assert f"| {name} | {value} |" in html.unescape(shown)
    card.write_text(shown.replace("sha256:", "sha256:0"))
    repair(folder)
    assert card.read_text() == shown


def test_a_measured_set_is_sound_also_behind_a_url(folder: Path) -> None:
    url = "memory://measured/set"
    for name, data in snapshot(folder).items():
        path = as_folder(url) / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    found = measure(url, real="digits", features=PIXELS)
    assert read_measures(as_folder(url)) == found == measure(folder, real="digits", features=PIXELS)
    assert not verify(folder).faults
    assert not verify(url).faults


def test_the_same_input_gives_the_same_bytes_and_a_set_is_read_in_batches(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    largest = 0

    def compute(images: torch.Tensor) -> torch.Tensor:
        nonlocal largest
        largest = max(largest, len(images))
        return images.flatten(1) / 255

    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        measure(folder, real="digits", features=PIXELS, out=tmp_path / name / "measures.json")
    assert snapshot(tmp_path / "one") == snapshot(tmp_path / "two")
    assert not (folder / MEASURES).exists()
    for module in (batches, scan):
        monkeypatch.setattr(module, "BATCH", 7)
    small = measure(folder, real="digits", features=Extractor("pixels", "1", compute))
    whole = Measures.read(tmp_path / "one/measures.json")
    assert largest == 7
    assert small.distances.fid == pytest.approx(whole.distances.fid)
    assert replace(small, distances=whole.distances, near_copies=whole.near_copies) == whole
    assert small.near_copies.count == whole.near_copies.count


def test_a_classifier_judges_the_labels_and_its_features_serve(folder: Path, checkpoint: Path) -> None:
    found = measure(folder, real="digits", classifier=checkpoint)
    assert found.features.name == "…/seed-0"
    assert len(found.features.revision) == 64
    assert found.agreement
    assert found.agreement.classifier == found.features
    assert sum(map(sum, found.agreement.confusion)) == 44
    right = sum(row[place] for place, row in enumerate(found.agreement.confusion))
    assert found.agreement.accuracy == right / 44
    apart = measure(folder, real="digits", classifier=checkpoint, features=PIXELS)
    assert apart.agreement == found.agreement
    assert apart.distances != found.distances
    assert str(folder.parent) not in (folder / MEASURES).read_text()


def test_a_wrong_class_order_is_said_loudly(
    checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    images = load_source("digits", "train")
    labels = images.labels.clone()
    labels[images.labels == 0], labels[images.labels == 1] = 1, 0
    write_set(tmp_path / "set", replace(images, labels=labels))
    assert main(["measure", str(tmp_path / "set"), "--real", "digits", "--classifier", str(checkpoint)]) == 0
    shown = capsys.readouterr().out
    assert "WRONG CLASS ORDER" in shown
    assert "what is labelled zero looks like one" in shown


def test_the_accuracy_score_is_that_of_a_classifier_trained_on_the_set(
    folder: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    score = measure(folder, real="digits", features=PIXELS, accuracy_score=True, epochs=2).accuracy_score
    assert score
    assert (score.trained_on, score.tested_on, score.epochs) == (44, 433, 2)
    monkeypatch.setattr(accuracy_score, "MOST_BYTES", 300 * 8 * 8 * 3)
    write_set(tmp_path / "real", load_source("digits", "train"))
    score = measure(tmp_path / "real", real="digits", features=PIXELS, accuracy_score=True, epochs=3).accuracy_score
    assert score
    assert score.trained_on == 300
    assert score.accuracy > 0.6


def test_images_of_other_sizes_are_brought_to_one(folder: Path, checkpoint: Path, tmp_path: Path) -> None:
    big = write_set(tmp_path / "big", random_images(20, size=16))
    with pytest.raises(InputError, match=r"has images of 16x16 pixels, the real ones have 8x8. Give --image-size"):
        measure(big, real="digits", features=PIXELS)
    assert measure(big, real="digits", features=PIXELS, image_size=8).distances.dimensions == 192
    with pytest.raises(InputError, match="a checkpoint takes images of 8 pixels, not 12"):
        measure(folder, real="digits", features=str(checkpoint), image_size=12)


def test_what_cannot_be_measured_is_refused_before_anything_is_written(
    folder: Path, checkpoint: Path, tmp_path: Path, refuse: Callable[..., str]
) -> None:

    def said(*words: object) -> str:
        return refuse("measure", *words, unchanged=folder)

    assert "none was named: give --features" in said(folder, "--real", "digits")
    assert "is no checkpoint" in said(folder, "--real", "digits", "--features", checkpoint.parent)
    assert "features 'clip:x' are none of checkpoint:…" in said(folder, "--real", "digits", "--features", "clip:x")
    assert "unknown source" in said(folder, "--real", "digts", "--classifier", checkpoint)
    assert "ratio must be in" in said(folder, "--real", "digits", "--classifier", checkpoint, "--ratio", "2")
    assert "epochs must be" in said(folder, "--real", "digits", "--classifier", checkpoint, "--epochs", "0")
    out = tmp_path / "no" / "file.json"
    assert "cannot be written" in said(folder, "--real", "digits", "--classifier", checkpoint, "--out", out)
    assert "the accuracy score needs a test split" in said(
        folder, "--real", "digits#train", "--classifier", checkpoint, "--accuracy-score"
    )
    animals = write_set(tmp_path / "animals", random_images(20))
    assert "has the class(es) cat, dog, which the classifier does not know" in said(
        animals, "--real", "digits", "--classifier", checkpoint
    )
    assert "holds no sio.json" in said(checkpoint, "--real", "digits", "--classifier", checkpoint)
    few = write_set(tmp_path / "few", random_images(3))
    assert "3 synthetic images are too few" in said(few, "--real", "digits", "--features", checkpoint)


def test_unsound_features_are_refused(folder: Path) -> None:
    def broken(images: torch.Tensor) -> torch.Tensor:
        return torch.full((len(images), 4), float("nan"))

    with pytest.raises(InputError, match="broken gives features that are NaN or infinite"):
        measure(folder, real="digits", features=Extractor("broken", "1", broken))
    with pytest.raises(InputError, match="same features for every real image"):
        measure(folder, real="digits", features=Extractor("flat", "1", lambda images: torch.ones(len(images), 4)))
    with pytest.raises(InputError, match=r"gives features of shape \[\d+, 3, 8, 8\]"):
        measure(folder, real="digits", features=Extractor("maps", "1", lambda images: images.float()))
    assert not (folder / MEASURES).exists()


def test_the_whole_training_split_counts_where_there_is_a_test_split(digits: Path, tmp_path: Path) -> None:
    for split, count in (("train", 20), ("test", 8)):
        for place in range(count):
            path = tmp_path / "real" / split / "ab"[place % 2] / f"{place}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            pixels = np.random.RandomState(place).randint(0, 256, (8, 8, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(path)
    found = measure(digits, real=str(tmp_path / "real"), features=PIXELS, out=tmp_path / "m.json")
    assert (found.real.name, found.real.images, found.real.held_out_images) == ("…/real", 20, 8)


def test_real_images_without_a_test_split_are_compared_to_their_validation_split(folder: Path, tmp_path: Path) -> None:
    found = measure(folder, real="digits#train", features=PIXELS)
    assert found.real.held_out == "val"
    with pytest.raises(ClassMapError):
        measure(write_set(tmp_path / "x", random_images(20)), real="digits", features=PIXELS, accuracy_score=True)
    with pytest.raises(UnknownNameError):
        measure(folder, real="textures", features=PIXELS)


def test_files_that_are_not_of_measures_are_never_replaced(folder: Path, tmp_path: Path) -> None:
    text, picture = tmp_path / "a.txt", tmp_path / "b.near-copies.png"
    text.write_text("mine")
    picture.write_text("mine")
    before = snapshot(tmp_path)
    for out, kept in ((folder / "sio.json",) * 2, (text, text), (tmp_path / "b.json", picture)):
        with pytest.raises(InputError, match=f"{kept.name} is there and is not of earlier measures"):
            measure(folder, real="digits", features=PIXELS, out=out)
    assert snapshot(tmp_path) == before
    for _ in range(2):
        measure(folder, real="digits", features=PIXELS, out=tmp_path / "c.json")
    assert {*snapshot(tmp_path)} == {*before, "c.json", "c.near-copies.png"}


def test_damaged_measures_of_a_set_are_no_measures_and_are_replaced(folder: Path) -> None:
    found = measure(folder, real="digits", features=PIXELS)
    whole = json.loads((folder / MEASURES).read_text())
    whole["near_copies"]["count"] = 10**400
    (folder / MEASURES).write_text(json.dumps(whole))
    (folder / "README.md").unlink()
    repair(folder)
    assert "FID" not in (folder / "README.md").read_text()
    assert measure(folder, real="digits", features=PIXELS) == found == read_measures(folder)


def test_nothing_in_a_set_reaches_the_terminal_raw(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    real = tmp_path / "\x1b[2Jreal"
    for place in range(20):
        path = real / "train" / "ab"[place % 2] / f"{place}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.random.RandomState(place).randint(0, 256, (8, 8, 3), dtype=np.uint8)).save(path)
    _print_table(measure(write_set(tmp_path / "set", random_images(20)), real=str(real), features=PIXELS))
    shown = capsys.readouterr().out
    assert "\x1b[2J" not in shown
    assert "\\x1b[2Jreal" in shown
