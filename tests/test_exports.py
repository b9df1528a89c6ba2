"""`export`: other programs find the same pixels, labels and class names."""

import dataclasses
import errno
import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import pyarrow.parquet as pq
import pytest
from PIL import Image

from sio_data import export, load_source, open_set
from sio_data.compilation import Compilation
from sio_data.engines import claims
from sio_data.errors import CorruptSetError, FolderInUseError, InputError, SioDataError, UnknownNameError
from tests.conftest import snapshot
from tests.damage import SHARDS, flip
from tests.test_compilation import IMAGES, LABELS, compile_set

FORMATS = ["npy", "folder", "parquet"]
NAMES = ["zero", "one", "two", "three", "four", "five"]


def pixels(rows: Any) -> Any:
    return np.array([np.asarray(row["image"]) for row in rows])


def test_arrays_are_what_numpy_loads(tiny_set: Path, tmp_path: Path) -> None:
    assert export(tiny_set, tmp_path / "out", format="npy").samples == 30
    ours = open_set(tiny_set).read()
    images, labels = np.load(tmp_path / "out/images.npy", mmap_mode="r"), np.load(tmp_path / "out/labels.npy")
    assert (images.dtype, labels.dtype) == (np.uint8, np.int64)
    assert np.array_equal(images, ours.images.permute(0, 2, 3, 1).numpy())
    assert np.array_equal(labels, ours.labels.numpy())
    assert json.loads((tmp_path / "out/class_names.json").read_text()) == NAMES


@pytest.mark.parametrize("streaming", [False, True])
@pytest.mark.parametrize("form", ["folder", "parquet"])
def test_load_dataset_gives_the_same_images_labels_names_and_provenance(
    tiny_set: Path, tmp_path: Path, form: str, streaming: bool
) -> None:
    export(tiny_set, tmp_path / "out", format=form)
    rows = datasets.load_dataset(str(tmp_path / "out"), split="train", streaming=streaming)
    assert isinstance(rows.features["image"], datasets.Image)
    assert rows.features["label"] == datasets.ClassLabel(names=NAMES)
    samples, rows = list(open_set(tiny_set).samples()), list(rows)
    assert np.array_equal(pixels(rows), [sample.image for sample in samples])
    assert [row["label"] for row in rows] == [sample.label for sample in samples]
    assert [row["json"] for row in rows] == [dict(sample.metadata) for sample in samples]


@pytest.mark.parametrize("form", ["folder", "parquet"])
def test_an_export_is_a_source(tiny_set: Path, tmp_path: Path, form: str) -> None:
    export(tiny_set, tmp_path / "out", format=form)
    ours, theirs = open_set(tiny_set).read(), load_source(str(tmp_path / "out"), hold_out=False)
    assert theirs.class_names == ours.class_names
    assert sorted(zip(theirs.labels.tolist(), map(bytes, theirs.images.numpy()), strict=True)) == sorted(
        zip(ours.labels.tolist(), map(bytes, ours.images.numpy()), strict=True)
    )


def test_the_picture_files_are_those_of_the_shards(tiny_set: Path, tmp_path: Path) -> None:
    export(tiny_set, tmp_path / "out", format="folder")
    classes = json.loads((tmp_path / "out/classes.json").read_text())
    assert [(entry["label"], entry["name"], entry["images"]) for entry in classes] == [
        (label, name, 5) for label, name in enumerate(NAMES)
    ]
    for sample in open_set(tiny_set).samples():
        path = tmp_path / "out" / classes[sample.label]["folder"] / f"{sample.key}.png"
        assert path.read_bytes() == sample.data
        assert np.array_equal(np.asarray(Image.open(path)), sample.image)
    assert sum(1 for _ in (tmp_path / "out").rglob("*.png")) == 30


@pytest.mark.parametrize("image_format", ["png", "webp", "jpg"])
@pytest.mark.parametrize("form", FORMATS)
def test_a_compiled_set_with_an_empty_class_keeps_its_labels(
    compilation: Compilation,
    tmp_path: Path,
    form: str,
    image_format: str,
) -> None:
    compile_set(tmp_path / "set", dataclasses.replace(compilation, image_format=image_format))
    export(tmp_path / "set", tmp_path / "out", format=form)
    if form == "npy":
        images, labels = np.load(tmp_path / "out/images.npy"), np.load(tmp_path / "out/labels.npy")
    else:
        rows = datasets.load_dataset(str(tmp_path / "out"), split="train")
        assert rows.features["label"].names == ["cat", "dog", "owl"]
        images, labels = pixels(rows), [row["label"] for row in rows]
    assert np.array_equal(labels, LABELS)
    assert image_format == "jpg" or np.array_equal(images, IMAGES)


