"""Sets behind a URL, on a real S3 server on this machine."""

import itertools
from collections.abc import Callable, Iterator
from pathlib import Path

import boto3
import fsspec
import pytest
import torch
from moto.server import ThreadedMotoServer

from sio_data import build_gallery, bundle, describe, draw_preview, export, generate, open_set, repair, verify
from sio_data.engines.drawing import Drawer
from sio_data.errors import CorruptSetError, FolderInUseError, IncompleteError, InputError
from sio_data.files import as_folder
from sio_data.plan import ShardPlan
from sio_data.shards import Batch
from sio_data.streaming import open_stream
from tests.conftest import BACKEND, Snapshot, snapshot
from tests.test_generation import ARGUMENTS


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    yield f"http://{host}:{port}"
    server.stop()


@pytest.fixture
def url(server: str, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> str:
    """The URL of a folder that is not there yet, in a bucket of its own."""
    for name, value in {
        "AWS_ENDPOINT_URL": server,
        "AWS_ACCESS_KEY_ID": "test",
        "AWS_SECRET_ACCESS_KEY": "test",
        "AWS_DEFAULT_REGION": "us-east-1",
    }.items():
        monkeypatch.setenv(name, value)
    fsspec.get_filesystem_class("s3").clear_instance_cache()
    bucket = f"bucket-{abs(hash(request.node.name))}"
    boto3.client("s3").create_bucket(Bucket=bucket)
    return f"s3://{bucket}/sets/digits"


def stored(url: str) -> Snapshot:
    folder = as_folder(url)
    return {
        path.path.removeprefix(folder.path + "/"): path.read_bytes() for path in folder.rglob("*") if path.is_file()
    }


def test_the_set_is_the_same_as_a_local_one(tiny_generator: Path, tiny_set: Path, url: str) -> None:
    done = generate(BACKEND, str(tiny_generator), url, **ARGUMENTS)
    assert done.made == 30
    assert stored(url) == snapshot(tiny_set)
    assert generate(BACKEND, str(tiny_generator), url, **ARGUMENTS).made == 0
    assert open_set(url).read().labels.tolist() == open_set(tiny_set).read().labels.tolist()
    assert not verify(url).faults


def test_interrupted_it_goes_on_where_it_was(
    tiny_generator: Path, tiny_set: Path, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    draw = Drawer.draw

    def stop_in_third(self: Drawer, shard: ShardPlan) -> Iterator[Batch]:
        yield from itertools.islice(draw(self, shard), 1 if shard.index == 2 else None)
        if shard.index == 2:
            raise KeyboardInterrupt

    monkeypatch.setattr(Drawer, "draw", stop_in_third)
    with pytest.raises(KeyboardInterrupt):
        generate(BACKEND, str(tiny_generator), url, **ARGUMENTS)
    monkeypatch.setattr(Drawer, "draw", draw)
    finished = {name: data for name, data in stored(url).items() if name.endswith(".tar")}
    assert "data/train-000002.tar" not in finished
    with pytest.raises(IncompleteError):
        open_set(url)
    missing = sum(
        {0: 8, 1: 8, 2: 8, 3: 6}[index] for index in range(4) if f"data/train-00000{index}.tar" not in finished
    )
    assert generate(BACKEND, str(tiny_generator), url, **ARGUMENTS).made == missing
    assert stored(url) == snapshot(tiny_set)


def test_a_damaged_shard_is_found_and_repaired(tiny_generator: Path, tiny_set: Path, url: str) -> None:
    generate(BACKEND, str(tiny_generator), url, **ARGUMENTS)
    shard = as_folder(url) / "data/train-000001.tar"
    shard.write_bytes(shard.read_bytes()[:-1000])
    with pytest.raises(CorruptSetError, match=r"train-000001\.tar was changed"):
        generate(BACKEND, str(tiny_generator), url, **ARGUMENTS)
    assert [fault.path for fault in verify(url).faults] == ["data/train-000001.tar"]
    assert repair(url, weights=str(tiny_generator)).remade == ("data/train-000001.tar",)
    assert stored(url) == snapshot(tiny_set)


def test_two_workers_keep_to_their_shares(tiny_generator: Path, tiny_set: Path, url: str) -> None:
    generate(BACKEND, str(tiny_generator), url, workers=2, **ARGUMENTS)
    assert stored(url) == snapshot(tiny_set)


def test_a_place_that_holds_something_else_is_refused(tiny_generator: Path, url: str) -> None:
    (as_folder(url) / "thesis.tex").write_text("years of work")
    with pytest.raises(FolderInUseError, match=r"thesis\.tex"):
        generate(BACKEND, str(tiny_generator), url, **ARGUMENTS)
    assert stored(url) == {"thesis.tex": b"years of work"}


def test_a_store_that_lets_nobody_in_is_one_message(
    url: str, monkeypatch: pytest.MonkeyPatch, refuse: Callable[..., str], tmp_path: Path
) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "none"))
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    assert "cannot be reached" in refuse("verify", url.replace("bucket", "locked"), unchanged=tmp_path)


