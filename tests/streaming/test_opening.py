"""Sets are found by their names, wherever they lie, and read over connections that fail now and then."""

import json
import shutil
from collections.abc import Iterator
from contextlib import suppress
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from queue import SimpleQueue
from threading import Thread
from typing import Any

import pytest
import torch

from sio_data import open_set
from sio_data.errors import CorruptSetError, IncompleteError, InputError, SioDataError, UnknownNameError
from sio_data.manifest import MANIFEST
from sio_data.streaming import StreamedSet, open_stream, opening, stores
from tests.damage import SHARDS, edit_manifest
from tests.hub_server import TOKEN, Hub


def images_of(stream: StreamedSet) -> list[bytes]:
    (images, _), *_ = stream.read([torch.arange(len(stream))], 0)
    return [image.numpy().tobytes() for image in images]


def assert_streams(stream: StreamedSet, folder: Path) -> None:
    """It gives the batches of the same set in a local folder, and has its attributes."""
    here = open_stream(folder)
    assert images_of(stream) == images_of(here)
    assert (len(stream), stream.class_names, stream.image_size) == (len(here), here.class_names, here.image_size)
    assert stream.digest == here.digest


@pytest.fixture
def pauses(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The pauses that were due; nobody sleeps."""
    due: list[float] = []
    monkeypatch.setattr(stores, "_wait", lambda seconds, _: due.append(seconds))
    return due


class _Server(ThreadingHTTPServer):
    """Gives the files of a folder; as often as `failures` says, the next answers are a 503."""

    daemon_threads = True
    failures = 0

    def __init__(self, folder: Path) -> None:
        super().__init__(("127.0.0.1", 0), partial(_Handler, directory=str(folder)))
        self.url = f"http://127.0.0.1:{self.server_address[1]}"
        self.folder = folder
        self.asked: list[str] = []
        self.sent = SimpleQueue[int]()  # bytes of each file that was asked for


class _Handler(SimpleHTTPRequestHandler):
    server: _Server

    def log_message(self, *_: object) -> None:
        pass

    def do_GET(self) -> None:
        self.server.asked.append(self.path)
        if self.server.failures and self.path.endswith(("tar", "json")):
            self.server.failures -= 1
            self.send_error(503)
        else:
            super().do_GET()

    def copyfile(self, source: Any, outputfile: Any) -> None:
        sent = 0
        with suppress(ConnectionError):
            while piece := source.read(1 << 16):
                outputfile.write(piece)
                sent += len(piece)
        self.server.sent.put(sent)

    def list_directory(self, path: object) -> None:
        self.send_error(404)


@pytest.fixture
def server(damaged: Path) -> Iterator[_Server]:
    """A static server of files, with the set `damaged`, which is sound as long as nobody damages it."""
    with _Server(damaged.parent) as server:
        Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
        yield server
        server.shutdown()


@pytest.mark.parametrize("name", ["{}", "file://{}", "{}#train"])
def test_a_local_folder(tiny_set: Path, name: str) -> None:
    assert_streams(open_stream(name.format(tiny_set)), tiny_set)
    assert len(set(images_of(open_stream(tiny_set)))) == 30


def test_a_static_server_of_files(server: _Server, tiny_set: Path) -> None:
    stream = open_stream(f"{server.url}/damaged")
    assert_streams(stream, tiny_set)
    assert stream.name == f"{server.url}/damaged"
    assert set(server.asked) <= {"/damaged", *(f"/damaged/{path}" for path in ("", "sio.json", *SHARDS))}


def test_no_more_is_taken_than_a_file_may_have(server: _Server, monkeypatch: pytest.MonkeyPatch) -> None:
    (server.folder / "endless").mkdir()
    (server.folder / "endless" / MANIFEST).write_bytes(bytes(1 << 26))
    monkeypatch.setattr(opening, "_LARGEST_MANIFEST", 1000)
    with pytest.raises(CorruptSetError, match=r"endless/sio.json is not a sound manifest"):
        open_stream(f"{server.url}/endless")
    assert server.sent.get(timeout=60) < 1 << 26


def test_a_server_that_fails_for_a_moment_is_asked_again(server: _Server, tiny_set: Path, pauses: list[float]) -> None:
    server.failures = 2
    stream = open_stream(f"{server.url}/damaged")
    assert pauses == [1, 2]
    server.failures = 3
    assert_streams(stream, tiny_set)
    assert len(pauses) == 5


@pytest.mark.parametrize("workers", [0, 2])
def test_a_server_that_goes_on_failing_is_an_error_with_the_file(
    server: _Server, pauses: list[float], workers: int
) -> None:
    stream = open_stream(f"{server.url}/damaged", workers=workers)
    server.failures = 10**6
    with pytest.raises(SioDataError, match=r"damaged/data/train-00000\d\.tar cannot be read \(503"):
        images_of(stream)
    assert pauses[:4] == [1, 2, 4, 8] or workers


def test_a_password_in_a_url_is_not_repeated(server: _Server) -> None:
    with pytest.raises(InputError, match="holds no") as raised:
        open_stream(f"http://me:secret@127.0.0.1:{server.server_address[1]}/nothing")
    assert "secret" not in str(raised.value)


@pytest.mark.parametrize("kind", ["local", "http"])
def test_a_shard_that_is_missing_is_named_at_once(
    damaged: Path, server: _Server, kind: str, pauses: list[float]
) -> None:
    (damaged / SHARDS[2]).unlink()
    name = str(damaged) if kind == "local" else f"{server.url}/damaged"
    with pytest.raises(CorruptSetError, match=rf"{name}/{SHARDS[2]} is missing"):
        images_of(open_stream(name))
    assert not pauses


@pytest.mark.parametrize(
    ("name", "part"),
    [
        ("hub:me/set", "digits/train"),
        ("hub:me/set@v1", "digits/train"),
        ("hub:me/sets/animals@v1", "animals"),
        ("hub:me/sets/digits#validation", "digits/validation"),
        ("hf://datasets/me/set@v1", "digits/train"),
        ("hf://datasets/me/sets/digits/validation/", "digits/validation"),
        ("hf://datasets/me/sets@v1/animals", "animals"),
    ],
)
def test_the_hub(hub: Hub, published: Path, name: str, part: str) -> None:
    stream = open_stream(name)
    assert not hub.count("cdn")
    assert_streams(stream, published / part)
    assert hub.count("cdn") == len(open_set(published / part).manifest.shards)


def test_a_revision_is_resolved_once(hub: Hub, published: Path) -> None:
    streams = [open_stream(name) for name in ("hub:me/set", "hf://datasets/me/set")]
    hub.add("me/set", "dataset", dict.fromkeys(SHARDS, b"something else"))
    for stream in streams:
        assert_streams(stream, published / "digits/train")


def test_a_hub_that_fails_for_a_moment_is_asked_again(
    hub: Hub, published: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    stream = open_stream("hub:me/set")
    hub.fail("cdn", "503", times=3)
    hub.fail("cdn", "cut", times=1)
    assert_streams(stream, published / "digits/train")
    assert hub.fired == 4
    output = "".join(capfd.readouterr())
    assert TOKEN not in output
    assert "Signature" not in output


@pytest.mark.parametrize("fault", ["wrong", "short"])
def test_a_shard_that_comes_damaged_is_fetched_again(hub: Hub, published: Path, fault: str) -> None:
    stream = open_stream("hub:me/set", max_bad=0)
    hub.fail("cdn", fault, times=1)
    assert_streams(stream, published / "digits/train")
    assert hub.fired == 1


def test_a_hub_that_refuses_is_one_message_without_secrets(hub: Hub, published: Path) -> None:
    stream = open_stream("hub:me/set")
    hub.fail("cdn", "echo")
    with pytest.raises(SioDataError, match=r"hub:me/set@\w+, data/train-00000\d\.tar: ") as raised:
        images_of(stream)
    assert TOKEN not in str(raised.value)
    assert "Signature" not in str(raised.value)


def test_a_shard_that_the_hub_lacks_is_named(hub: Hub, published: Path) -> None:
    files = {path: data for path, data in hub.files("me/set", "dataset").items() if path != SHARDS[3]}
    hub.repos.clear()
    hub.add("me/set", "dataset", files)
    with pytest.raises(CorruptSetError, match=rf"hub:me/set@\w+, {SHARDS[3]} is missing"):
        images_of(open_stream("hub:me/set"))


@pytest.mark.parametrize(
    "name", ["hub:me/other", "hf://datasets/me/other", "hf://datasets/me/sets@v1", "hf://datasets/me/sets/nothing"]
)
def test_data_of_others_on_the_hub_are_refused(hub: Hub, published: Path, name: str) -> None:
    hub.add("me/other", "dataset", {"data/train-000000.tar": b"of somebody else"})
    with pytest.raises(InputError, match="sio-data import"):
        open_stream(name)


@pytest.mark.parametrize("name", ["hf://me/set", "hf://datasets/me", "hf://models/a/b", "hf://datasets/a/b/../c"])
def test_what_is_no_address_of_a_data_set_is_refused(name: str) -> None:
    with pytest.raises(InputError, match="names no data set on the Hub"):
        open_stream(name)


def test_folders_that_are_no_set_are_refused(tmp_path: Path, tiny_set: Path, server: _Server) -> None:
    (tmp_path / "shards").mkdir()
    shutil.copy(tiny_set / SHARDS[0], tmp_path / "shards")
    for name in (tmp_path / "shards", tmp_path / "nothing", f"{server.url}/nothing", "digits"):
        with pytest.raises(InputError, match="sio-data import"):
            open_stream(name)
    with pytest.raises(InputError, match="but holds some: name one of them"):
        open_stream(tiny_set.parent)
    with pytest.raises(UnknownNameError, match="split"):
        open_stream(f"{tiny_set}#test")


def test_a_set_that_is_not_finished_is_refused(damaged: Path) -> None:
    edit_manifest(damaged, lambda value: value.update(complete=False, shards=[]))
    with pytest.raises(IncompleteError, match="incomplete"):
        open_stream(damaged)


def test_a_manifest_that_was_edited_is_refused(damaged: Path, server: _Server) -> None:
    value = json.loads((damaged / "sio.json").read_text())
    (damaged / "sio.json").write_text(json.dumps(value | {"samples": 31}))
    for name in (damaged, f"{server.url}/damaged"):
        with pytest.raises(CorruptSetError, match=r"sio\.json was edited"):
            open_stream(name)


@pytest.mark.parametrize("option", [{"workers": -1}, {"max_bad": -1}, {"image_size": 0}])
def test_options_out_of_range_are_refused(tiny_set: Path, option: dict[str, int]) -> None:
    with pytest.raises(InputError, match=next(iter(option))):
        open_stream(tiny_set, **option)