@pytest.mark.parametrize("names", [["test", "train", "validation"], ["../up", ".hidden", "a/b"]])
@pytest.mark.parametrize("form", ["folder", "parquet"])
def test_names_of_splits_and_of_paths_are_classes_like_any_other(
    compilation: Compilation,
    tmp_path: Path,
    names: list[str],
    form: str,
) -> None:
    compile_set(tmp_path / "set", dataclasses.replace(compilation, class_names=tuple(names)))
    export(tmp_path / "set", tmp_path / "new/out", format=form)
    rows = datasets.load_dataset(str(tmp_path / "new/out"))
    assert list(rows) == ["train"]
    assert rows["train"].features["label"].names == names
    assert sorted(rows["train"]["label"]) == sorted(LABELS)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["new", "set"]


def test_one_image_of_one_class(compilation: Compilation, tmp_path: Path) -> None:
    compile_set(tmp_path / "set", dataclasses.replace(compilation, class_names=("cat",), counts=(1,)))
    for form in ("folder", "parquet"):
        export(tmp_path / "set", tmp_path / form, format=form)
        rows = datasets.load_dataset(str(tmp_path / form), split="train")
        assert [(row["label"], row["image"].size) for row in rows] == [(0, (4, 4))]
        assert rows.features["label"].names == ["cat"]


@pytest.mark.parametrize("form", FORMATS)
def test_the_same_set_gives_the_same_bytes(tiny_set: Path, tmp_path: Path, form: str) -> None:
    for name in ("one", "two"):
        export(tiny_set, tmp_path / name, format=form)
    assert snapshot(tmp_path / "one") == snapshot(tmp_path / "two")


@pytest.mark.parametrize("form", ["folder", "parquet"])
def test_another_export_under_the_same_name_is_not_served_from_the_cache(
    tiny_set: Path, other_set: Path, tmp_path: Path, form: str
) -> None:
    for number, folder in enumerate((tiny_set, other_set)):
        export(folder, tmp_path / f"{number}/out", format=form)
        rows = datasets.load_dataset(str(tmp_path / f"{number}/out"), split="train")
        assert np.array_equal(pixels(rows), [sample.image for sample in open_set(folder).samples()])


