"""Bundles: several sets in one repository, each a configuration of `load_dataset` or a split of one."""

import dataclasses
import shutil
from collections.abc import Callable
from pathlib import Path

import datasets
import numpy as np
import pytest
import yaml

from sio_data import bundle, load, load_source, open_set, verify
from sio_data.bundle_card import render_bundle_card
from sio_data.bundles import open_bundle
from sio_data.cli import main
from sio_data.errors import FolderInUseError, IncompleteError, InputError, UnknownNameError
from sio_data.manifest import Manifest
from tests.conftest import snapshot
from tests.damage import SHARDS, flip, replace_text
from tests.test_compilation import IMAGES, LABELS

NAMES = ["zero", "one", "two", "three", "four", "five"]
both = pytest.mark.parametrize("streaming", [False, True])


@both
def test_every_configuration_and_split_loads_with_its_own_classes(
    sets: Path, tiny_set: Path, other_set: Path, streaming: bool
) -> None:
    bundle(sets, default="digits")
    animals = datasets.load_dataset(str(sets), "animals", split="train", streaming=streaming)
    assert animals.features["cls"].names == ["cat", "dog", "owl"]
    assert [row["cls"] for row in animals] == LABELS.tolist()
    assert np.array_equal([np.asarray(row["png"]) for row in animals], IMAGES)
    digits = datasets.load_dataset(str(sets), "digits", streaming=streaming)
    assert list(digits) == ["train", "validation"]
    for split, folder in (("train", tiny_set), ("validation", other_set)):
        rows, samples = list(digits[split]), list(open_set(folder).samples())
        assert digits[split].features["cls"].names == NAMES
        assert np.array_equal([np.asarray(row["png"]) for row in rows], [sample.image for sample in samples])
        assert [row["json"] for row in rows] == [dict(sample.metadata) for sample in samples]


def test_the_default_is_the_first_or_the_one_named_and_stays(sets: Path) -> None:
    assert bundle(sets).default == "animals"
    assert datasets.load_dataset(str(sets), split="train").features["cls"].names == ["cat", "dog", "owl"]
    assert bundle(sets, default="digits").default == "digits"
    assert bundle(sets).default == "digits"
    assert datasets.load_dataset(str(sets), split="train").features["cls"].names == NAMES
    shutil.rmtree(sets / "digits")
    assert bundle(sets).default == "animals"


def test_a_single_set_may_be_a_bundle(tiny_set: Path, tmp_path: Path) -> None:
    shutil.copytree(tiny_set, tmp_path / "digits/test")
    bundle(tmp_path)
    assert datasets.load_dataset(str(tmp_path), split="test").num_rows == 30
    assert datasets.load_dataset(str(tmp_path), "digits", split="test").features["cls"].names == NAMES


def test_a_set_that_was_made_anew_is_not_served_from_the_cache(sets: Path, other_set: Path, tiny_set: Path) -> None:
    def first() -> object:
        return np.asarray(datasets.load_dataset(str(sets), "digits", split="train")[0]["png"])

    bundle(sets)
    before = first()
    shutil.rmtree(sets / "digits/train")
    shutil.copytree(other_set, sets / "digits/train")
    bundle(sets)
    assert np.array_equal(first(), next(open_set(other_set).samples()).image)
    assert np.array_equal(before, next(open_set(tiny_set).samples()).image)


def test_a_part_is_a_set_in_itself_and_the_whole_is_none(sets: Path) -> None:
    bundle(sets)
    assert load(str(sets / "animals")).features["label"].names == ["cat", "dog", "owl"]
    assert len(load_source(str(sets / "digits/train"))) == 30
    for read in (load, load_source, open_set):
        with pytest.raises(InputError, match=r"name one of them, like .*sets/animals"):
            read(str(sets))


def test_the_card_names_parts_licences_and_how_to_load(sets: Path) -> None:
    bundle(sets)
    card = (sets / "README.md").read_text()
    metadata = yaml.safe_load(card.split("---\n")[1])
    assert (metadata["license"], metadata["size_categories"]) == ("other", ["n<1K"])
    assert [info["config_name"] for info in metadata["dataset_info"]] == ["animals", "digits"]
    for text in (
        "| animals (default) | train | 7 | 4x4 | 3 | old.npz | mit |",
        "| digits | validation | 30 | 8x8 | 6 |",
        "mit; cc-by-4.0",
        'load_dataset("path/to/this/folder", "animals", split="train")',
        'sio_data.load("path/to/this/folder/animals")',
        "[digits/train](digits/train/README.md)",
        "2303.14531",
    ):
        assert text in card
    published = render_bundle_card(open_bundle(sets), repository="me/sets", tag="v1")
    assert 'load_dataset("me/sets", "animals", split="train", revision="v1")' in published
    assert 'sio_data.load("hub:me/sets/animals@v1", "train")' in published
    shutil.rmtree(sets / "animals")
    bundle(sets)
    assert yaml.safe_load((sets / "README.md").read_text().split("---\n")[1])["license"] == "cc-by-4.0"


def test_written_again_it_is_the_same_and_notes_stay(sets: Path) -> None:
    bundle(sets)
    before = snapshot(sets)
    bundle(str(sets))
    assert snapshot(sets) == before
    with (sets / "README.md").open("a") as card:
        card.write("Ask *us*.\n")
    compile_to = open_bundle(sets).parts[0].set.folder
    shutil.copytree(compile_to, sets / "birds")
    bundle(sets)
    card_text = (sets / "README.md").read_text()
    assert card_text.endswith("Ask *us*.\n")
    assert "birds" in card_text
    assert not verify(sets).faults


