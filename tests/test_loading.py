"""`load`: one form for sets of ours and of others, and none of `load_dataset`'s traps."""

import shutil
import tarfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import pytest
from datasets.distributed import split_dataset_by_node
from PIL import Image

from sio_data import load, load_source, open_set
from sio_data.errors import CorruptSetError, IncompleteError, InputError, UnknownNameError
from sio_data.records import RECORDS
from tests.damage import CARD, SHARDS, flip, replace_text
from tests.test_compilation import IMAGES, LABELS, SOURCES, compile_set
from tests.test_sources import make_folder, make_parquet

NAMES = ["zero", "one", "two", "three", "four", "five"]
both = pytest.mark.parametrize("streaming", [False, True])


@both
def test_a_set_of_ours_has_images_named_labels_provenance_and_keys(tiny_set: Path, streaming: bool) -> None:
    rows = load(str(tiny_set), streaming=streaming)
    assert isinstance(rows, datasets.IterableDataset if streaming else datasets.Dataset)
    assert list(rows.features) == ["image", "label", "json", "key"]
    assert isinstance(rows.features["image"], datasets.Image)
    assert rows.features["label"] == datasets.ClassLabel(names=NAMES)
    for row, sample in zip(rows, open_set(tiny_set).samples(), strict=True):
        assert np.array_equal(np.asarray(row["image"]), sample.image)
        assert (row["label"], row["key"], row["json"]) == (sample.label, sample.key, dict(sample.metadata))


@both
def test_a_compiled_set_loads_like_any_other(compilation, tmp_path: Path, streaming: bool) -> None:
    compile_set(tmp_path / "set", compilation)
    rows = list(load(str(tmp_path / "set"), streaming=streaming))
    assert np.array_equal([np.asarray(row["image"]) for row in rows], IMAGES)
    assert [row["label"] for row in rows] == LABELS.tolist()
    assert [row["json"]["source"] for row in rows] == [source["source"] for source in SOURCES]


def test_a_shard_that_was_cut_off_after_a_sample_is_refused_not_read_short(damaged: Path) -> None:
    shard = damaged / SHARDS[3]
    shard.write_bytes(shard.read_bytes()[: 6 * 512])
    for streaming in (False, True):
        with pytest.raises(CorruptSetError, match=r"3,072 of .* sio-data repair"):
            load(str(damaged), streaming=streaming)
    shard.unlink()
    with pytest.raises(CorruptSetError, match="is missing"):
        load(str(damaged), streaming=True)


def test_a_flipped_bit_is_found_when_not_streaming(damaged: Path) -> None:
    flip(damaged / SHARDS[1], 700)
    with pytest.raises(CorruptSetError, match="other bytes than recorded"):
        load(str(damaged))


def test_what_load_dataset_read_of_a_cut_shard_is_not_given_after_the_repair(tiny_set: Path, tmp_path: Path) -> None:
    """The shared cache knows the damaged folder and the mended one by the same card."""
    copy = Path(shutil.copytree(tiny_set, tmp_path / "cut"))
    shard, whole = copy / SHARDS[3], (copy / SHARDS[3]).read_bytes()
    with tarfile.open(shard) as tar:
        shard.write_bytes(whole[: tar.getmember("000000029.cls").offset])  # of the last sample only the image is left
    poisoned = datasets.load_dataset(str(copy), split="train")
    assert poisoned[-1]["cls"] is None
    shard.write_bytes(whole)
    assert load(str(copy))[-1]["label"] == 5


@both
def test_a_card_with_other_classes_is_refused(damaged: Path, streaming: bool) -> None:
    replace_text(damaged / CARD, "'0': zero", "'0': one")
    with pytest.raises(CorruptSetError, match="other rows or class names"):
        load(str(damaged), streaming=streaming)


def test_an_incomplete_set_is_refused(damaged: Path) -> None:
    from dataclasses import replace

    from sio_data.manifest import Manifest

    (damaged / RECORDS).mkdir()
    replace(Manifest.read(damaged), complete=False, shards=()).write(damaged)
    with pytest.raises(IncompleteError, match="incomplete"):
        load(str(damaged))


def test_streams_are_shuffled_cut_among_nodes_and_resumed_by_shards(tiny_set: Path) -> None:
    rows = load(str(tiny_set), streaming=True)
    assert rows.num_shards == 4

    def keys(stream: Iterable[dict[str, Any]]) -> list[str]:
        return [row["key"] for row in stream]

    whole = keys(rows)
    shuffled = rows.shuffle(seed=0, buffer_size=10)
    first = keys(shuffled)
    assert first == keys(load(str(tiny_set), streaming=True).shuffle(seed=0, buffer_size=10))
    shuffled.set_epoch(1)
    assert first != keys(shuffled)
    assert sorted(first) == sorted(keys(shuffled)) == whole
    for count in (2, 3):
        parts = [keys(split_dataset_by_node(rows, rank=rank, world_size=count)) for rank in range(count)]
        assert sorted(key for part in parts for key in part) == whole
    stream = iter(rows)
    begun = [next(stream)["key"] for _ in range(11)]
    fresh = load(str(tiny_set), streaming=True)
    fresh.load_state_dict(rows.state_dict())
    assert begun + keys(fresh) == whole


