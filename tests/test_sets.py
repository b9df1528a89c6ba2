"""What others see of a set: load_dataset, the card."""

import dataclasses
import json
import shutil
from pathlib import Path

import datasets
import numpy as np
import pytest
import yaml
from datasets import load_dataset
from datasets.exceptions import NonMatchingSplitsSizesError

from sio_data import generate, load_source, open_set
from sio_data.class_lists import imagenet_names
from sio_data.compilation import Compilation
from sio_data.completion import reopen
from sio_data.errors import InputError, UnknownNameError
from tests.test_compilation import compile_set

NAMES = ["zero", "one", "two", "three", "four", "five"]


@pytest.mark.parametrize("streaming", [False, True])
def test_load_dataset_gives_images_and_named_labels(tiny_set: Path, streaming: bool) -> None:
    loaded = load_dataset(str(tiny_set), split="train", streaming=streaming)
    assert isinstance(loaded.features["png"], datasets.Image)
    assert loaded.features["cls"] == datasets.ClassLabel(names=NAMES)
    rows = list(loaded)
    ours = open_set(tiny_set).read()
    assert [row["cls"] for row in rows] == ours.labels.tolist()
    assert np.array_equal([np.asarray(row["png"]) for row in rows], ours.images.permute(0, 2, 3, 1).numpy())
    provenance = rows[3]["json"] if isinstance(rows[3]["json"], dict) else json.loads(rows[3]["json"])
    assert provenance["index"] == 3
    assert provenance["class"] == "three"


def test_another_set_of_the_same_folder_name_is_not_served_from_the_cache(
    tiny_generator: Path, tiny_set: Path, tmp_path: Path
) -> None:
    load_dataset(str(tiny_set), split="train")
    other = tmp_path / tiny_set.name
    generate("diffusers", str(tiny_generator), other, per_class=5, seed=9, shard_size=8, sampling={"steps": "1"})
    first = np.asarray(load_dataset(str(other), split="train")[0]["png"])
    assert np.array_equal(first, open_set(other).read().images[0].permute(1, 2, 0).numpy())


def test_card_names_licence_provenance_and_size(tiny_set: Path) -> None:
    card = (tiny_set / "README.md").read_text()
    metadata = yaml.safe_load(card.split("---\n")[1])
    assert metadata["license"] == "cc-by-4.0"
    assert metadata["size_categories"] == ["n<1K"]
    assert "synthetic" in metadata["tags"]
    assert metadata["dataset_info"]["splits"][0]["num_examples"] == 30
    for text in (
        "2303.14531",
        "| steps = 1, guidance = 1.0, scheduler = DDIMScheduler, dtype = float32, compile = no |",
        open_set(tiny_set).manifest.recipe.hash,
        "load_dataset",
    ):
        assert text in card


def test_a_set_is_a_source(tiny_set: Path) -> None:
    images = load_source(str(tiny_set))
    assert len(images) == 30
    assert load_source(f"{tiny_set}#train", image_size=12).image_size == 12
    for name, split in ((f"{tiny_set}#test", "train"), (str(tiny_set), "val"), (str(tiny_set), "test")):
        with pytest.raises(UnknownNameError, match="goes beside real data"):
            load_source(name, split)
    assert load_source(str(tiny_set), "test", labelled=False).labels.tolist() == [-1] * 30


def test_a_folder_that_is_no_set_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="is no synthetic set"):
        open_set(tmp_path)


def test_a_set_larger_than_memory_is_an_error_not_a_crash(tiny_set: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise MemoryError

    monkeypatch.setattr(np, "empty", fail)
    with pytest.raises(InputError, match="does not fit in memory"):
        open_set(tiny_set).read()


def test_hidden_files_of_the_system_do_not_matter(tiny_set: Path, tmp_path: Path) -> None:
    copy = Path(shutil.copytree(tiny_set, tmp_path / "set"))
    (copy / "data/.DS_Store").touch()
    assert len(open_set(copy).read()) == 30


def test_names_that_would_break_the_card_do_not(tiny_generator: Path, tmp_path: Path) -> None:
    weights = Path(shutil.copytree(tiny_generator, tmp_path / "weights"))
    index = json.loads((weights / "model_index.json").read_text())
    hostile = [
        "no",
        "1",
        "---\nlicense: mit",
        "<script>alert(1)</script>",
        "a | b: [c](d) `e` \\[f\\](g)",
        "ö: 'x' \"y\" #z",
    ]
    index["id2label"] = {str(label): name for label, name in enumerate(hostile)}
    (weights / "model_index.json").write_text(json.dumps(index))
    out = tmp_path / "set"
    generate("diffusers", str(weights), out, per_class=1, sampling={"steps": "1"})
    assert load_dataset(str(out), split="train").features["cls"].names == hostile
    card = (out / "README.md").read_text()
    body = card.split("---\n", 2)[2] if card.count("---\n") == 2 else card[card.rindex("---\n") :]
    assert "<script>" not in body
    assert "](d)" not in body
    assert "](g)" not in body
    assert "a &#124; b: &#91;c&#93;(d)" in body
    assert "\nlicense: mit" not in body


@pytest.mark.parametrize("streaming", [False, True])
def test_classes_of_imagenet_that_share_a_name_are_told_apart(
    compilation: Compilation,
    tmp_path: Path,
    streaming: bool,
) -> None:
    """A ClassLabel refuses two of the same name: ImageNet has two cranes and two maillots."""
    names = imagenet_names()
    counts = [0] * 1000
    for label in (134, 517, 638, 639):
        counts[label] = 1
    chosen = dataclasses.replace(compilation, class_names=names, counts=tuple(counts))
    compile_set(tmp_path / "set", chosen, labels=np.array([134, 517, 638, 639]))
    rows = load_dataset(str(tmp_path / "set"), split="train", streaming=streaming)
    assert rows.features["cls"].names == list(names)
    cranes = [rows.features["cls"].int2str(row["cls"]) for row in rows]
    assert len({*cranes}) == 4
    assert [name.partition(" (")[0] for name in cranes] == ["crane", "crane", "maillot", "maillot"]


def test_a_shard_that_was_cut_off_after_a_sample_is_refused_by_load_dataset_too(damaged: Path) -> None:
    shard = damaged / "data/train-000003.tar"
    shard.write_bytes(shard.read_bytes()[: 6 * 512])
    with pytest.raises(NonMatchingSplitsSizesError):
        load_dataset(str(damaged), split="train")


def test_load_dataset_finds_nothing_in_an_incomplete_set(damaged: Path) -> None:
    reopen(damaged, open_set(damaged).manifest, [])
    assert not (damaged / "_info.json").exists()
    for streaming in (False, True):
        with pytest.raises(FileNotFoundError, match="this-set-is-incomplete"):
            load_dataset(str(damaged), split="train", streaming=streaming)
