"""Malformed and hostile sets and checkpoints: refused by whoever is asked to read them, with one message."""

import io
import re
import shutil
import tarfile
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import pytest
import yaml
from PIL import Image

import sio_data
from sio_data.errors import InputError, SioDataError
from sio_data.files import sha256_file
from sio_data.manifest import Manifest
from tests.conftest import snapshot
from tests.damage import CARD, MANIFEST, SHARDS, edit_manifest, replace_text

Change = Callable[[Path], object]
Members = list[tuple[tarfile.TarInfo, bytes]]


def manifest(**fields: object) -> Change:
    return lambda folder: edit_manifest(folder, lambda value: value.update(fields))


def recipe(**fields: object) -> Change:
    return lambda folder: edit_manifest(folder, lambda value: value["recipe"].update(fields))


def record(**fields: object) -> Change:
    return lambda folder: edit_manifest(folder, lambda value: value["shards"][1].update(fields))


def text(name: str, content: str) -> Change:
    return lambda folder: (folder / name).write_text(content)


def shard(change: Callable[[Members], object]) -> Change:
    """Change the members of a shard, and make hash, manifest and card fit again, as a hostile publisher would."""

    def rewrite(folder: Path) -> None:
        path, old = folder / SHARDS[1], Manifest.read(folder).digest
        with tarfile.open(path) as tar:
            members = [(member, tar.extractfile(member).read()) for member in tar]
        change(members)
        with tarfile.open(path, "w", format=tarfile.USTAR_FORMAT) as tar:
            for member, data in members:
                member.size = len(data)
                tar.addfile(member, io.BytesIO(data))
        size = path.stat().st_size
        edit_manifest(folder, lambda value: value["shards"][1].update(sha256=sha256_file(path), bytes=size))
        replace_text(folder / CARD, old, Manifest.read(folder).digest)

    return rewrite


def member(place: int, data: bytes | None = None, **fields: Any) -> Change:
    def change(members: Members) -> None:
        info, old = members[place]
        for name, value in fields.items():
            setattr(info, name, value)
        members[place] = info, old if data is None else data

    return shard(change)


def picture(size: int, mode: str = "RGB", kind: str = "PNG") -> bytes:
    buffer = io.BytesIO()
    Image.new(mode, (size, size)).save(buffer, kind)
    return buffer.getvalue()


def bomb() -> bytes:
    """A picture that says it has 60,000 by 60,000 pixels."""
    data = picture(8)
    header = b"IHDR" + (60_000).to_bytes(4, "big") * 2 + data[24:29]
    return data[:12] + header + zlib.crc32(header).to_bytes(4, "big") + data[33:]


LINK = {"type": tarfile.SYMTYPE, "linkname": "/etc/passwd"}
NOT_SOUND = "is not a sound manifest"

ALL = ("load", "verify", "publish")
DEEP = ("load_source", "verify", "publish")
"""`load` hands rows on as `datasets` reads them; what is inside a shard whose hash fits is checked by these."""