def test_splits_are_found_by_name_and_by_meaning(tmp_path: Path) -> None:
    folder = make_folder(tmp_path / "set", {"train": 4, "validation": 2, "test": 3})
    assert [load(str(folder), split).num_rows for split in ("train", "val", "validation", "test")] == [4, 2, 2, 3]
    assert load(f"{folder}#test").num_rows == 3
    for name, split in ((str(folder), "extra"), (f"{folder}#extra", "train")):
        with pytest.raises(UnknownNameError, match="'extra'"):
            load(name, split)


@both
def test_columns_of_other_data_sets_are_found_by_what_they_hold(tmp_path: Path, streaming: bool) -> None:
    features = datasets.Features(
        {"tag": datasets.Value("string"), "fine": datasets.ClassLabel(names=["a", "b"]), "img": datasets.Image()}
    )
    pictures = [Image.new("RGB", (4, 4), (value,) * 3) for value in range(3)]
    rows = datasets.Dataset.from_dict({"tag": ["x"] * 3, "fine": [0, 1, 0], "img": pictures}, features=features)
    (tmp_path / "set").mkdir()
    rows.to_parquet(tmp_path / "set/train.parquet")
    loaded = load(str(tmp_path / "set"), streaming=streaming)
    assert {*loaded.features} == {"image", "label"}
    assert loaded.features["label"].names == ["a", "b"]
    assert [(row["label"], row["image"].getpixel((0, 0))[0]) for row in loaded] == [(0, 0), (1, 1), (0, 2)]


def test_no_stale_rows_of_another_folder_or_of_before(tmp_path: Path) -> None:
    one, two = make_parquet(tmp_path / "x/data", [1, 2]), make_parquet(tmp_path / "y/data", [3, 4, 5])
    assert [load(str(folder)).num_rows for folder in (one, two)] == [2, 3]
    make_parquet(one, [6, 7, 8, 9])
    assert load(str(one)).num_rows == 4


@both
def test_embedded_sources_load_too(streaming: bool) -> None:
    rows, ours = load("digits", "test", streaming=streaming), load_source("digits", "test")
    assert rows.features["label"].names == NAMES
    assert [row["label"] for row in rows] == ours.labels.tolist()
    assert np.array_equal(np.asarray(next(iter(rows))["image"]), ours.images[0].permute(1, 2, 0))
    with pytest.raises(InputError, match="have no label"):
        load("textures", "test")


@both
def test_a_folder_whose_name_datasets_takes_for_a_pattern_is_refused_with_a_reason(
    tiny_set: Path, tmp_path: Path, streaming: bool
) -> None:
    copy = Path(shutil.copytree(tiny_set, tmp_path / "odd [x]"))
    with pytest.raises(InputError, match="must be renamed"):
        load(str(copy), streaming=streaming)
    assert load(str(copy.rename(tmp_path / "odd # = ü")), streaming=streaming).features["label"].names == NAMES


def test_folders_are_named_by_paths_and_by_file_urls_too(tiny_set: Path, tmp_path: Path) -> None:
    copy = Path(shutil.copytree(tiny_set, tmp_path / "odd ü"))
    real = make_folder(tmp_path / "real # ü", {"train": 4, "test": 3})
    for name in (copy, copy.as_uri()):
        assert load(name).num_rows == len(load_source(name)) == 30
    for name, split in ((real, "test"), (real.as_uri(), "test"), (f"{real.as_uri()}#test", "test")):
        assert load(name, split).num_rows == len(load_source(name, split)) == 3


def test_other_urls_are_refused_with_a_reason_and_without_their_password() -> None:
    for function in (load, load_source):
        with pytest.raises(InputError, match=r"not loaded from s3://\. .*open_set") as caught:
            function("s3://user:secret@bucket/set#train")
        assert "secret" not in str(caught.value)


def test_what_is_no_data_set_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UnknownNameError, match="Did you mean 'digits'"):
        load("digts")
    (tmp_path / "a.csv").write_text("x,y\n1,2\n")
    for streaming in (False, True):
        with pytest.raises(InputError, match=r"no column of images|does not say what its columns are"):
            load(str(tmp_path), streaming=streaming)


@both
def test_metadata_of_any_shape_do_not_drift(compilation, tmp_path: Path, streaming: bool) -> None:
    """Inferred features would drop keys, cut 1.5 to 1, refuse a text after a number and overflow from 2**63 on."""
    shapes = [{"a": 1}, {"a": 1.5}, {"a": "x"}, {"b": 2**63 + 1}, {}, {"a": None, "c": [1, "x"]}, {"d": {"e": 1}}]
    compile_set(tmp_path / "set", compilation, [{"source": shape} for shape in shapes])
    assert [row["json"]["source"] for row in load(str(tmp_path / "set"), streaming=streaming)] == shapes
    plain = datasets.load_dataset(str(tmp_path / "set"), split="train", streaming=streaming)
    assert [row["json"]["source"] for row in plain] == shapes
