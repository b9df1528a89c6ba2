import io
import shutil
import subprocess
import tempfile
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import pytest
from PIL import ExifTags, Image

from sio_data import import_set, load_source, open_set, verify
from sio_data.cli import main
from sio_data.errors import ClassMapError, SettingsMismatchError, UnknownNameError
from sio_data.files import sha256_file
from sio_data.importing import importation
from sio_data.importing.formats import open_archive
from sio_data.importing.order import spread_evenly
from sio_data.manifest import Manifest
from sio_data.shards import Batch, Sample
from tests.conftest import snapshot
from tests.importing.archives import COUNTS, FORMATS, IMAGES, LABELS, NAMES, png, sample, write_tar, write_tree


def read(folder: Path) -> list[Sample]:
    return list(open_set(folder).samples())


def row_of(source: dict[str, object]) -> int:
    """The place in IMAGES of what the metadata of a sample name."""
    if "row" in source:
        return int(str(source["row"])) + (25 if source["file"] == "a.npz" else 0)
    return int(str(source.get("key") or Path(str(source["file"])).stem))


@pytest.mark.parametrize("form", FORMATS)
def test_every_format_keeps_each_image_with_its_label_and_says_where_it_was(form: str, tmp_path: Path) -> None:
    (tmp_path / "source").mkdir()
    sources = FORMATS[form](tmp_path / "source")
    done = import_set(sources, tmp_path / "set", classes=NAMES, shard_size=25)
    assert done.made == 60
    assert not verify(tmp_path / "set").faults
    samples = read(tmp_path / "set")
    rows = [row_of(sample.metadata["source"]) for sample in samples]
    assert sorted(rows) == list(range(60))
    assert np.array_equal(np.stack([sample.image for sample in samples]), IMAGES[rows])
    assert [sample.label for sample in samples] == LABELS[rows].tolist()
    assert done.compilation.counts == COUNTS
    assert {path.name for path in tmp_path.iterdir()} == {"source", "set"}
    files = {"README.md", "_info.json", "data", "preview.png", "sio.json"}
    assert {path.name for path in (tmp_path / "set").iterdir()} == files


@pytest.mark.parametrize("form", FORMATS)
def test_killed_in_the_middle_it_goes_on_to_the_same_bytes(
    form: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "source").mkdir()
    sources = FORMATS[form](tmp_path / "source")
    import_set(sources, tmp_path / "whole", shard_size=16)
    drawer = importation._drawer

    def dying(*arguments: Any) -> Callable[[int], Iterator[Batch]]:
        draw = drawer(*arguments)

        def die_at_the_third(index: int) -> Iterator[Batch]:
            if index == 2:
                raise KeyboardInterrupt
            return draw(index)

        return die_at_the_third

    with monkeypatch.context() as patch:
        patch.setattr(importation, "_drawer", dying)
        with pytest.raises(KeyboardInterrupt):
            import_set(sources, tmp_path / "killed", shard_size=16)
    assert 0 < import_set(sources, tmp_path / "killed", shard_size=16).made < 60
    assert snapshot(tmp_path / "killed") == snapshot(tmp_path / "whole")
    assert import_set(sources, tmp_path / "killed", shard_size=16).made == 0


def test_a_changed_source_is_not_mixed_with_what_was_begun(tmp_path: Path) -> None:
    sources = FORMATS["npz"](tmp_path)
    import_set(sources, tmp_path / "set")
    (tmp_path / "set/data/train-000000.tar").unlink()
    before = snapshot(tmp_path / "set")
    np.savez(tmp_path / "x.npz", image=IMAGES[::-1], label=LABELS)
    with pytest.raises(SettingsMismatchError, match="sources"):
        import_set(sources, tmp_path / "set")
    assert snapshot(tmp_path / "set") == before


