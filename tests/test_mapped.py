"""Images that are decoded once, into a file of the cache, and mapped into memory."""

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from subprocess import DEVNULL, PIPE
from typing import Any

import pytest
from PIL import Image

from sio_data import ImageSet, load_source, mapped, publish, sets, sources
from sio_data.errors import InputError, UnknownNameError
from sio_data.image_set import UNLABELLED
from tests.conftest import Snapshot, snapshot
from tests.damage import flip
from tests.hub_server import Hub
from tests.test_sources import make_folder

LARGEST = """
from sio_data import load_source

for _ in range(2):
    print(load_source("hub:me/others", storage="mapped", hold_out=False).images.max().item())
"""  # in a process of its own: `datasets` asks where the Hub is when it is imported


def cache() -> Path:
    from datasets.config import HF_DATASETS_CACHE

    return Path(HF_DATASETS_CACHE)


def pixel_files() -> list[Path]:
    return sorted(cache().glob("sio-data-*/pixels.raw"))


def load(name: str | Path, split: str = "train", **options: Any) -> ImageSet:
    """Load a source in both ways; they must be the same."""
    there, here = load_source(name, split, storage="mapped", **options), load_source(name, split, **options)
    assert (there.digest, there.name, there.class_names) == (here.digest, here.name, here.class_names)
    return there