SETS: dict[str, tuple[Change, tuple[str, ...], str]] = {
    "no file": (lambda folder: [shutil.rmtree(folder), folder.mkdir()], ALL, "damaged"),
    "manifest of zeros": (text(MANIFEST, "\0" * 100), ("load", "publish"), NOT_SOUND),
    "manifest of another thing": (text(MANIFEST, "[]"), ("load", "publish"), NOT_SOUND),
    "manifest with NaN": (text(MANIFEST, '{"format": NaN}'), ("load", "publish"), NOT_SOUND),
    "manifest without end": (text(MANIFEST, "[" * 100_000), ("load", "publish"), NOT_SOUND),
    "manifest that is no UTF-8": (
        lambda folder: (folder / MANIFEST).write_bytes(b"\xff\xfe{}"), ("load", "publish"), NOT_SOUND,
    ),
    "format of the future": (manifest(format="sio-data/set/9"), ("load", "publish"), "sio-data/set/9"),
    "no recipe": (manifest(recipe=None), ("load", "publish"), NOT_SOUND),
    "no generator": (manifest(generator={}), ("load", "publish"), NOT_SOUND),
    "a billion images": (recipe(per_class=10**9), ("load", "publish"), "more than"),
    "images of no size": (recipe(image_size=0), ("load", "publish"), "image_size must be at least 1"),
    "the same class twice": (recipe(class_names=["cat"] * 6), ("load", "publish"), "class names"),
    "half a character": (recipe(class_names=["a", "b", "c", "d", "e", "\ud800"]), ("load", "publish"), "half a char"),
    "path out of the folder": (record(path="../../etc/passwd"), ("load", "publish"), "not a shard record"),
    "absolute path": (record(path="/etc/passwd"), ("load", "publish"), "not a shard record"),
    "hash that is a path": (record(sha256="../" * 21 + "a"), ("load", "publish"), "not a shard record"),
    "negative size": (record(bytes=-1), ("load", "publish"), "not a shard record"),
    "number of samples that is true": (record(samples=True), ("load", "publish"), "not a shard record"),
    "record without a file": (lambda folder: (folder / SHARDS[1]).unlink(), ALL, "is missing"),
    "shard cut off": (lambda folder: (folder / SHARDS[1]).write_bytes(b"\0" * 1024), ALL, "1,024 of"),
    "folder in place of a shard": (
        lambda folder: [(folder / SHARDS[1]).unlink(), (folder / SHARDS[1]).mkdir()], ALL, "train-000001.tar",
    ),
    "somebody's file beside the shards": (text("data/notes.txt", "mine"), ALL, "notes.txt is not part of the set"),
    "link beside the shards": (
        lambda folder: (folder / "data/train-000009.tar").symlink_to("/etc/passwd"), ALL, "not part of the set",
    ),
    "card of other classes": (
        lambda folder: replace_text(folder / CARD, "'0': zero", "'0': one"), ALL, "does not fit the data",
    ),
    "card without metadata": (text(CARD, "# Mine\n"), ALL, "does not fit the data"),
    "card that never ends": (text(CARD, "---\n" + "[" * 10_000), ALL, "does not fit the data"),
    "card that makes an object": (
        text(CARD, "---\nconfigs: !!python/object/apply:os.system [echo]\n---\n"), ALL, "does not fit the data",
    ),
    "no card": (lambda folder: (folder / CARD).unlink(), ALL, "README.md"),
    "path in a tar": (member(0, name="../../../tmp/x.png"), DEEP, "wrong sample"),
    "absolute path in a tar": (member(0, name="/tmp/x.png"), DEEP, "wrong sample"),
    "link in a tar": (member(0, b"", **LINK), DEEP, "wrong sample"),
    "device in a tar": (member(0, b"", type=tarfile.CHRTYPE), DEEP, "wrong sample"),
    "pickle in a tar": (member(1, b"\x80\x04.", name="000000008.pkl"), DEEP, "wrong sample"),
    "member too many": (shard(lambda members: members.append(members[0])), DEEP, "wrong sample"),
    "sample too few": (shard(lambda members: members.__delitem__(slice(21, 24))), DEEP, "holds 7 samples"),
    "label out of range": (member(1, b"6"), DEEP, "outside the class map"),
    "label that is no number": (member(1, b"zero"), DEEP, "cannot be read"),
    "label of ten thousand digits": (member(1, b"1" * 10_000), DEEP, "cannot be read"),
    "other label": (member(1, b"5"), DEEP, "does not fit"),
    "metadata that are a list": (member(2, b"[]"), DEEP, "cannot be read"),
    "metadata without end": (member(2, b"[" * 50_000), DEEP, "cannot be read"),
    "metadata of another sample": (member(2, b'{"seed":1}'), DEEP, "does not fit"),
    "metadata too large": (member(2, b" " * (1 << 17)), DEEP, "too large"),
    "picture that is a bomb": (member(0, bomb()), DEEP, "not a readable image"),
    "picture that is cut off": (member(0, picture(8)[:45]), DEEP, "not a readable image"),
    "picture of another size": (member(0, picture(9)), DEEP, "expected an RGB image of 8x8"),
    "picture with alpha": (member(0, picture(8, "RGBA")), DEEP, "expected an RGB image of 8x8"),
    "picture of another kind": (member(0, picture(8, kind="GIF")), DEEP, "not a readable image"),
    "picture of nothing": (member(0, b""), DEEP, "not a readable image"),
}  # fmt: skip


def ask(reader: str, folder: Path) -> str:
    """What somebody says who is asked to read a set."""
    if reader == "verify":
        found = sio_data.verify(folder)
        assert found.faults
        return "; ".join(f"{fault.path} {fault.what}" for fault in found.faults)
    if reader == "publish":
        sio_data.publish(folder, "owner/name", licence="mit")
    elif reader == "load":
        sio_data.load(str(folder))
    else:
        sio_data.load_source(str(folder))
    raise AssertionError("nothing was refused")