def test_a_file_url_is_a_local_folder(tiny_generator: Path, tiny_set: Path, tmp_path: Path) -> None:
    generate(BACKEND, str(tiny_generator), f"file://{tmp_path}/a%20set", **ARGUMENTS)
    assert snapshot(tmp_path / "a set") == snapshot(tiny_set)


def test_a_url_that_nothing_can_reach_is_refused() -> None:
    with pytest.raises(InputError, match="cannot be reached"):
        open_set("nothing://bucket/set")


def test_a_bucket_that_is_not_there_is_an_error_with_its_name(tiny_generator: Path, url: str) -> None:
    with pytest.raises(OSError, match="bucket"):
        generate(BACKEND, str(tiny_generator), "s3://no-such-bucket/set", **ARGUMENTS)
    assert "no-such-bucket" not in str(boto3.client("s3").list_buckets())


def test_a_bundle_behind_a_url_is_made_verified_and_exported_from(tiny_set: Path, url: str, tmp_path: Path) -> None:
    for path, data in snapshot(tiny_set).items():
        for place in ("digits", "more/validation"):
            (as_folder(url) / place / path).write_bytes(data)
    assert [part.path for part in bundle(url).parts] == ["digits", "more/validation"]
    assert (verify(url).faults, verify(url).samples) == ((), 60)
    for number, folder in enumerate((f"{url}/more/validation", tiny_set)):
        export(folder, tmp_path / str(number), format="parquet")
    assert snapshot(tmp_path / "0") == snapshot(tmp_path / "1")


def test_it_is_streamed(tiny_set: Path, url: str) -> None:
    for path, data in snapshot(tiny_set).items():
        (as_folder(url) / path).write_bytes(data)
    there, here = open_stream(url), open_stream(tiny_set)
    batches = [list(stream.read(torch.arange(60).split(7), 0)) for stream in (there, here)]
    assert all(torch.equal(one[0], other[0]) for one, other in zip(*batches, strict=True))
    (as_folder(url) / "data/train-000002.tar").unlink()
    with pytest.raises(CorruptSetError, match=rf"{url}/data/train-000002\.tar is missing"):
        list(open_stream(url).read([torch.arange(30)], 0))


def test_it_is_described_previewed_and_browsed(tiny_generator: Path, tiny_set: Path, url: str, tmp_path: Path) -> None:
    generate(BACKEND, str(tiny_generator), url, **ARGUMENTS)
    here, there = describe(tiny_set).to_json(), describe(url).to_json()
    assert {**there, "folder": "", "command": ""} == {**here, "folder": "", "command": ""}
    for place, name in ((url, "there.png"), (tiny_set, "here.png")):
        draw_preview(place, tmp_path / name)
    assert (tmp_path / "there.png").read_bytes() == (tmp_path / "here.png").read_bytes()
    before = stored(url)
    build_gallery(url, per_class=5)
    made = build_gallery(url, per_class=2)
    assert made.page.read_bytes().startswith(b"<!doctype html>")
    assert len(stored(url)) == len(before) + 1 + made.sheets
    assert {name: data for name, data in stored(url).items() if name in before} == before
