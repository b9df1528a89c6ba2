"""Ways to damage the set `tiny_set`, each with the faults that it makes and the shards that must be made again."""

import json
import shutil
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from sio_data.files import sha256_json

SHARDS = tuple(f"data/train-{index:06d}.tar" for index in range(4))
MANIFEST, CARD, PREVIEW, INFO = "sio.json", "README.md", "preview.png", "_info.json"


@dataclass(frozen=True)
class Damage:
    """What is done to a set (given another one to take files from), and what follows."""

    do: Callable[[Path, Path], object]
    faults: dict[str, str]
    remade: tuple[str, ...] = ()
    removed: tuple[str, ...] = field(default=())


def flip(path: Path, place: int, bit: int = 0) -> None:
    data = bytearray(path.read_bytes())
    data[place] ^= 1 << bit
    path.write_bytes(data)


def edit_manifest(folder: Path, change: Callable[[dict[str, Any]], object], seal: bool = True) -> None:
    """Change the manifest; sealed, its checksum and digest fit again."""
    path = folder / MANIFEST
    value = json.loads(path.read_text())
    del value["checksum"]
    old = sha256_json(value)
    change(value)
    if seal:
        value["digest"] = sha256_json(value["shards"])
    value["checksum"] = sha256_json(value) if seal else old
    path.write_text(json.dumps(value, indent=2) + "\n")


def swap_records(value: dict[str, Any]) -> None:
    one, two = value["shards"][:2]
    one["path"], two["path"] = two["path"], one["path"]
    value["shards"][:2] = two, one


def swap_files(folder: Path) -> None:
    one, two = folder / SHARDS[0], folder / SHARDS[1]
    one.rename(folder / "x")
    two.rename(one)
    (folder / "x").rename(two)


def replace_text(path: Path, old: str, new: str) -> None:
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new, 1))


def leave_behind(folder: Path) -> None:
    """What killed writers leave."""
    (folder / ".records").mkdir()
    for name in (".records/train-000000.json", ".records/000001.lock", "data/.train-000001.tar.0f.sio-data-tmp"):
        (folder / name).write_text("{")


BOTH = (SHARDS[0], SHARDS[1])
CHANGED = "was changed after it was made"
UNFIT = "does not fit the data"

DAMAGES: dict[str, Damage] = {
    "flipped bit": Damage(lambda s, _: flip(s / SHARDS[1], 700), {SHARDS[1]: "other bytes"}, (SHARDS[1],)),
    "truncated": Damage(
        lambda s, _: (s / SHARDS[1]).write_bytes((s / SHARDS[1]).read_bytes()[:5000]),
        {SHARDS[1]: "5,000 of "},
        (SHARDS[1],),
    ),
    "cut after a sample": Damage(  # a reader of tars notices nothing
        lambda s, _: (s / SHARDS[3]).write_bytes((s / SHARDS[3]).read_bytes()[: 6 * 512]),
        {SHARDS[3]: "3,072 of "},
        (SHARDS[3],),
    ),
    "longer": Damage(
        lambda s, _: (s / SHARDS[0]).write_bytes((s / SHARDS[0]).read_bytes() + b"\0"),
        {SHARDS[0]: CHANGED},
        (SHARDS[0],),
    ),
    "empty": Damage(lambda s, _: (s / SHARDS[0]).write_bytes(b""), {SHARDS[0]: CHANGED}, (SHARDS[0],)),
    "missing": Damage(lambda s, _: (s / SHARDS[2]).unlink(), {SHARDS[2]: "is missing"}, (SHARDS[2],)),
    "all missing": Damage(lambda s, _: shutil.rmtree(s / "data"), dict.fromkeys(SHARDS, "is missing"), SHARDS),
    "doubled": Damage(
        lambda s, _: shutil.copy(s / SHARDS[0], s / "data/train-000009.tar"),
        {"data/train-000009.tar": "is not part of the set"},
        removed=("data/train-000009.tar",),
    ),
    "swapped": Damage(lambda s, _: swap_files(s), dict.fromkeys(BOTH, CHANGED), BOTH),
    "one in place of another": Damage(
        lambda s, _: shutil.copy(s / SHARDS[0], s / SHARDS[2]), {SHARDS[2]: CHANGED}, (SHARDS[2],)
    ),
    "shard of another set": Damage(
        lambda s, other: shutil.copy(other / SHARDS[1], s / SHARDS[1]), {SHARDS[1]: CHANGED}, (SHARDS[1],)
    ),
    "records exchanged": Damage(
        lambda s, _: edit_manifest(s, swap_records), dict.fromkeys(BOTH, CHANGED) | {CARD: UNFIT}, BOTH
    ),
    "records and files exchanged": Damage(
        lambda s, _: (edit_manifest(s, swap_records), swap_files(s)),
        dict.fromkeys(BOTH, "has a wrong sample, number 0") | {CARD: UNFIT},
        BOTH,
    ),
    "records out of order": Damage(
        lambda s, _: edit_manifest(s, lambda value: value["shards"].reverse()), {MANIFEST: "says complete, but"}
    ),
    "a record lacking": Damage(
        lambda s, _: edit_manifest(s, lambda value: value["shards"].pop()), {MANIFEST: "says complete, but"}
    ),
    "manifest deleted": Damage(lambda s, _: (s / MANIFEST).unlink(), {MANIFEST: "is missing"}),
    "manifest emptied": Damage(lambda s, _: (s / MANIFEST).write_text(""), {MANIFEST: "is not a sound manifest"}),
    "manifest of another set": Damage(
        lambda s, other: shutil.copy(other / MANIFEST, s / MANIFEST), {MANIFEST: "is that of another set"}
    ),
    "manifest with another recipe": Damage(
        lambda s, _: edit_manifest(s, lambda value: value["recipe"].update(seed=7), seal=False),
        {MANIFEST: "was edited: its checksum does not fit"},
    ),
    "card deleted": Damage(lambda s, _: (s / CARD).unlink(), {CARD: "is missing"}),
    "card emptied": Damage(lambda s, _: (s / CARD).write_text(""), {CARD: UNFIT}),
    "card of another set": Damage(lambda s, other: shutil.copy(other / CARD, s / CARD), {CARD: UNFIT}),
    "card with another digest": Damage(lambda s, _: replace_text(s / CARD, "sha256:", "sha256:0"), {CARD: UNFIT}),
    "card with other classes": Damage(lambda s, _: replace_text(s / CARD, "'0': zero", "'0': one"), {CARD: UNFIT}),
    "card with another recipe": Damage(
        lambda s, _: replace_text(s / CARD, '"shard_size": 8', '"shard_size": 9'), {CARD: UNFIT}
    ),
    "preview deleted": Damage(lambda s, _: (s / PREVIEW).unlink(), {PREVIEW: "is missing"}),
    "info deleted": Damage(lambda s, _: (s / INFO).unlink(), {INFO: "is missing"}),
    "info of fewer samples": Damage(
        lambda s, _: replace_text(s / INFO, '"num_samples": 30', '"num_samples": 24'), {INFO: UNFIT}
    ),
    "info that is no JSON": Damage(lambda s, _: (s / INFO).write_text("[" * 10**5), {INFO: UNFIT}),
    "leftovers": Damage(lambda s, _: leave_behind(s), {}),
}  # fmt: skip
