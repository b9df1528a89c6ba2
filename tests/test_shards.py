import dataclasses
import io
import json
import tarfile
from pathlib import Path

import numpy as np
import pytest

from sio_data.errors import CorruptSetError
from sio_data.files import canonical_json, sha256_file
from sio_data.manifest import ShardRecord
from sio_data.plan import Plan, ShardPlan
from sio_data.recipe import Recipe
from sio_data.shards import Batch, check_shard, read_shard, write_shard


@pytest.fixture
def images() -> np.ndarray:
    return np.random.RandomState(0).randint(0, 256, (4, 4, 4, 3), dtype=np.uint8)


def batches(plan: ShardPlan, images: np.ndarray) -> list[Batch]:
    seeds = [{"seed": seed} for seed in plan.seeds.tolist()]
    return [Batch(images[cut], plan.labels[cut], seeds[cut], len(images[cut])) for cut in plan.batches(3)]


@pytest.fixture
def shard(tmp_path: Path, recipe: Recipe, images: np.ndarray) -> ShardRecord:
    (tmp_path / "data").mkdir()
    return write_shard(tmp_path, Plan(recipe), 1, batches(Plan(recipe)[1], images))


def test_round_trip(tmp_path: Path, recipe: Recipe, shard: ShardRecord, images: np.ndarray) -> None:
    samples = list(read_shard(tmp_path, shard, recipe))
    plan = Plan(recipe)[1]
    assert [sample.index for sample in samples] == [4, 5, 6, 7]
    assert [sample.label for sample in samples] == plan.labels.tolist()
    assert [sample.metadata["seed"] for sample in samples] == plan.seeds.tolist()
    assert np.array_equal([sample.image for sample in samples], images)


@pytest.mark.parametrize("image_format", ["png", "webp"])
def test_lossless_formats_keep_every_pixel(
    tmp_path: Path, recipe: Recipe, images: np.ndarray, image_format: str
) -> None:
    (tmp_path / "data").mkdir()
    recipe = dataclasses.replace(recipe, image_format=image_format)
    record = write_shard(tmp_path, Plan(recipe), 0, batches(Plan(recipe)[0], images))
    assert np.array_equal([sample.image for sample in read_shard(tmp_path, record, recipe)], images)


def test_members_are_adjacent_in_order_and_without_trace_of_the_maker(
    tmp_path: Path, recipe: Recipe, shard: ShardRecord
) -> None:
    with tarfile.open(tmp_path / shard.path) as tar:
        members = tar.getmembers()
        metadata = json.loads(tar.extractfile(members[2]).read())
        label = tar.extractfile(members[1]).read()
    assert [member.name for member in members[:4]] == [
        "000000004.png", "000000004.cls", "000000004.json", "000000005.png",
    ]  # fmt: skip
    assert {(m.mtime, m.uid, m.gid, m.uname, m.gname, m.mode) for m in members} == {(0, 0, 0, "", "", 0o644)}
    assert label == b"1"
    assert metadata == {
        "index": 4, "label": 1, "class": "dog", "seed": int(Plan(recipe).seeds(4)), "recipe": recipe.hash,
    }  # fmt: skip


def test_the_bytes_are_those_that_tarfile_writes(tmp_path: Path, shard: ShardRecord) -> None:
    path = tmp_path / shard.path
    with tarfile.open(path) as tar, tarfile.open(tmp_path / "again.tar", "w", format=tarfile.USTAR_FORMAT) as again:
        for member in tar:
            fresh = tarfile.TarInfo(member.name)
            fresh.size = member.size
            again.addfile(fresh, tar.extractfile(member))
    assert (tmp_path / "again.tar").read_bytes() == path.read_bytes()
    assert shard.sha256 == sha256_file(path)
    assert shard.bytes == path.stat().st_size


def test_written_again_it_is_the_same_to_the_byte(
    tmp_path: Path, recipe: Recipe, shard: ShardRecord, images: np.ndarray
) -> None:
    before = (tmp_path / shard.path).read_bytes()
    assert write_shard(tmp_path, Plan(recipe), 1, batches(Plan(recipe)[1], images)) == shard
    assert (tmp_path / shard.path).read_bytes() == before


def test_an_error_while_writing_leaves_nothing(tmp_path: Path, recipe: Recipe, images: np.ndarray) -> None:
    (tmp_path / "data").mkdir()

    def broken() -> object:
        yield Batch(images[:1], np.zeros(1, np.int64), [{"seed": 0}], 1)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_shard(tmp_path, Plan(recipe), 0, broken())
    assert list((tmp_path / "data").iterdir()) == []


def test_a_truncated_shard_is_found(tmp_path: Path, recipe: Recipe, shard: ShardRecord) -> None:
    path = tmp_path / shard.path
    path.write_bytes(path.read_bytes()[:-4096])
    with pytest.raises(CorruptSetError, match="bytes"):
        list(read_shard(tmp_path, shard, recipe))


