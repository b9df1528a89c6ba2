import io
import json
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
from datasets import load_dataset
from PIL import Image

from sio_data import build_gallery, open_set, verify
from sio_data.cli import main
from sio_data.errors import CorruptSetError, FolderInUseError, IncompleteError
from sio_data.gallery import sheets
from sio_data.manifest import Manifest, Origin
from tests.conftest import snapshot
from tests.small_sets import write_imported_set, write_set


def test_load_dataset_and_verify_see_the_same_set_as_before(damaged: Path, tmp_path: Path) -> None:
    before = load_dataset(str(damaged), split="train", cache_dir=str(tmp_path / "before")).to_list()
    files = snapshot(damaged)
    done = build_gallery(damaged)
    assert (done.shown, done.samples, done.sheets) == (30, 30, 6)
    assert {name: data for name, data in snapshot(damaged).items() if name in files} == files
    for streaming, cache in ((False, "after"), (True, "streamed")):
        rows = load_dataset(str(damaged), split="train", streaming=streaming, cache_dir=str(tmp_path / cache))
        assert len(list(rows)) == len(before)
        if not streaming:
            assert rows.to_list() == before
    assert not verify(damaged).faults


def test_sheets_hold_the_pixels_of_their_class(damaged: Path) -> None:
    build_gallery(damaged, per_class=3)
    images = open_set(damaged).read()
    stored = []
    for path in (damaged / "thumbnails").iterdir():
        with Image.open(path) as sheet:
            stored.append(np.asarray(sheet.convert("RGB")))
    for label in range(6):
        wanted = images.images[images.labels == label][:3].permute(0, 2, 3, 1).numpy()
        assert any(np.array_equal(sheet, np.concatenate(list(wanted), axis=1)) for sheet in stored)


def test_a_hundred_images_are_one_file(tmp_path: Path) -> None:
    folder = write_set(tmp_path / "set", ("a", "b"), 130)
    assert build_gallery(folder, per_class=1000).sheets == 4
    with_fewer = build_gallery(folder)
    assert (with_fewer.shown, with_fewer.samples, with_fewer.sheets) == (200, 260, 2)
    assert len(list((folder / "thumbnails").iterdir())) == 2  # those of the other page are gone


def test_made_again_it_is_the_same_to_the_byte_and_sheets_are_kept(damaged: Path, tmp_path: Path) -> None:
    build_gallery(damaged)
    made = snapshot(damaged)
    times = {path: path.stat().st_mtime_ns for path in (damaged / "thumbnails").iterdir()}
    build_gallery(damaged)
    assert snapshot(damaged) == made
    assert {path: path.stat().st_mtime_ns for path in (damaged / "thumbnails").iterdir()} == times
    elsewhere = Path(shutil.copytree(damaged, tmp_path / "elsewhere" / damaged.name))
    assert build_gallery(elsewhere, tmp_path / "out").page.read_bytes() == (damaged / "gallery.html").read_bytes()


def test_interrupted_it_leaves_the_old_page_whole_and_goes_on(damaged: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    build_gallery(damaged, per_class=2)
    before = snapshot(damaged)
    write, written = sheets.write_bytes, []

    def stop_at_third(path: Path, data: bytes) -> None:
        if len(written) == 2:
            raise KeyboardInterrupt
        written.append(path)
        write(path, data)

    monkeypatch.setattr(sheets, "write_bytes", stop_at_third)
    monkeypatch.setattr("os.cpu_count", lambda: 1)
    with pytest.raises(KeyboardInterrupt):
        build_gallery(damaged, per_class=4)
    now = snapshot(damaged)
    assert {name: data for name, data in now.items() if name in before} == before
    assert len(now) == len(before) + 2
    monkeypatch.setattr(sheets, "write_bytes", write)
    build_gallery(damaged, per_class=4)
    fresh = snapshot(damaged)
    shutil.rmtree(damaged / "thumbnails")
    (damaged / "gallery.html").unlink()
    build_gallery(damaged, per_class=4)
    assert snapshot(damaged) == fresh


@pytest.mark.parametrize("name", ["gallery.html", "thumbnails/mine.webp", "thumbnails/sheet-1.webp", "thumbnails"])
def test_somebody_elses_files_are_left_alone(damaged: Path, name: str) -> None:
    (damaged / name).parent.mkdir(exist_ok=True)
    (damaged / name).write_text("years of work")
    before = snapshot(damaged)
    with pytest.raises(FolderInUseError, match="--out"):
        build_gallery(damaged)
    assert snapshot(damaged) == before


def test_what_is_no_sound_set_gets_no_page(damaged: Path, tmp_path: Path) -> None:
    (damaged / "data/train-000003.tar").write_bytes(b"")
    with pytest.raises(CorruptSetError, match="train-000003"):
        build_gallery(damaged)
    assert not (damaged / "gallery.html").exists()
    assert build_gallery(damaged, tmp_path / "out", per_class=3).shown == 18  # three shards are enough for these
    manifest = Manifest.read(damaged)
    Manifest(manifest.recipe, manifest.origin).write(damaged)
    with pytest.raises(IncompleteError):
        build_gallery(damaged)


def test_two_galleries_in_one_folder_do_not_take_each_others_sheets(
    damaged: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(*_: object) -> bytes:
        with pytest.raises(FolderInUseError, match="another run is writing"):
            build_gallery(damaged, per_class=1)
        return b"the page"

    monkeypatch.setattr("sio_data.gallery.render_page", refused)
    done = build_gallery(damaged)
    assert len(list((damaged / "thumbnails").iterdir())) == done.sheets
    assert not (damaged / ".gallery.html.lock").exists()


def test_the_command_names_folders_that_hold_the_word_key(tmp_path: Path) -> None:
    folder = write_set(tmp_path / "MONKEY KEY", ("a", "b"), 2, origin=Origin("…/KEYS", "none", "mit", "sio-data"))
    data = re.search('<script[^>]*id="data"[^>]*>(.*?)</script>', build_gallery(folder).page.read_text(), re.DOTALL)
    assert data
    assert "000000003".join(json.loads(data[1])["command"]) == (
        "sio-data regenerate 'MONKEY KEY' 000000003 --weights path/to/KEYS --out 000000003.png"
    )


def test_large_images_are_thumbnails_and_imported_ones_have_no_command(tmp_path: Path) -> None:
    folder = write_set(tmp_path / "large", ("a",), 2, image_size=300)
    build_gallery(folder)
    (path,) = (folder / "thumbnails").iterdir()
    with Image.open(io.BytesIO(path.read_bytes())) as sheet:
        assert sheet.size == (512, 256)
    page = build_gallery(write_imported_set(tmp_path / "imported")).page.read_text()
    assert '"command":null' in page
    assert "sio-data regenerate" not in page


def test_the_command(damaged: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["gallery", str(damaged), "--out", str(tmp_path / "page"), "--per-class", "2"]) == 0
    assert capsys.readouterr().out == f"{tmp_path / 'page/gallery.html'}: 12 of 30 images on 6 sheets\n"
    assert not (damaged / "gallery.html").exists()