@pytest.fixture
def no_decoding(monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    def forbid() -> None:
        def fail(*_: object) -> None:
            raise AssertionError("it is decoded")

        for place in (sources, sets):
            for name in ("fit_square", "read_shard"):
                monkeypatch.setattr(place, name, fail, raising=False)

    return forbid


@pytest.mark.parametrize(
    "options",
    [{}, {"split": "val"}, {"split": "test"}, {"image_size": 5}, {"labelled": False}, {"hold_out": False}],
    ids=str,
)
def test_a_folder_is_the_same_and_decoded_once(
    tmp_path: Path, options: dict[str, Any], no_decoding: Callable[[], None]
) -> None:
    folder = make_folder(tmp_path / "set", {"train": 40, "test": 6})
    first = load(folder, **options)
    no_decoding()
    again = load_source(folder, storage="mapped", **options)
    assert again.digest == first.digest
    assert (first.labels == UNLABELLED).all() == (options.get("labelled") is False)


@pytest.mark.parametrize("size", [None, 5, 8])
def test_a_set_is_the_same_and_decoded_once(tiny_set: Path, size: int | None, no_decoding: Callable[[], None]) -> None:
    first = load(tiny_set, image_size=size)
    no_decoding()
    assert load_source(tiny_set, image_size=size, storage="mapped").digest == first.digest
    with pytest.raises(UnknownNameError, match="split"):
        load_source(tiny_set, "test", storage="mapped")


def test_a_set_on_the_hub_is_not_even_fetched_again(hub: Hub, tiny_set: Path) -> None:
    publish(tiny_set, "me/set", tag="v1")
    load("hub:me/set@v1")
    for path in Path(hub_cache()).rglob("*.tar"):
        path.unlink()
    hub.requests.clear()
    load_source("hub:me/set@v1", storage="mapped")
    assert not hub.count("cdn")


def hub_cache() -> str:
    from huggingface_hub import constants

    return constants.HF_HUB_CACHE


def test_pixels_lie_in_the_file_and_a_change_stays_in_memory(tiny_set: Path) -> None:
    images = load_source(tiny_set, storage="mapped").images
    (file,) = pixel_files()
    before = file.read_bytes()
    assert len(before) == images.numel()
    lines = [line.split() for line in Path("/proc/self/maps").read_text().splitlines() if line.endswith(str(file))]
    ranges = [[int(edge, 16) for edge in line[0].split("-")] for line in lines]
    assert any(start <= images.data_ptr() < end for start, end in ranges)
    images += 1
    assert file.read_bytes() == before


def cut(entry: Path) -> None:
    (entry / "pixels.raw").write_bytes((entry / "pixels.raw").read_bytes()[:-1])


DAMAGES: dict[str, Callable[[Path], object]] = {
    "cut off": cut,
    "pixels changed": lambda entry: flip(entry / "pixels.raw", 5),
    "labels changed": lambda entry: flip(entry / "labels.raw", 8),
    "no pixels": lambda entry: (entry / "pixels.raw").unlink(),
    "no labels": lambda entry: (entry / "labels.raw").unlink(),
    "no record": lambda entry: (entry / "record.json").unlink(),
    "another record": lambda entry: (entry / "record.json").write_text('{"images": "many"}'),
    "record of more images": lambda entry: (entry / "record.json").write_text(
        (entry / "record.json").read_text().replace('"images": 30', '"images": 60')
    ),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_an_entry_that_is_not_as_it_was_made_is_made_anew(tiny_set: Path, damage: str) -> None:
    whole = load(tiny_set).digest
    DAMAGES[damage](pixel_files()[0].parent)
    assert load_source(tiny_set, storage="mapped").digest == whole
    assert len(pixel_files()) == 1


def test_what_is_half_written_never_appears(tmp_path: Path) -> None:
    folder = make_folder(tmp_path / "set", {"train": 40, "test": 6})
    (folder / "train/cat/038.png").write_bytes(b"no image")
    with pytest.raises(InputError, match=r"image \d+ cannot be read"):
        load_source(folder, storage="mapped", hold_out=False)
    assert list(cache().rglob("*.raw")) == []
    Image.new("RGB", (8, 8), (38,) * 3).save(folder / "train/cat/038.png")
    assert len(load(folder, hold_out=False)) == 40


def test_another_process_may_have_been_faster(tiny_set: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write = mapped._write
    made: list[Snapshot] = []

    def write_twice(folder: Path, *arguments: Any) -> None:
        monkeypatch.setattr(mapped, "_write", write)
        load_source(tiny_set, storage="mapped")
        made.append(snapshot(pixel_files()[0].parent))
        write(folder, *arguments)

    monkeypatch.setattr(mapped, "_write", write_twice)
    load(tiny_set)
    assert made == [snapshot(pixel_files()[0].parent)]


def test_everybody_may_read_an_entry(tiny_set: Path) -> None:
    load_source(tiny_set, storage="mapped")
    (file,) = pixel_files()
    (cache() / "of a plain mkdir").mkdir()
    assert file.parent.stat().st_mode == (cache() / "of a plain mkdir").stat().st_mode


def test_what_cannot_be_put_in_its_place_is_used_all_the_same(tiny_set: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise PermissionError

    whole = load(tiny_set).digest
    cut(pixel_files()[0].parent)
    monkeypatch.setattr(Path, "rename", refuse)
    images = load_source(tiny_set, storage="mapped")
    assert left_over() == []
    assert images.digest == whole


def left_over() -> list[str]:
    return [path.name for path in cache().iterdir() if path.name.startswith(".")]


KILLED = """
import os, signal, sys
from sio_data import load_source, mapped

def write(folder, samples, name):
    (folder / "pixels.raw").write_bytes(b"half")
    print(folder.parent.name, flush=True)
    if sys.argv[2] == "killed":
        os.kill(os.getpid(), signal.SIGKILL)
    sys.stdin.read()

mapped._write = write
load_source(sys.argv[1], storage="mapped")
"""


def test_what_a_killed_writer_left_is_removed_and_what_is_being_written_stays(tiny_set: Path, tmp_path: Path) -> None:
    environment = os.environ | {"HF_DATASETS_CACHE": str(cache())}
    other = shutil.copytree(tiny_set, tmp_path / "other")

    def start(mode: str) -> subprocess.Popen[str]:
        command = [sys.executable, "-c", KILLED, str(other), mode]
        return subprocess.Popen(command, env=environment, stdin=PIPE, stdout=PIPE, stderr=DEVNULL, text=True)

    def working(process: subprocess.Popen[str]) -> str:
        assert process.stdout
        return process.stdout.readline().strip()

    with start("alive") as alive:
        living = working(alive)
        with start("killed") as killed:
            dead = working(killed)
        assert (cache() / dead).is_dir()
        load_source(tiny_set, storage="mapped")
        assert sorted(left_over()) == sorted([living, f".{living}.lock"])
        alive.kill()
    (entry,) = (file.parent for file in pixel_files())
    cut(entry)
    load_source(tiny_set, storage="mapped")
    assert left_over() == []


def test_where_there_are_no_locks_nothing_of_others_is_removed(tiny_set: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_locks(*_: object) -> None:
        raise OSError

    monkeypatch.setattr("fcntl.flock", no_locks)
    (cache() / ".sio-data-0-1/new").mkdir(parents=True)
    (cache() / "..sio-data-0-1.lock").touch()
    load_source(tiny_set, storage="mapped")
    assert sorted(left_over()) == ["..sio-data-0-1.lock", ".sio-data-0-1"]


def test_a_changed_folder_is_decoded_anew(tmp_path: Path) -> None:
    folder = make_folder(tmp_path / "set", {"train": 40, "test": 6})
    before = load(folder)
    Image.new("RGB", (8, 8), (200, 0, 0)).save(folder / "train/cat/100.png")
    assert load(folder).digest != before.digest


def test_a_new_commit_on_the_hub_is_decoded_anew(hub: Hub, tmp_path: Path) -> None:
    folder = make_folder(tmp_path / "set", {"train": 40, "test": 6})
    values = []
    for value in (100, 200):
        Image.new("RGB", (8, 8), (value,) * 3).save(folder / "train/cat/000.png")
        hub.add("me/others", "dataset", snapshot(folder))
        environment = os.environ | hub.env(tmp_path / "home")
        done = subprocess.run([sys.executable, "-c", LARGEST], env=environment, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        values.append(done.stdout.split())
    assert values == [["100", "100"], ["200", "200"]]


def test_embedded_images_stay_in_memory() -> None:
    load("digits")
    assert not pixel_files()


def test_another_storage_is_refused(tiny_set: Path) -> None:
    with pytest.raises(UnknownNameError, match="unknown storage 'disk'"):
        load_source(tiny_set, storage="disk")  # type: ignore[arg-type]