def test_every_flipped_bit_is_found(tmp_path: Path, shard: ShardRecord) -> None:
    path = tmp_path / shard.path
    whole = path.read_bytes()
    for place in range(0, len(whole), 517):
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1 :])
        with pytest.raises(CorruptSetError, match="other bytes"):
            check_shard(tmp_path, shard)


def test_a_missing_shard_is_named(tmp_path: Path, shard: ShardRecord) -> None:
    (tmp_path / shard.path).unlink()
    with pytest.raises(CorruptSetError, match=r"train-000001\.tar is missing"):
        check_shard(tmp_path, shard)


def _png(size: int = 4) -> bytes:
    from sio_data.images import encode

    return encode(np.zeros((1, size, size, 3), np.uint8), "png")[0]


def _members(recipe: Recipe, **changes: bytes | None) -> list[tuple[str, bytes]]:
    metadata = {"index": 0, "label": 0, "class": "cat", "seed": int(Plan(recipe).seeds(0)), "recipe": recipe.hash}
    parts = {"png": _png(), "cls": b"0", "json": canonical_json(metadata).encode(), **changes}
    return [
        (f"000000000.{extension}", data.replace(b"RECIPE", recipe.hash.encode()))
        for extension, data in parts.items()
        if data is not None
    ]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"cls": b"3"}, "label 3 is outside the class map of 3"),
        ({"cls": b"-1"}, "outside the class map"),
        ({"cls": b"cat"}, "cannot be read"),
        ({"cls": b"1"}, "does not fit its label"),
        (
            {"json": b'{"class":"cat","index":0,"label":0,"recipe":"RECIPE","seed":0}'},
            "are not those that the recipe plans",
        ),
        ({"json": b'{"class":"dog","index":0,"label":0,"recipe":"RECIPE","seed":0}'}, "does not fit its label"),
        (
            {"json": b'{"class":"cat","index":0,"label":0,"recipe":"RECIPE","seed":0.5}'},
            "not those that the recipe plans",
        ),
        ({"json": b"{"}, "cannot be read"),
        ({"json": b"[]"}, "cannot be read"),
        ({"json": b'{"seed":Infinity}'}, "cannot be read"),
        ({"json": b"[" * 60_000}, "cannot be read"),
        ({"json": b" " * 70_000}, "too large"),
        ({"json": None}, "found the end"),
        ({"png": b"no image"}, "not a readable image"),
        ({"png": _png(5)}, "expected an RGB image of 4x4"),
        ({"extra": b""}, "expected 000000000.png, found 000000000.extra"),
    ],
)
def test_a_shard_with_a_true_hash_but_wrong_content_is_refused(
    tmp_path: Path, recipe: Recipe, changes: dict[str, bytes | None], message: str
) -> None:
    (tmp_path / "data").mkdir()
    path = tmp_path / "data/train-000000.tar"
    with tarfile.open(path, "w") as tar:
        for name, data in _members(recipe, **changes):
            member = tarfile.TarInfo(name)
            member.size = len(data)
            tar.addfile(member, io.BytesIO(data))
    record = ShardRecord("data/train-000000.tar", sha256_file(path), path.stat().st_size, 1, 1)
    with pytest.raises(CorruptSetError, match=message):
        list(read_shard(tmp_path, record, recipe))


@pytest.mark.parametrize("kind", [tarfile.GNUTYPE_SPARSE, tarfile.CONTTYPE, tarfile.DIRTYPE])
def test_members_of_other_kinds_are_refused_unread(tmp_path: Path, recipe: Recipe, kind: bytes) -> None:
    (tmp_path / "data").mkdir()
    path = tmp_path / "data/train-000000.tar"
    header = bytearray(tarfile.TarInfo("000000000.png").tobuf(tarfile.USTAR_FORMAT))
    header[156:157] = kind
    header[148:156] = b"%06o\0 " % (sum(header[:148]) + 8 * 32 + sum(header[156:]))
    path.write_bytes(bytes(header) + b"\0" * 1024)
    record = ShardRecord("data/train-000000.tar", sha256_file(path), path.stat().st_size, 1, 1)
    with pytest.raises(CorruptSetError, match="expected 000000000"):
        list(read_shard(tmp_path, record, recipe))


def test_a_link_in_a_shard_is_refused(tmp_path: Path, recipe: Recipe) -> None:
    (tmp_path / "data").mkdir()
    path = tmp_path / "data/train-000000.tar"
    with tarfile.open(path, "w") as tar:
        member = tarfile.TarInfo("000000000.png")
        member.type, member.linkname = tarfile.SYMTYPE, "/etc/passwd"
        tar.addfile(member)
    record = ShardRecord("data/train-000000.tar", sha256_file(path), path.stat().st_size, 1, 1)
    with pytest.raises(CorruptSetError, match=r"expected 000000000\.png"):
        list(read_shard(tmp_path, record, recipe))


def test_a_count_that_differs_from_the_record_is_found(tmp_path: Path, recipe: Recipe, shard: ShardRecord) -> None:
    with pytest.raises(CorruptSetError, match="holds 4 samples, its record says 5"):
        list(read_shard(tmp_path, dataclasses.replace(shard, samples=5, draws=5), recipe))