def test_a_readme_of_somebody_else_is_left_alone(sets: Path) -> None:
    (sets / "README.md").write_text("My thesis.")
    with pytest.raises(FolderInUseError, match="not the card of a bundle"):
        bundle(sets)
    assert (sets / "README.md").read_text() == "My thesis."


def incomplete(folder: Path) -> None:
    dataclasses.replace(Manifest.read(folder), complete=False, shards=()).write(folder)


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        (lambda sets: (sets / "animals").rename(sets / "a b"), InputError, "a configuration is called by letters"),
        (lambda sets: (sets / "digits/train").rename(sets / "digits/a-b"), InputError, "a split is called by letters"),
        (lambda sets: (sets / "digits/train").rename(sets / "digits/all"), InputError, "not 'all'"),
        (
            lambda sets: (sets / "animals").rename(sets / "digits/test"),
            InputError,
            "train and test of digits differ in",
        ),
        (lambda sets: incomplete(sets / "animals"), IncompleteError, "animals is incomplete"),
        (lambda sets: (sets / "animals/data/x.tar").touch(), InputError, "is not part of the set"),
        (shutil.rmtree, InputError, "holds no sets"),
        (lambda sets: shutil.copy(sets / "animals/sio.json", sets), InputError, "holds no sets"),
    ],
)
def test_what_cannot_be_a_bundle_is_refused_and_nothing_is_written(
    sets: Path, change: Callable[[Path], object], error: type[Exception], message: str
) -> None:
    change(sets)
    before = snapshot(sets)
    with pytest.raises(error, match=message):
        bundle(sets)
    assert snapshot(sets) == before


def test_an_unknown_default_is_refused(sets: Path) -> None:
    with pytest.raises(UnknownNameError, match="Did you mean 'digits'"):
        bundle(sets, default="digit")
    assert not (sets / "README.md").exists()


def test_hidden_folders_are_no_parts(sets: Path, tiny_set: Path) -> None:
    shutil.copytree(tiny_set, sets / ".backup")
    assert [part.path for part in bundle(sets).parts] == ["animals", "digits/train", "digits/validation"]


def test_verify_checks_every_part_and_the_card(sets: Path) -> None:
    bundle(sets)
    found = verify(sets)
    assert (found.faults, found.samples) == ((), 67)
    flip(sets / "digits/train" / SHARDS[1], 700)
    (sets / "animals/preview.png").unlink()
    assert {fault.path for fault in verify(sets).faults} == {f"digits/train/{SHARDS[1]}", "animals/preview.png"}


@pytest.mark.parametrize(
    ("change", "path", "what"),
    [
        (lambda sets: shutil.rmtree(sets / "animals"), "animals", "is missing"),
        (lambda sets: shutil.copytree(sets / "animals", sets / "birds"), "README.md", "does not fit the data"),
        (lambda sets: (sets / "README.md").unlink(), "README.md", "is missing"),
        (lambda sets: replace_text(sets / "README.md", "'0': cat", "'0': fox"), "README.md", "does not fit the data"),
        (lambda sets: replace_text(sets / "README.md", "sha256:", "sha256:0"), "README.md", "does not fit the data"),
        (lambda sets: (sets / "README.md").write_text("---\nconfigs: [1, {data_files: 3}]\n---\n"), "README.md", "fit"),
        (lambda sets: (sets / "animals/sio.json").unlink(), "animals/sio.json", "is missing"),
    ],
)
def test_verify_names_what_is_wrong(sets: Path, change: Callable[[Path], object], path: str, what: str) -> None:
    bundle(sets)
    change(sets)
    (fault,) = verify(sets).faults
    assert fault.path == path
    assert what in fault.what


def test_a_card_cannot_lead_verify_out_of_the_folder(sets: Path, tiny_set: Path, tmp_path: Path) -> None:
    shutil.copytree(tiny_set, tmp_path / "outside")
    flip(tmp_path / "outside" / SHARDS[1], 700)
    bundle(sets)
    replace_text(sets / "README.md", "animals/data/train-*.tar", "../outside/data/train-*.tar")
    assert [fault.path for fault in verify(sets).faults] == ["README.md"]


def test_the_commands(sets: Path, capsys: pytest.CaptureFixture[str], refuse: Callable[..., str]) -> None:
    def said() -> str:
        captured = capsys.readouterr()
        return " ".join((captured.out + captured.err).split())

    assert main(["bundle", str(sets), "--default", "digits"]) == 0
    assert "digits/validation: 30 images (digits, default, validation)." in said()
    assert main(["verify", str(sets)]) == 0
    assert "67 images, all checked" in said()
    for command in ("repair", "verify"):
        words = ["--regenerate", 1] if command == "verify" else []
        assert "like" in refuse(command, sets, *words, unchanged=sets)
    flip(sets / "digits/train" / SHARDS[1], 700)
    assert main(["verify", str(sets)]) == 1
    shown = said()
    assert f"digits/train/{SHARDS[1]}: was changed" in shown
    assert f"then the card with: sio-data bundle {sets}" in shown


def test_a_bundle_of_nothing_is_refused(tmp_path: Path, refuse: Callable[..., str]) -> None:
    assert "holds no sets" in refuse("bundle", tmp_path, unchanged=tmp_path)