@pytest.mark.parametrize("name", SETS)
def test_a_malformed_set_is_refused_and_left_as_it_is(name: str, damaged: Path) -> None:
    change, readers, message = SETS[name]
    change(damaged)
    before = snapshot(damaged)
    for reader in readers:
        try:
            said = ask(reader, damaged)
        except InputError as error:
            said = str(error)
        assert message in " ".join(said.split()), reader
        assert "\x1b" not in said
        assert snapshot(damaged) == before


def test_a_set_that_is_not_finished_is_refused(damaged: Path) -> None:
    edit_manifest(damaged, lambda value: value.update(complete=False, shards=[]))
    for reader in ("load", "load_source", "verify", "publish"):
        with pytest.raises(SioDataError, match="is incomplete"):
            ask(reader, damaged)


CHECKPOINTS: dict[str, tuple[Change, str]] = {
    "no configuration": (lambda folder: (folder / "config.json").unlink(), "holds neither"),
    "configuration of zeros": (text("config.json", "\0"), "not a readable JSON file"),
    "strange network": (
        lambda folder: replace_text(folder / "config.json", "convnet", "convnets"), "unknown network 'convnets'",
    ),
    "further option": (
        lambda folder: replace_text(folder / "config.json", "{", '{"auto_map": {},'), "no sound checkpoint",
    ),
    "no weights": (lambda folder: (folder / "model.safetensors").unlink(), "no sound checkpoint"),
    "pickled weights": (
        lambda folder: (folder / "model.safetensors").write_bytes(b"\x80\x04cos\nsystem\n."), "no sound checkpoint",
    ),
    "weights cut off": (
        lambda folder: (folder / "model.safetensors").write_bytes((folder / "model.safetensors").read_bytes()[:-8]),
        "no sound checkpoint",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", CHECKPOINTS)
def test_a_malformed_checkpoint_does_not_go_out(
    name: str, tiny_runs: tuple[Path, Path], tmp_path: Path, refuse: Callable[..., str]
) -> None:
    change, message = CHECKPOINTS[name]
    folder = Path(shutil.copytree(tiny_runs[0] / "seed-0", tmp_path / "seed-0"))
    change(folder)
    assert message in refuse("publish", folder, "owner/name", "--licence", "mit", unchanged=tmp_path)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["owner"], "like owner/name"), (["owner/name/more"], "like owner/name"), (["../name"], "like owner/name"),
        (["owner/na me"], "like owner/name"), (["https://huggingface.co/owner/name"], "like owner/name"),
        (["owner/name", "--tag", "v 1"], "no branch, tag or commit"), (["owner/name", "--tag", "../v1"], "no branch"),
        (["owner/name", "--licence", "unknown"], "licence"),
        (["owner/name", "--licence", "mit\nlicense: x"], "licence"),
        (["owner/name", "--link", "x"], "like owner/name"),
    ],
)  # fmt: skip
def test_a_name_that_nothing_can_have_is_refused(
    words: list[str], message: str, tiny_set: Path, refuse: Callable[..., str]
) -> None:
    assert message in refuse("publish", tiny_set, *words, unchanged=tiny_set)


HOSTILE = (
    "a]: b\n- c", "---", "</script><img src=x onerror=alert(1)>", "```json\n{}", "| x | y |", "![x](http://x)",
    "~~~", "~~x~~", "see http://evil.example", "see WWW.evil.example", "@somebody", "x: y, 1.5",
)  # fmt: skip


def test_hostile_class_names_reach_neither_metadata_nor_markup(tmp_path: Path) -> None:
    np.save(tmp_path / "images.npy", np.zeros((len(HOSTILE), 8, 8, 3), np.uint8))
    np.save(tmp_path / "labels.npy", np.arange(len(HOSTILE)))
    sources = [str(tmp_path / "images.npy"), str(tmp_path / "labels.npy")]
    sio_data.import_set(sources, tmp_path / "set", classes=HOSTILE, licence="mit", citation="<b>&\n# Me")
    rows = datasets.load_dataset(str(tmp_path / "set"), split="train", cache_dir=str(tmp_path / "cache"))
    assert rows.features["cls"].names == list(HOSTILE)
    _, metadata, body = (tmp_path / "set" / CARD).read_text().split("---\n", 2)
    body = re.sub(r"```.*?\n```", "", body, flags=re.DOTALL)
    assert yaml.safe_load(metadata)["license"] == "mit"
    assert "<img" not in body
    assert "<b>" not in body
    assert "![x]" not in body
    assert not [sign for sign in ("~~", "http://", "WWW.", "@") if sign in body]
    assert "x: y, 1.5" in body
    assert "# Me" not in [line.strip() for line in body.splitlines()]
