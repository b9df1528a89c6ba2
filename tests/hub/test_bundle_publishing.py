"""Bundles to the Hub and back: every set of them checked, and nothing of anybody else touched."""

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from sio_data import bundle, fetch, publish, verify
from sio_data.cli import main
from sio_data.errors import CorruptSetError, FolderInUseError, InputError, SettingsMismatchError
from sio_data.files import sha256_json
from sio_data.manifest import Manifest
from sio_data.set_card import NOTES_MARK, render_set_card
from tests.conftest import snapshot
from tests.damage import flip
from tests.hub_server import Hub

PARTS = ("animals", "digits/train", "digits/validation")


@pytest.fixture
def made(sets: Path) -> Path:
    bundle(sets, default="digits")
    return sets


def store(hub: Hub, revision: str = "main") -> dict[str, bytes]:
    return {path: data for path, data in hub.files("me/sets", "dataset", revision).items() if path != ".gitattributes"}


def relicense(folder: Path, licence: str) -> None:
    manifest = Manifest.read(folder)
    manifest = replace(manifest, origin=replace(manifest.origin, licence=licence))
    manifest.write(folder)
    (folder / "README.md").write_text(render_set_card(manifest))


def test_a_bundle_goes_up_in_one_commit_and_comes_back(
    hub: Hub, made: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (made / "README.md").write_text((made / "README.md").read_text() + "Drawn on a rainy day.\n")
    (made / "notes.txt").write_text("HF_TOKEN=hf_secret")
    before = snapshot(made)
    done = publish(made, "me/sets", tag="v1", link=["me/model"])
    assert snapshot(made) == before
    assert (done.licence, hub.count("commit")) == ("several", 1)
    assert {*store(hub, "v1")} == {*done.sent} == {*before} - {"notes.txt"}
    assert all(store(hub)[path] == before[path] for path in done.sent if path != "README.md")
    card = store(hub)["README.md"].decode()
    assert 'load_dataset("me/sets", "animals", split="train", revision="v1")' in card
    assert "huggingface.co/me/model" in card
    assert card.endswith(f"{NOTES_MARK}\nDrawn on a rainy day.\n")

    hub.requests.clear()
    assert publish(made, "me/sets", tag="v1", link=["me/model"]).sent == ()
    assert not hub.count("commit", "put", "preupload")

    capsys.readouterr()
    out = tmp_path / "out"
    assert main(["fetch", "me/sets", str(out), "--revision", "v1"]) == 0
    assert "a sound bundle of commit" in " ".join(capsys.readouterr().out.split())
    assert snapshot(out) == store(hub)
    assert not verify(out).faults
    hub.requests.clear()
    assert not fetch("me/sets@v1", out).made
    assert not hub.count("cdn")


def test_files_of_a_set_that_left_the_bundle_go_and_nothing_else_does(hub: Hub, made: Path, tmp_path: Path) -> None:
    publish(made, "me/sets", tag="v1")
    old = store(hub, "v1")
    others = {
        "LICENSE": b"terms",
        "photos/README.md": b"mine",
        "animals/notes.txt": b"mine",
        "photos/data/train-000000.tar": b"",
    }
    hub.add("me/sets", "dataset", others)
    shutil.rmtree(made / "animals")
    bundle(made)
    done = publish(made, "me/sets", tag="v2")
    assert {*done.removed} == {path for path in old if path.startswith("animals/")}
    assert {*store(hub, "v2")} == {path for path in old if not path.startswith("animals/")} | {*others}
    assert store(hub, "v1") == old
    fetch("me/sets", tmp_path / "out", revision="v2")
    assert snapshot(tmp_path / "out") == {path: store(hub)[path] for path in done.files}


def test_a_bundle_and_a_set_do_not_replace_each_other(hub: Hub, made: Path, tiny_set: Path) -> None:
    publish(tiny_set, "me/set")
    with pytest.raises(FolderInUseError, match="holds something else"):
        publish(made, "me/set")
    publish(made, "me/sets")
    with pytest.raises(FolderInUseError, match="holds something else"):
        publish(tiny_set, "me/sets")


def test_a_damaged_bundle_does_not_go_out(hub: Hub, made: Path) -> None:
    card = (made / "README.md").read_text()
    (made / "README.md").write_text(card.replace("'0': zero", "'0': one"))
    with pytest.raises(CorruptSetError, match=r"is not published: README\.md does not fit"):
        publish(made, "me/sets")
    (made / "README.md").write_text(card)
    flip(made / "digits/validation/data/train-000001.tar", 700)
    with pytest.raises(CorruptSetError, match=r"not published: digits/validation/data/train-000001\.tar was"):
        publish(made, "me/sets")
    assert not hub.requests


def test_a_licence_is_stated_for_the_sets_that_lack_one(hub: Hub, made: Path, tmp_path: Path) -> None:
    relicense(made / "digits/train", "unknown")
    bundle(made)
    with pytest.raises(InputError, match=r"digits/train: nothing goes out without a licence"):
        publish(made, "me/sets")
    assert not hub.requests
    publish(made, "me/sets", licence="my-terms")
    licences = [json.loads(store(hub)[f"{part}/sio.json"])["generator"]["licence"] for part in PARTS]
    assert licences == ["mit", "my-terms", "cc-by-4.0"]
    assert "my-terms" in store(hub)["README.md"].decode()
    assert not verify(fetch("me/sets", tmp_path / "out").folder).faults


@pytest.mark.parametrize("path", ["../../evil.tar", "data/train-000009.tar", "../train/data/train-000000.tar"])
def test_a_hostile_manifest_of_a_part_is_refused(hub: Hub, made: Path, tmp_path: Path, path: str) -> None:
    publish(made, "me/sets")
    value = json.loads(store(hub)["digits/train/sio.json"])
    value["shards"][0]["path"] = path
    del value["checksum"]
    data = json.dumps(value | {"checksum": sha256_json(value)}).encode()
    hub.add("me/sets", "dataset", {"digits/train/sio.json": data})
    with pytest.raises(InputError, match=r"was published damaged: its digits/train/sio\.json is not sound"):
        fetch("me/sets", tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_only_files_of_well_named_parts_are_fetched(hub: Hub, made: Path, tmp_path: Path) -> None:
    publish(made, "me/sets")
    whole = store(hub)
    manifest = whole["animals/sio.json"]
    strange = ("../up/sio.json", ".git/sio.json", "a/../b/sio.json", "a b/sio.json", "animals/more/sio.json")
    hub.add("me/sets", "dataset", dict.fromkeys(strange, manifest) | {"animals/setup.py": b"evil"})
    fetch("me/sets", tmp_path / "out")
    assert snapshot(tmp_path / "out") == whole


def test_a_part_that_is_cut_or_missing_is_refused(
    hub: Hub, made: Path, tmp_path: Path, refuse: Callable[..., str]
) -> None:
    publish(made, "me/sets")
    whole = store(hub)
    path = "digits/train/data/train-000003.tar"
    hub.add("me/sets", "dataset", {path: whole[path][:3072]})
    message = refuse("fetch", "me/sets", tmp_path / "out", unchanged=made)
    assert f"lacks {path} as digits/train/sio.json lists it" in message
    hub.repos.clear()
    hub.add("me/sets", "dataset", {name: data for name, data in whole.items() if not name.startswith("animals/")})
    message = refuse("fetch", "me/sets", tmp_path / "out", unchanged=made)
    assert "was published damaged: hub:me/sets: animals is missing" in message


def test_another_bundle_in_the_way_is_left_alone(hub: Hub, made: Path, tmp_path: Path, other_set: Path) -> None:
    publish(made, "me/sets")
    with pytest.raises(FolderInUseError, match="holds something else"):
        fetch("me/sets", shutil.copytree(other_set, tmp_path / "set"))
    other = Path(shutil.copytree(made, tmp_path / "other"))
    shutil.rmtree(other / "digits/train")
    shutil.copytree(other_set, other / "digits/train")
    before = snapshot(other)
    with pytest.raises(SettingsMismatchError, match="holds another one than hub:me/sets"):
        fetch("me/sets", other)
    assert snapshot(other) == before