def test_parquet_is_cut_in_files_of_whole_shards_and_small_row_groups(
    tiny_set: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sio_data.export_formats._BYTES_PER_FILE", (tiny_set / SHARDS[0]).stat().st_size * 2)
    monkeypatch.setattr("sio_data.parquet_tables._ROWS", 5)
    export(tiny_set, tmp_path / "out", format="parquet")
    files = sorted((tmp_path / "out/data").iterdir())
    assert [path.name for path in files] == [f"train-0000{number}-of-00002.parquet" for number in range(2)]
    assert [pq.ParquetFile(path).metadata.num_rows for path in files] == [16, 14]
    assert pq.ParquetFile(files[0]).metadata.row_group(0).num_rows == 5
    assert datasets.load_dataset(str(tmp_path / "out"), split="train").num_rows == 30


@pytest.mark.parametrize("form", FORMATS)
def test_a_damaged_shard_ends_the_export_and_leaves_nothing(damaged: Path, tmp_path: Path, form: str) -> None:
    flip(damaged / SHARDS[2], 700)
    with pytest.raises(CorruptSetError, match="other bytes than recorded"):
        export(damaged, tmp_path / "out", format=form)
    assert list(tmp_path.iterdir()) == [damaged]


@pytest.mark.parametrize("form", FORMATS)
def test_a_killed_export_is_not_there_and_is_done_again(
    tiny_set: Path, tmp_path: Path, form: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    export(tiny_set, tmp_path / "whole", format=form)
    with monkeypatch.context() as patch:
        patch.setattr("sio_data.exports.remove_tree", lambda folder: None)  # who is killed cannot tidy up

        def kill(folder: Path, *_: object) -> None:
            (folder / "rest").mkdir()
            (folder / "rest/half").write_bytes(b"x")
            raise KeyboardInterrupt

        patch.setitem(__import__("sio_data.exports", fromlist=["x"])._WRITERS, form, kill)
        with pytest.raises(KeyboardInterrupt):
            export(tiny_set, tmp_path / "out", format=form)
    assert not (tmp_path / "out").exists()
    assert (tmp_path / ".out.unfinished/rest/half").exists()
    export(tiny_set, tmp_path / "out", format=form)
    assert snapshot(tmp_path / "out") == snapshot(tmp_path / "whole")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out", "whole"]


def test_two_exports_to_one_folder_do_not_meet(tiny_set: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from sio_data import exports

    write = exports._WRITERS["npy"]

    def interrupted(folder: Path, *rest: Any) -> None:
        refused()
        write(folder, *rest)

    def refused() -> None:
        with pytest.raises(FolderInUseError, match="another run is writing"):
            export(tiny_set, tmp_path / "out", format="parquet")

    monkeypatch.setitem(exports._WRITERS, "npy", interrupted)
    monkeypatch.setattr("os.sync", refused)  # between the last file and the folder's name
    export(tiny_set, tmp_path / "out", format="npy")
    files = {"README.md", "class_names.json", "images.npy", "labels.npy"}
    assert {*snapshot(tmp_path)} == {f"out/{name}" for name in files}


def test_what_another_export_has_just_finished_is_not_written_over(
    tiny_set: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from sio_data import exports

    def finished(*_: object) -> Any:
        monkeypatch.undo()
        export(tiny_set, tmp_path / "out", format="npy")
        return claims.sole_writer(tmp_path / "out")

    monkeypatch.setattr(exports, "sole_writer", finished)
    with pytest.raises(FolderInUseError, match="holds something else"):
        export(tiny_set, tmp_path / "out", format="parquet")
    assert (tmp_path / "out/labels.npy").exists()


def test_a_link_in_the_place_of_the_unfinished_export_is_not_followed(tiny_set: Path, tmp_path: Path) -> None:
    (tmp_path / "thesis").mkdir()
    (tmp_path / "thesis/thesis.tex").write_text("years of work")
    (tmp_path / ".out.unfinished").symlink_to(tmp_path / "thesis")
    with pytest.raises(FolderInUseError, match="is a link"):
        export(tiny_set, tmp_path / "out", format="npy")
    assert snapshot(tmp_path / "thesis") == {"thesis.tex": b"years of work"}


def test_a_full_disk_is_a_clear_error_and_its_space_is_given_back(
    tiny_set: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr("sio_data.export_formats._write_card", full)
    with pytest.raises(
        SioDataError, match=r"no space is left for .*/out\. .* make space and run the same command again"
    ):
        export(tiny_set, tmp_path / "out", format="npy")
    assert list(tmp_path.iterdir()) == []


def test_an_empty_folder_may_be_there_and_a_full_one_is_refused(tiny_set: Path, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    export(str(tiny_set), str(tmp_path / "out"), format="npy")
    before = snapshot(tmp_path)
    with pytest.raises(FolderInUseError, match="holds something else"):
        export(tiny_set, tmp_path / "out", format="npy")
    assert snapshot(tmp_path) == before


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"format": "csv"}, UnknownNameError, "unknown format 'csv'. Known: npy, folder, parquet"),
        ({"out": "s3://bucket/x"}, InputError, "is no local folder"),
        ({"out": "{set}/data/out"}, InputError, "lies in the set itself"),
        ({"folder": "{set}/data"}, InputError, "is no synthetic set"),
    ],
)
def test_what_cannot_be_is_refused(
    tiny_set: Path, tmp_path: Path, change: dict[str, str], error: type[Exception], message: str
) -> None:
    before = snapshot(tiny_set)
    values = {"folder": str(tiny_set), "out": str(tmp_path / "out"), "format": "npy"} | change
    with pytest.raises(error, match=message):
        export(**{name: value.format(set=tiny_set) for name, value in values.items()})
    assert snapshot(tiny_set) == before
    assert list(tmp_path.iterdir()) == []


def test_the_card_names_licence_and_origin(tiny_set: Path, tmp_path: Path) -> None:
    export(tiny_set, tmp_path / "out", format="npy")
    manifest = open_set(tiny_set).manifest
    card = (tmp_path / "out/README.md").read_text()
    for text in ("license: cc-by-4.0", manifest.digest, manifest.recipe.hash):
        assert text in card


def test_the_command(
    tiny_set: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], refuse: Callable[..., str]
) -> None:
    from sio_data.cli import main

    words = ["export", str(tiny_set), "--format", "parquet", "--out", str(tmp_path / "out")]
    assert main(words) == 0
    assert f"30 images in {tmp_path / 'out'}." in " ".join(capsys.readouterr().out.split())
    assert "holds something else" in refuse(*words, unchanged=tmp_path)
    damaged = Path(shutil.copytree(tiny_set, tmp_path / "set"))
    flip(damaged / SHARDS[0], 700)
    words = ("export", damaged, "--format", "npy", "--out", tmp_path / "other")
    assert "Mend it with: sio-data repair" in refuse(*words, unchanged=tmp_path)