@pytest.fixture
def forbid(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Make methods of the archives that are opened from here on fail."""

    def forbid_methods(*names: str) -> None:
        def open_forbidden(*arguments: Any) -> Any:
            archive = open_archive(*arguments)
            for name in names:
                monkeypatch.setattr(archive, name, lambda *_, name=name: pytest.fail(f"{name} was called"))
            return archive

        monkeypatch.setattr(importation, "open_archive", open_forbidden)

    return forbid_methods


@pytest.mark.parametrize("form", FORMATS)
def test_other_settings_are_refused_before_the_source_is_hashed(
    form: str, tmp_path: Path, forbid: Callable[..., None]
) -> None:
    (tmp_path / "source").mkdir()
    sources = FORMATS[form](tmp_path / "source")
    import_set(sources, tmp_path / "set")
    before = snapshot(tmp_path / "set")
    forbid("hash", "settle")
    others: list[dict[str, Any]] = [{"seed": 1}, {"shard_size": 9}, {"image_format": "webp"}, {"image_size": 2}]
    for other in others:
        with pytest.raises(SettingsMismatchError, match=next(iter(other))):
            import_set(sources, tmp_path / "set", **other)
    assert snapshot(tmp_path / "set") == before


@pytest.mark.parametrize("form", FORMATS)
def test_of_a_complete_set_the_source_is_hashed_and_not_unpacked(
    form: str, tmp_path: Path, forbid: Callable[..., None]
) -> None:
    (tmp_path / "source").mkdir()
    sources = FORMATS[form](tmp_path / "source")
    import_set(sources, tmp_path / "set", shard_size=16)
    before = snapshot(tmp_path / "set")
    forbid("settle", "read")
    assert import_set(sources, tmp_path / "set", shard_size=16).made == 0
    assert snapshot(tmp_path / "set") == before


def test_a_folder_that_was_begun_without_a_shard_is_begun_anew_with_other_settings(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sources = FORMATS["npz"](tmp_path)
    with monkeypatch.context() as patch:
        patch.setattr(importation, "finish", interrupt)
        with pytest.raises(KeyboardInterrupt):
            import_set(sources, tmp_path / "set", licence="mit")
    assert import_set(sources, tmp_path / "set", seed=1).made == 60
    assert open_set(tmp_path / "set").manifest.origin.licence == "unknown"


def interrupt(*arguments: object) -> None:
    raise KeyboardInterrupt


def test_the_licence_and_the_citation_of_a_set_can_be_corrected(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    sources = FORMATS["npz"](tmp_path)
    import_set(sources, tmp_path / "set", classes=NAMES, licence="mit", citation="Deo 2020")
    times = {path.name: path.stat().st_mtime_ns for path in (tmp_path / "set/data").iterdir()}
    words = ["import", str(sources[0]), "--out", str(tmp_path / "set"), "--class", "cat", "--class", "dog"]
    words += ["--class", "owl"]
    assert main([*words, "--licence", "CC-BY-4.0", "--citation", "Doe 2020"]) == 0
    assert "all checked. Its licence and citation are those asked for now." in capsys.readouterr().out
    assert {path.name: path.stat().st_mtime_ns for path in (tmp_path / "set/data").iterdir()} == times
    import_set(sources, tmp_path / "fresh", classes=NAMES, licence="cc-by-4.0", citation="Doe 2020")
    assert snapshot(tmp_path / "set") == snapshot(tmp_path / "fresh")
    assert not verify(tmp_path / "set").faults
    assert main(words) == 0
    assert "Nothing to do" in capsys.readouterr().out
    assert snapshot(tmp_path / "set") == snapshot(tmp_path / "fresh")


def test_killed_while_it_corrects_the_licence_it_is_corrected_by_the_next_call(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sources = FORMATS["npz"](tmp_path)
    import_set(sources, tmp_path / "fresh", licence="mit")
    import_set(sources, tmp_path / "set")
    with monkeypatch.context() as patch:
        patch.setattr(Manifest, "write", interrupt)
        with pytest.raises(KeyboardInterrupt):
            import_set(sources, tmp_path / "set", licence="mit")
    assert snapshot(tmp_path / "set") not in (snapshot(tmp_path / "fresh"), {})
    assert import_set(sources, tmp_path / "set", licence="mit").corrected
    assert snapshot(tmp_path / "set") == snapshot(tmp_path / "fresh")


@pytest.mark.parametrize(("licence", "named"), [(" MIT", "mit"), ("Unknown", "unknown"), ("", "unknown")])
def test_a_licence_is_written_as_the_hub_does(licence: str, named: str, tmp_path: Path) -> None:
    import_set(FORMATS["npz"](tmp_path), tmp_path / "set", licence=licence)
    assert open_set(tmp_path / "set").manifest.origin.licence == named
    assert f"\nlicense: {named}\n" in (tmp_path / "set/README.md").read_text()


def test_classes_are_spread_evenly_in_any_prefix() -> None:
    labels = np.repeat(np.array([0, 1, 3], np.int32), [500, 41, 7])
    order = spread_evenly(labels, 0)
    assert sorted(order.tolist()) == list(range(548))
    for end in range(1, 549):
        seen = np.bincount(labels[order[:end]], minlength=4)
        assert np.abs(seen - end * np.bincount(labels) / 548).max() < 2


def test_balanced_classes_take_turns_and_the_seed_decides_which_image_comes() -> None:
    labels = np.repeat(np.arange(5, dtype=np.int32), 20)
    order, other = spread_evenly(labels, 0), spread_evenly(labels, 1)
    assert labels[order].tolist() == [*range(5)] * 20
    assert labels[other].tolist() == [*range(5)] * 20
    assert order.tolist() != other.tolist()
    assert np.abs(np.corrcoef(order[::5], np.arange(20))[0, 1]) < 0.8  # not the order of the source


def test_the_order_is_the_same_in_all_versions() -> None:
    assert spread_evenly(np.repeat(np.array([0, 1], np.int32), [5, 3]), 7).tolist() == [3, 6, 4, 0, 7, 2, 5, 1]


def test_the_origin_is_recorded_without_paths(tmp_path: Path) -> None:
    sources = FORMATS["parts"](tmp_path)
    done = import_set(sources, tmp_path / "set", classes=NAMES, licence="mit", citation="Doe 2020", seed=3)
    manifest = done.set.manifest
    assert [(source.name, source.sha256) for source in done.compilation.sources] == [
        (path.name, sha256_file(path)) for path in sources
    ]
    assert dict(done.compilation.rule) == {"format": "arrays", "seed": 3}
    assert (manifest.origin.licence, manifest.origin.citation) == ("mit", "Doe 2020")
    classes = "--class cat --class dog --class owl"
    licence = "--licence mit --citation 'Doe 2020'"
    assert manifest.origin.command == f"sio-data import '…/b.npz' '…/a.npz' {classes} {licence} --seed 3"
    assert str(tmp_path).encode() not in b"".join(snapshot(tmp_path / "set").values())


def test_the_hash_of_class_folders_is_what_sha256sum_gives(tmp_path: Path) -> None:
    folder = write_tree(tmp_path / "pictures")
    done = import_set(folder, tmp_path / "set")
    command = "find . -type f -printf '%P\\0' | LC_ALL=C sort -z | xargs -0 sha256sum | sha256sum"
    expected = subprocess.run(command, shell=True, cwd=folder, capture_output=True, text=True, check=True).stdout
    assert [(source.name, source.sha256) for source in done.compilation.sources] == [("pictures", expected.split()[0])]


def test_it_loads_as_a_set_with_named_classes(tmp_path: Path) -> None:
    np.savez(tmp_path / "x.npz", image=IMAGES, label=LABELS)
    assert import_set(tmp_path / "x.npz", tmp_path / "set", classes=["cifar10"]).named
    rows = datasets.load_dataset(str(tmp_path / "set"), split="train", cache_dir=str(tmp_path / "cache"))
    assert rows.features["cls"].names[:3] == ["airplane", "automobile", "bird"]
    images = load_source(str(tmp_path / "set"))
    assert len(images.class_names) == 10
    assert images.labels.bincount(minlength=10).tolist() == [*COUNTS, *[0] * 7]


def test_classes_without_names_are_called_by_number_with_a_warning(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    np.savez(tmp_path / "x.npz", image=IMAGES, label=LABELS)
    assert main(["import", str(tmp_path / "x.npz"), "--out", str(tmp_path / "set")]) == 0
    captured = capsys.readouterr()
    assert "60 images" in captured.out
    assert "warning: the source does not name its classes, so that they are called 0 to 2." in captured.err
    assert main(["import", str(write_tree(tmp_path / "tree")), "--out", str(tmp_path / "other")]) == 0
    assert "warning" not in capsys.readouterr().err
    assert main(["import", str(tmp_path / "tree"), "--out", str(tmp_path / "other")]) == 0
    assert "is complete: 60 images, all checked. Nothing to do." in capsys.readouterr().out


def test_folders_of_numbers_come_in_the_order_of_the_numbers(tmp_path: Path) -> None:
    write_tree(tmp_path / "tree", ["2", "100", "11"])
    assert import_set(tmp_path / "tree", tmp_path / "set").compilation.class_names == ("2", "11", "100")


def test_the_given_classes_order_those_of_the_source_and_may_be_more(tmp_path: Path) -> None:
    folder = write_tree(tmp_path / "tree")
    done = import_set(folder, tmp_path / "set", classes=["owl", "cow", "cat", "dog"])
    assert done.compilation.counts == (6, 0, 36, 18)
    for sample_ in read(tmp_path / "set"):
        assert sample_.metadata["source"]["file"].startswith(f"{sample_.metadata['class']}/")
    with pytest.raises(UnknownNameError, match="unknown class 'owl'"):
        import_set(folder, tmp_path / "other", classes=["cat", "dog"])
    with pytest.raises(ClassMapError, match="label 2, and 2 classes"):
        import_set(FORMATS["npz"](tmp_path), tmp_path / "other", classes=["cat", "dog"])


def test_hidden_files_and_notes_beside_class_folders_are_left_out(tmp_path: Path) -> None:
    folder = write_tree(tmp_path / "tree")
    for name in (".DS_Store", "README.md", "cat/.directory"):
        (folder / name).write_text("notes")
    assert import_set(folder, tmp_path / "set").made == 60


def test_links_within_the_folder_are_followed(tmp_path: Path) -> None:
    folder = write_tree(tmp_path / "tree")
    (folder / "cat/link.png").symlink_to(folder / "cat/00.png")
    assert import_set(folder, tmp_path / "set").made == 61


def test_pictures_of_any_kind_become_rgb(tmp_path: Path) -> None:
    folder = tmp_path / "tree/thing"
    folder.mkdir(parents=True)
    picture = Image.fromarray(np.full((4, 4, 3), 200, np.uint8))
    kinds = {"grey.png": "L", "deep.png": "I;16", "bit.bmp": "1", "palette.png": "P", "alpha.webp": "RGBA"}
    for name, mode in kinds.items():
        kind = Image.fromarray(np.full((4, 4), 200 * 257, np.uint16)) if mode == "I;16" else picture.convert(mode)
        kind.save(folder / name, lossless=True)
    picture.convert("CMYK").save(folder / "print.JPEG", quality=100)
    assert import_set(tmp_path / "tree", tmp_path / "set").made == 6
    for sample_ in read(tmp_path / "set"):
        if "bit" not in sample_.metadata["source"]["file"]:
            assert np.abs(sample_.image.astype(int) - 200).max() <= 4  # of palettes


def photograph(orientation: int) -> bytes:
    buffer = io.BytesIO()
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = orientation
    Image.fromarray(IMAGES[0]).save(buffer, "PNG", exif=exif)
    return buffer.getvalue()


@pytest.mark.parametrize("form", ["tree", "tar"])
def test_photographs_are_turned_as_load_dataset_turns_them(form: str, tmp_path: Path) -> None:
    folder = tmp_path / "tree/thing"
    folder.mkdir(parents=True)
    for orientation in range(10):
        (folder / f"{orientation}.png").write_bytes(photograph(orientation))
    loaded = datasets.load_dataset(str(folder), split="train", cache_dir=str(tmp_path / "cache"))
    expected = {orientation: np.asarray(row["image"]) for orientation, row in enumerate(loaded)}
    assert len({image.tobytes() for image in expected.values()}) == 8
    files = [file for n in range(10) for file in ((f"{n}.png", photograph(n)), (f"{n}.cls", b"0"))]
    source = tmp_path / "tree" if form == "tree" else write_tar(tmp_path / "x.tar", files)
    import_set(source, tmp_path / "set")
    found = {row_of(sample_.metadata["source"]): sample_.image for sample_ in read(tmp_path / "set")}
    assert found.keys() == expected.keys()
    assert all(np.array_equal(found[orientation], expected[orientation]) for orientation in expected)


def test_a_picture_with_damaged_exif_is_taken_as_it_is(tmp_path: Path) -> None:
    (tmp_path / "tree/thing").mkdir(parents=True)
    data = photograph(6)
    at = data.index(b"MM\0*")
    for name, exif in (("magic.png", b"xxxx"), ("offset.png", b"MM\0*\xff\xff\xff\xff")):
        chunk = data[at - 4 : at] + exif + data[at + len(exif) :]
        end = 4 + int.from_bytes(data[at - 8 : at - 4], "big")
        damaged = data[: at - 4] + chunk[:end] + zlib.crc32(chunk[:end]).to_bytes(4, "big") + chunk[end + 4 :]
        (tmp_path / "tree/thing" / name).write_bytes(damaged)
    import_set(tmp_path / "tree", tmp_path / "set")
    assert [np.array_equal(sample_.image, IMAGES[0]) for sample_ in read(tmp_path / "set")] == [True, True]


@pytest.mark.parametrize("form", ["npz", "tree", "tars"])
def test_images_are_resized_if_asked(form: str, tmp_path: Path) -> None:
    (tmp_path / "source").mkdir()
    sources = FORMATS[form](tmp_path / "source")
    import_set(sources, tmp_path / "set", image_size=2)
    for sample_ in read(tmp_path / "set"):
        source = Image.fromarray(IMAGES[row_of(sample_.metadata["source"])])
        assert np.array_equal(sample_.image, source.resize((2, 2), Image.Resampling.BICUBIC))


def test_of_images_that_are_not_square_the_middle_is_taken(tmp_path: Path) -> None:
    wide = np.concatenate([IMAGES * 0, IMAGES, IMAGES * 0], axis=2)
    np.savez(tmp_path / "x.npz", image=wide, label=LABELS)
    import_set(tmp_path / "x.npz", tmp_path / "set", image_size=4)
    first = read(tmp_path / "set")[0]
    assert np.array_equal(first.image, IMAGES[first.metadata["source"]["row"]])


def test_labels_in_the_json_may_be_names_and_the_json_is_kept(tmp_path: Path) -> None:
    about = [{"name": NAMES[label], "n": [1.5, None, {"é": 2**70}]} for label in LABELS]
    files = [file for place in range(60) for file in sample(f"a/{place:02d}", 0, about[place], IMAGES[place])]
    done = import_set(write_tar(tmp_path / "x.tar", files), tmp_path / "set", label_key="name")
    assert done.named
    assert done.compilation.class_names == NAMES
    assert done.compilation.rule["label_key"] == "name"
    for sample_ in read(tmp_path / "set"):
        source = sample_.metadata["source"]
        place = int(source["key"].removeprefix("a/"))
        assert source == {"file": "x.tar", "key": f"a/{place:02d}", "json": about[place]}
        assert (sample_.label, sample_.image.tolist()) == (LABELS[place], IMAGES[place].tolist())


def test_json_that_cannot_be_kept_as_it_is_is_left_out(tmp_path: Path) -> None:
    long, deep = b'{"a": "' + b"x" * 10**5 + b'"}', b'{"a":' * 5000
    texts = [b"{", b"[1]", b'{"a": NaN}', b'{"a": 1e999}', b'{"a": "\\ud800"}', b"\xff", deep, long]
    files = [
        file
        for place, text in enumerate(texts)
        for file in ((f"{place}.png", png(IMAGES[place])), (f"{place}.cls", b"0\n"), (f"{place}.json", text))
    ]
    import_set(write_tar(tmp_path / "x.tar", files), tmp_path / "set")
    assert [{*sample_.metadata["source"]} for sample_ in read(tmp_path / "set")] == [{"file", "key"}] * len(texts)
    assert not verify(tmp_path / "set").faults


def test_what_webdatasets_writer_and_gnu_tar_write_can_be_read(tmp_path: Path) -> None:
    import webdataset

    with webdataset.TarWriter(str(tmp_path / "a.tar")) as writer:
        for place in range(30):
            about = {"jpg": IMAGES[place], "cls": int(LABELS[place]), "caption.txt": "x"}
            writer.write({"__key__": f"{'long' * 60}/{place:02d}", **about})
    folder = tmp_path / "loose"
    for place in range(30, 60):
        for name, data in sample(f"{place:02d}", LABELS[place]):
            folder.mkdir(exist_ok=True)
            (folder / name).write_bytes(data)
    subprocess.run(["tar", "--sort=name", "-cf", "b.tar", "loose"], cwd=tmp_path, check=True)
    done = import_set([tmp_path / "a.tar", tmp_path / "b.tar"], tmp_path / "set")
    assert done.compilation.counts == COUNTS


def test_a_set_of_ours_can_be_imported_by_its_tars(tiny_set: Path, tmp_path: Path) -> None:
    done = import_set(tiny_set / "data", tmp_path / "set", label_key="class")
    assert {*done.compilation.class_names} == {"zero", "one", "two", "three", "four", "five"}


@pytest.mark.parametrize("form", ["compressed", "tree", "tars"])
def test_a_disk_that_fills_while_unpacking_is_told_and_nothing_is_written(
    form: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, refuse: Callable[..., str]
) -> None:
    (tmp_path / "source").mkdir()
    sources = FORMATS[form](tmp_path / "source")

    def open_on_a_full_disk(**options: object) -> Any:
        return Path("/dev/full").open("w+b")

    monkeypatch.setattr(tempfile, "TemporaryFile", open_on_a_full_disk)
    message = refuse("import", *sources, "--out", tmp_path / "set", unchanged=tmp_path, code=1)
    assert f"no space is left for unpacking in {tmp_path}. Make space and run the same command again." in message
    assert not (tmp_path / "set").exists()


def test_without_space_to_unpack_nothing_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, refuse: Callable[..., str]
) -> None:
    sources = FORMATS["compressed"](tmp_path)
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: shutil._ntuple_diskusage(10, 9, 1))
    message = refuse("import", *sources, "--out", tmp_path / "set", unchanged=tmp_path, code=1)
    assert "unpacking takes 3,008 bytes" in message
    assert not (tmp_path / "set").exists()
