import json
import math
import shlex
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
import yaml

from sio_data import Classifier, build_gallery, calibrate, fetch, filter_set, load_source, open_set, publish
from sio_data.cli import main
from sio_data.compilation import DROPPED, Compilation, SourceFile
from sio_data.errors import (
    CorruptSetError,
    FolderInUseError,
    IncompleteError,
    InputError,
    SettingsMismatchError,
    SioDataError,
)
from sio_data.files import sha256_bytes
from sio_data.hub import publishing, set_contents
from sio_data.hub.repository import Repository
from sio_data.manifest import Manifest
from sio_data.set_card import NOTES_MARK, render_set_card
from sio_data.verification import verify
from tests.conftest import snapshot
from tests.damage import flip
from tests.hub_server import Hub
from tests.quality.test_measures import MEASURES
from tests.test_compilation import compile_set

FILES = {"README.md", "_info.json", "sio.json", "preview.png", *(f"data/train-00000{index}.tar" for index in range(4))}
HOSTILE = "a | <b>\n---\nlicense: mit"
WRITES = ("create", "preupload", "batch", "put", "commit", "tag")


def store(hub: Hub, revision: str = "main") -> dict[str, bytes]:
    """What the repository of the set holds, without what the Hub puts there itself."""
    return {path: data for path, data in hub.files("me/set", "dataset", revision).items() if path != ".gitattributes"}


def test_a_set_goes_up_in_one_commit_and_its_tag_names_it(hub: Hub, tiny_set: Path, tmp_path: Path) -> None:
    before = snapshot(tiny_set)
    done = publish(tiny_set, "me/set", tag="v1")
    assert snapshot(tiny_set) == before
    repo = hub.repos["dataset", "me/set"]
    assert (done.commit, hub.count("commit"), len(repo.commits)) == (repo.tags["v1"], 1, 2)
    assert {*store(hub, "v1")} == {*done.files} == {*done.sent} == FILES
    assert store(hub).items() >= {path: data for path, data in before.items() if path != "README.md"}.items()
    for path, data in store(hub).items():
        place = tmp_path / "copy" / path
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(data)
    assert not verify(tmp_path / "copy").faults
    assert 'load_dataset("me/set", revision="v1", split="train")' in store(hub)["README.md"].decode()


def test_again_it_sends_nothing(hub: Hub, tiny_set: Path, capsys: pytest.CaptureFixture[str]) -> None:
    first = publish(tiny_set, "me/set", tag="v1")
    hub.requests.clear()
    again = publish(tiny_set, "me/set", tag="v1")
    assert (again.commit, again.sent, again.removed) == (first.commit, (), ())
    assert not hub.count(*WRITES)
    assert main(["publish", str(tiny_set), "me/set", "--tag", "v1"]) == 0
    assert "all there already" in capsys.readouterr().out


def test_without_a_tag_nothing_is_tagged_and_a_later_tag_sends_only_the_card(hub: Hub, tiny_set: Path) -> None:
    publish(tiny_set, "me/set")
    assert not hub.repos["dataset", "me/set"].tags
    assert publish(tiny_set, "me/set").sent == ()
    assert publish(tiny_set, "me/set", tag="v1").sent == ("README.md",)
    assert {*store(hub, "v1")} == FILES


def test_the_next_version_takes_earlier_files_away_and_leaves_the_tag(
    hub: Hub, tiny_set: Path, other_set: Path
) -> None:
    publish(tiny_set, "me/set", tag="v1")
    old = store(hub, "v1")
    hub.add("me/set", "dataset", {"data/train-000007.tar": b"old", "LICENSE": b"terms", "measures.json": b"{}"})
    done = publish(other_set, "me/set", tag="v2")
    assert done.removed == ("data/train-000007.tar", "measures.json")
    assert {*store(hub)} == FILES | {"LICENSE"}
    assert store(hub, "v1") == old
    assert store(hub, "v2")["sio.json"] == (other_set / "sio.json").read_bytes()


def test_a_tag_never_moves(hub: Hub, tiny_set: Path, other_set: Path) -> None:
    publish(tiny_set, "me/set", tag="v1")
    hub.requests.clear()
    with pytest.raises(SettingsMismatchError, match=r"has a tag v1 already, and it names something else"):
        publish(other_set, "me/set", tag="v1")
    assert not hub.count(*WRITES)
    publish(other_set, "me/set", tag="v2")
    assert publish(tiny_set, "me/set", tag="v1").sent == ()
    with pytest.raises(SettingsMismatchError, match="or the branch moved on"):
        publish(tiny_set, "me/set", tag="v1", link=["me/model"])
    assert hub.repos["dataset", "me/set"].branches["main"] == hub.repos["dataset", "me/set"].tags["v2"]


def test_a_model_is_linked_later_beside_the_tag(hub: Hub, tiny_set: Path) -> None:
    first = publish(tiny_set, "me/set", tag="v1")
    done = publish(tiny_set, "me/set", tag="v1", link=["me/model"])
    assert done.sent == ("README.md",)
    assert hub.repos["dataset", "me/set"].tags == {"v1": first.commit}
    card = store(hub)["README.md"].decode()
    assert "huggingface.co/me/model" in card
    assert 'revision="v1"' in card
    assert publish(tiny_set, "me/set", tag="v1", link=["me/model"]).sent == ()


def test_dry_run_changes_nothing_and_shows_all(hub: Hub, tiny_set: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["publish", str(tiny_set), "me/set", "--tag", "v1", "--private", "--dry-run"]
    assert main(words) == 0
    assert not hub.count(*WRITES)
    assert not hub.repos
    shown = " ".join(capsys.readouterr().out.split())
    assert "new 30.7 kB data/train-000000.tar" in shown
    assert "/datasets/me/set: private dataset, licence cc-by-4.0, tag v1; 8 files of" in shown
    publish(tiny_set, "me/set", private=True)
    hub.add("me/set", "dataset", {"data/train-000007.tar": b"old"})
    assert main(words) == 0
    shown = " ".join(capsys.readouterr().out.split())
    assert "same 30.7 kB data/train-000000.tar" in shown
    assert shown.startswith("new 4.3 kB README.md")
    assert "gone - data/train-000007.tar" in shown


def test_only_files_of_a_set_go_out(hub: Hub, damaged: Path) -> None:
    for name in (".env", "notes.txt", "data/.DS_Store", "near-copies.png", "measures.json", "thumbnails/a.sh"):
        (damaged / name).parent.mkdir(exist_ok=True)
        (damaged / name).write_text("HF_TOKEN=hf_secret")
    (damaged / "gallery.html").write_text("of another set")
    publish(damaged, "me/set")
    assert {*store(hub)} == FILES


def test_what_was_made_of_the_set_goes_along(hub: Hub, damaged: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    build_gallery(damaged)
    sheets = {f"thumbnails/{path.name}" for path in (damaged / "thumbnails").iterdir()}
    (damaged / "thumbnails/notes.txt").touch()
    (damaged / "measures.json").write_text("{}")
    found = SimpleNamespace(rows=lambda: [("distance", "7.5")])
    monkeypatch.setattr(set_contents, "find_measures", lambda folder, digest: found)
    publish(damaged, "me/set")
    assert sheets
    assert {*store(hub)} == FILES | sheets | {"gallery.html", "measures.json"}
    assert "| distance | 7.5 |" in store(hub)["README.md"].decode()


def test_measures_go_out_with_the_card_and_pictures_of_real_images_stay(hub: Hub, damaged: Path) -> None:
    measures = replace(MEASURES, set_digest=Manifest.read(damaged).digest)
    measures.write(damaged / "measures.json")
    (damaged / "near-copies.png").write_bytes(b"real people")
    assert {*publish(damaged, "me/set").files} == FILES | {"measures.json"}
    assert "12.35 (2,000 synthetic, 45,000 real images)" in store(hub)["README.md"].decode()


@pytest.fixture
def filtered(tiny_set: Path, tiny_runs: tuple[Path, Path], tmp_path: Path) -> Path:
    folder = tmp_path / "filtered"
    assert filter_set(tiny_set, folder, classifier=str(tiny_runs[0] / "seed-0"), keep=0.5).dropped
    return folder


def test_a_compiled_set_goes_out_and_comes_back_with_the_list_of_what_was_dropped(hub: Hub, tmp_path: Path) -> None:
    sources = (SourceFile("old.npz", "0" * 64),)
    dropped = b"key,why\n"
    compilation = Compilation(
        "import", sources, {DROPPED: sha256_bytes(dropped)}, "1" * 64, ("cat", "dog", "owl"), (5, 0, 2), 4, shard_size=3
    )
    compile_set(tmp_path / "set", compilation)
    (tmp_path / "set" / DROPPED).write_bytes(dropped)
    assert publish(tmp_path / "set", "me/set", tag="v1").licence == "mit"
    assert not verify(fetch("me/set@v1", tmp_path / "out").folder).faults
    assert load_source("hub:me/set@v1").digest == load_source(str(tmp_path / "set")).digest


def test_a_filtered_set_goes_out_and_comes_back_with_its_list(hub: Hub, filtered: Path, tmp_path: Path) -> None:
    assert "dropped.csv" in publish(filtered, "me/set", tag="v1").sent
    fetch("me/set@v1", tmp_path / "out")
    assert (tmp_path / "out/dropped.csv").read_bytes() == (filtered / "dropped.csv").read_bytes()
    assert not verify(tmp_path / "out").faults


def test_a_list_that_no_longer_belongs_to_the_set_is_taken_away(hub: Hub, filtered: Path, tiny_set: Path) -> None:
    publish(filtered, "me/set")
    assert publish(tiny_set, "me/set").removed == ("dropped.csv",)


def test_a_list_that_is_a_link_does_not_go_out(hub: Hub, filtered: Path, tmp_path: Path) -> None:
    (filtered / "dropped.csv").rename(tmp_path / "elsewhere")
    (filtered / "dropped.csv").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(InputError, match=r"dropped\.csv is a link out of its folder"):
        publish(filtered, "me/set")
    assert not hub.requests


@pytest.mark.parametrize("name", ["preview.png", "thumbnails"])
def test_a_link_out_of_the_folder_does_not_go_out(hub: Hub, damaged: Path, tmp_path: Path, name: str) -> None:
    (tmp_path / "secret").write_bytes(b"secret")
    if name == "thumbnails":
        build_gallery(damaged)
        (damaged / name).rename(tmp_path / "moved")
    (damaged / name).unlink(missing_ok=True)
    (damaged / name).symlink_to(tmp_path / ("moved" if name == "thumbnails" else "secret"))
    with pytest.raises(InputError, match="is a link out of its folder"):
        publish(damaged, "me/set")
    assert not hub.requests


def test_notes_of_the_owner_are_kept(hub: Hub, damaged: Path) -> None:
    card = damaged / "README.md"
    card.write_text(card.read_text() + "Drawn on a rainy day.\n")
    publish(damaged, "me/set")
    assert store(hub)["README.md"].decode().endswith(f"{NOTES_MARK}\nDrawn on a rainy day.\n")


def test_a_damaged_or_unfinished_set_does_not_go_out(hub: Hub, damaged: Path) -> None:
    flip(damaged / "data/train-000001.tar", 700)
    with pytest.raises(CorruptSetError, match=r"is not published: data/train-000001\.tar was changed"):
        publish(damaged, "me/set")
    replace(Manifest.read(damaged), complete=False, shards=()).write(damaged)
    with pytest.raises(IncompleteError, match="is incomplete"):
        publish(damaged, "me/set")
    assert not hub.requests


def relicense(folder: Path, licence: str) -> None:
    manifest = Manifest.read(folder)
    manifest = replace(manifest, origin=replace(manifest.origin, licence=licence))
    manifest.write(folder)
    (folder / "README.md").write_text(render_set_card(manifest))


@pytest.mark.parametrize("licence", ["", "unknown", "Unknown", "none"])
def test_nothing_goes_out_without_a_licence(hub: Hub, damaged: Path, licence: str) -> None:
    relicense(damaged, licence)
    with pytest.raises(InputError, match=r"State one: --licence cc-by-4\.0"):
        publish(damaged, "me/set")
    assert not hub.requests


@pytest.mark.parametrize(
    ("stated", "metadata"),
    [("MIT", {"license": "mit"}), ("my-terms-1.0", {"license": "other", "license_name": "my-terms-1.0"})],
)
def test_a_stated_licence_goes_into_card_and_manifest(
    hub: Hub, damaged: Path, stated: str, metadata: dict[str, str]
) -> None:
    relicense(damaged, "unknown")
    publish(damaged, "me/set", licence=stated)
    card = yaml.safe_load(store(hub)["README.md"].decode().split("---\n")[1])
    assert {name: card[name] for name in metadata} == metadata
    published = json.loads(store(hub)["sio.json"])
    assert published["generator"]["licence"] == stated.lower()
    assert published["digest"] == open_set(damaged).manifest.digest
    for path in ("README.md", "sio.json"):
        (damaged / path).write_bytes(store(hub)[path])
    assert not verify(damaged).faults


def test_a_known_licence_is_not_replaced(hub: Hub, tiny_set: Path, tiny_runs: tuple[Path, Path]) -> None:
    for folder in (tiny_set, tiny_runs[1] / "seed-0"):
        with pytest.raises(InputError, match=r"licence cc-by-4\.0, and --licence asks for mit\. Leave --licence out"):
            publish(folder, "me/it", licence="mit")
    assert not hub.requests
    assert publish(tiny_set, "me/set", licence="CC-BY-4.0").licence == "cc-by-4.0"


def test_a_text_that_is_no_name_of_a_licence_gets_one(hub: Hub, damaged: Path) -> None:
    relicense(damaged, "free for research")
    with pytest.raises(InputError, match="is no name like"):
        publish(damaged, "me/set")
    assert publish(damaged, "me/set", licence="research-only").licence == "research-only"


def test_visibility(hub: Hub, tiny_set: Path) -> None:
    assert publish(tiny_set, "me/set", private=True).private
    assert hub.repos["dataset", "me/set"].private
    assert publish(tiny_set, "me/set").private
    hub.repos["dataset", "me/set"].private = False
    with pytest.raises(InputError, match="is there and public"):
        publish(tiny_set, "me/set", private=True)


def test_what_others_keep_there_is_left_alone(hub: Hub, tiny_set: Path) -> None:
    hub.add("me/set", "dataset", {"train.csv": b"years of work"})
    with pytest.raises(FolderInUseError, match=r"holds something else: its train\.csv was not"):
        publish(tiny_set, "me/set")
    hub.add("me/model", "model", {"pytorch_model.bin": b"years of work"})
    with pytest.raises(FolderInUseError, match="me/model is a model on the Hub already"):
        publish(tiny_set, "me/model")
    assert not hub.count(*WRITES)


@pytest.mark.parametrize(
    ("kind", "path", "data"),
    [
        ("model", "model.safetensors", b"years of work"),
        ("model", "config.json", b'{"model_type": "resnet"}'),
        ("model", "config.json", b"[]"),
        ("model", "README.md", b"# My thesis"),
        ("model", "training.json", b"{}"),
        ("dataset", "README.md", b"---\nlicense: mit\n---\n# My thesis"),
        ("dataset", "sio.json", b'{"format": "acoustics"}'),
        ("dataset", "preview.png", b"a picture"),
    ],
)
def test_what_others_call_like_ours_is_left_alone(
    hub: Hub, tiny_set: Path, tiny_runs: tuple[Path, Path], kind: str, path: str, data: bytes
) -> None:
    theirs = {".gitattributes": b"", "README.md": b"", path: data}
    hub.add("me/it", kind, theirs)
    with pytest.raises(FolderInUseError, match=f"holds something else: its {path} was not published by sio-data"):
        publish(tiny_set if kind == "dataset" else tiny_runs[1] / "seed-0", "me/it")
    assert hub.files("me/it", kind) == theirs
    assert not hub.count(*WRITES)


@pytest.mark.parametrize("card", ["", "---\nlicense: mit\n---\n", f"# Ours\n{NOTES_MARK}\nnotes"])
def test_a_new_repository_with_the_first_card_of_the_hub_is_free(hub: Hub, tiny_set: Path, card: str) -> None:
    hub.add("me/set", "dataset", {".gitattributes": b"", "README.md": card.encode()})
    publish(tiny_set, "me/set")
    assert {*store(hub)} == FILES


def test_a_commit_of_somebody_else_in_between_is_not_lost(hub: Hub, tiny_set: Path) -> None:
    publish(tiny_set, "me/set")
    hub.fail("commit", "412", times=1)
    with pytest.raises(SioDataError, match="somebody else changed the repository meanwhile"):
        publish(tiny_set, "me/set", tag="v1")
    assert not hub.repos["dataset", "me/set"].tags
    publish(tiny_set, "me/set", tag="v1")


def test_the_commit_names_its_parent(hub: Hub, tiny_set: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    commit = Repository.commit

    def late(self: Repository, *arguments: object) -> str:
        hub.add("me/set", "dataset", {"LICENSE": b"terms"})
        return commit(self, *arguments)

    monkeypatch.setattr(Repository, "commit", late)
    with pytest.raises(SioDataError, match="somebody else changed the repository meanwhile"):
        publish(tiny_set, "me/set", tag="v1")
    assert store(hub) == {"LICENSE": b"terms"}


def test_a_file_that_changes_while_it_is_sent_is_not_tagged(
    hub: Hub, damaged: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    create = Repository.create

    def change(self: Repository, private: bool) -> None:
        flip(damaged / "data/train-000002.tar", 700)
        create(self, private)

    monkeypatch.setattr(Repository, "create", change)
    with pytest.raises(SioDataError, match=r"data/train-000002\.tar otherwise than it was sent"):
        publish(damaged, "me/set", tag="v1")
    assert not hub.repos["dataset", "me/set"].tags


def test_interrupted_it_goes_on_with_what_is_missing(hub: Hub, tiny_set: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(publishing, "_FILES_AT_ONCE", 1)
    upload, calls = Repository.upload, []

    def interrupt(self: Repository, additions: list[object]) -> None:
        calls.append(additions)
        if len(calls) == 5:
            raise KeyboardInterrupt
        upload(self, additions)

    monkeypatch.setattr(Repository, "upload", interrupt)
    with pytest.raises(KeyboardInterrupt):
        publish(tiny_set, "me/set", tag="v1")
    assert {*store(hub)} == set()
    repo = hub.repos["dataset", "me/set"]
    arrived = len(repo.uploads)
    assert 0 < arrived < 5
    monkeypatch.setattr(Repository, "upload", upload)
    publish(tiny_set, "me/set", tag="v1")
    assert {*store(hub, "v1")} == FILES
    assert len(repo.uploads) == len({*repo.uploads}) == 5


def test_no_token_and_no_right_are_said_so(
    hub: Hub, tiny_set: Path, refuse: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> None:
    message = refuse("publish", tiny_set, "you/set", unchanged=tiny_set, code=1)
    assert "You don't have the rights to create a dataset under the namespace" in message
    assert "hf auth login" in message
    monkeypatch.delenv("HF_TOKEN")
    assert "Log in with `hf auth login`" in refuse("publish", tiny_set, "me/set", unchanged=tiny_set, code=1)
    monkeypatch.setenv("HF_TOKEN", "hf_wrong")
    message = refuse("publish", tiny_set, "me/set", unchanged=tiny_set, code=1)
    assert "Invalid credentials" in message
    assert "hf_wrong" not in message


def test_a_hub_that_is_down_is_one_message(
    hub: Hub, tiny_set: Path, refuse: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:9")
    message = refuse("publish", tiny_set, "me/set", unchanged=tiny_set, code=1)
    assert "the Hub cannot be reached" in message
    assert hub.pauses == [1, 2, 4, 8]
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    assert "HF_HUB_OFFLINE is set" in refuse("publish", tiny_set, "me/set", unchanged=tiny_set, code=1)


def test_a_checkpoint_goes_out_under_the_terms_of_its_set_and_tells_no_path(
    hub: Hub, tiny_runs: tuple[Path, Path], tmp_path: Path
) -> None:
    run = tiny_runs[1] / "seed-0"
    done = publish(run, "me/model", link=["me/photos"])
    files = hub.files("me/model", "model")
    assert {*files} - {".gitattributes"} == {"README.md", "config.json", "model.safetensors", "training.json"}
    assert done.licence == "cc-by-4.0"
    metadata = yaml.safe_load(files["README.md"].decode().split("---\n")[1])
    assert (metadata["license"], metadata["datasets"]) == ("cc-by-4.0", ["me/photos"])
    assert "model-index" not in metadata
    for name, data in files.items():
        assert str(tiny_runs[1].parent.parent).encode() not in data, name
    assert json.loads(files["training.json"])["synthetic"] == "…/synthetic"
    assert publish(run, "me/model", link=["me/photos"]).sent == ()


def test_no_path_of_outliers_validation_images_or_a_methods_parameter_goes_out(
    hub: Hub, tiny_runs: tuple[Path, Path], tmp_path: Path
) -> None:
    run = Path(shutil.copytree(tiny_runs[1] / "seed-0", tmp_path / "run"))
    record = json.loads((run / "training.json").read_text())
    method = "pixmix:pictures=/home/me/fractals,k=3"
    words = ["--outliers", "/home/me/outliers", "--val", "/home/me/val#test", "--preset", "/home/me/mine.yaml"]
    record |= {
        "outliers": "/home/me/outliers",
        "val": "/home/me/val#test",
        "command": shlex.join(["sio-data", "train", *words, "--method", method]),
        "settings": record["settings"] | {"method": method, "network": "transformers:/home/me/vit"},
    }
    (run / "training.json").write_text(json.dumps(record))
    publish(run, "me/model")
    files = hub.files("me/model", "model")
    assert all(b"/home" not in data for data in files.values())
    sent = json.loads(files["training.json"])
    assert (sent["outliers"], sent["val"]) == ("…/outliers", "…/val#test")
    assert sent["settings"]["method"] == "pixmix:pictures=…/fractals,k=3"
    assert sent["settings"]["network"] == "transformers:…/vit"
    assert "--outliers …/outliers" in sent["command"].replace("'", "")
    assert "…/outliers" in files["README.md"].decode()


def test_a_checkpoint_of_ones_own_training_loop_needs_only_a_licence(hub: Hub, tmp_path: Path) -> None:
    Classifier("convnet", ["a <b>", "c: d"], 8).save_pretrained(tmp_path / "mine")
    with pytest.raises(InputError, match="nothing goes out without a licence"):
        publish(tmp_path / "mine", "me/model")
    publish(tmp_path / "mine", "me/model", licence="mit")
    files = hub.files("me/model", "model")
    assert {*files} - {".gitattributes"} == {"README.md", "config.json", "model.safetensors"}
    assert "a <b>" not in files["README.md"].decode()


@pytest.mark.parametrize(
    "change",
    [
        {"format": "?"},
        {"settings": "fast"},
        {"val_accuracy": "high"},
        {"synthetic": ["a"]},
        {"outliers": 5},
        {"val": ["a"]},
        {"settings": {}},
        {"command": "sio-data train --real it's"},
        {"val_accuracy": math.nan},
        {"history": [math.inf]},
        {"real": "\ud800"},
    ],
)
def test_a_strange_record_of_a_training_is_refused(
    hub: Hub, tiny_runs: tuple[Path, Path], tmp_path: Path, change: dict[str, object]
) -> None:
    run = Path(shutil.copytree(tiny_runs[1] / "seed-0", tmp_path / "run"))
    record = json.loads((run / "training.json").read_text())
    (run / "training.json").write_text(json.dumps(record | change))
    with pytest.raises(InputError, match="is not what sio-data train wrote"):
        publish(run, "me/model")
    assert not hub.requests


def test_data_sets_are_linked_by_their_repositories(hub: Hub, tiny_runs: tuple[Path, Path], tmp_path: Path) -> None:
    run = Path(shutil.copytree(tiny_runs[1] / "seed-0", tmp_path / "run"))
    record = json.loads((run / "training.json").read_text())
    sources = {"synthetic": "hub:me/sets/digits@v1#train", "real": "hub:you/photos@main"}
    (run / "training.json").write_text(json.dumps(record | sources))
    publish(run, "me/model")
    front = hub.files("me/model", "model")["README.md"].decode().split("---\n")[1]
    assert yaml.safe_load(front)["datasets"] == ["me/sets", "you/photos"]
    (run / "training.json").write_text(json.dumps(record | {"outliers": "hub:you/others"}))
    publish(run, "me/other")
    front = hub.files("me/other", "model")["README.md"].decode().split("---\n")[1]
    assert yaml.safe_load(front)["datasets"] == ["you/others"]
    (run / "training.json").write_text(json.dumps(record | {"real": "hub:../photos"}))
    with pytest.raises(InputError, match=r"'\.\./photos' names no repository"):
        publish(run, "me/other")


def test_a_checkpoint_takes_its_detector_along(hub: Hub, tiny_runs: tuple[Path, Path], tmp_path: Path) -> None:
    run = Path(shutil.copytree(tiny_runs[0] / "seed-0", tmp_path / "run"))
    calibrate(run, id="digits", detector="vim:dim=64")
    publish(run, "me/model", licence="mit")
    assert "detector.safetensors" in hub.files("me/model", "model")
    images = load_source("digits", "test").images[:5]
    there = Classifier.from_pretrained("hub:me/model").score(images)
    assert (there.scores == Classifier.from_pretrained(run).score(images).scores).all()
    assert "classifier.score(images)" in hub.files("me/model", "model")["README.md"].decode()
    (run / "detector.safetensors").unlink()
    publish(run, "me/model", licence="mit")
    assert "detector.safetensors" not in hub.files("me/model", "model")
    with pytest.raises(InputError, match="has no detector yet"):
        Classifier.from_pretrained("hub:me/model").score(images)


def test_an_unsound_detector_does_not_go_out(hub: Hub, tiny_runs: tuple[Path, Path], tmp_path: Path) -> None:
    run = Path(shutil.copytree(tiny_runs[0] / "seed-0", tmp_path / "run"))
    calibrate(run, id="digits")
    (run / "detector.safetensors").write_text("{}")
    with pytest.raises(InputError, match="not what sio-data calibrate wrote"):
        publish(run, "me/model", licence="mit")


def test_results_of_another_checkpoint_are_refused(hub: Hub, tiny_runs: tuple[Path, Path], tmp_path: Path) -> None:
    from sio_data import evaluate

    one, other = tiny_runs[1] / "seed-0", tiny_runs[1] / "seed-1"
    evaluate([one], tmp_path / "report", id="digits", ood=["near:u=digits-unknown"], detectors=["msp"])
    with pytest.raises(InputError, match=r"tells of other checkpoints \(seed-0/seed-0\)"):
        publish(other, "me/model", results=tmp_path / "report")
    path = tmp_path / "report/results.json"
    whole = json.loads(path.read_text())
    path.write_text(json.dumps(whole).replace('"u"', json.dumps(HOSTILE)))
    publish(one, "me/model", results=path)
    front, _, body = hub.files("me/model", "model")["README.md"].decode()[4:].partition("\n---\n")
    assert yaml.safe_load(front)["model-index"][0]["results"][1]["dataset"]["name"] == f"{HOSTILE} (near-OOD)"
    assert yaml.safe_load(front)["license"] == "cc-by-4.0"
    assert "| a &#124; &#60;b&#62; --- license: mit | near | msp |" in body
    hub.requests.clear()
    for change in ({"format": "?"}, {"rows": [{}]}, {"runs": None}, {"id": {}}, {"ood": []}):
        path.write_text(json.dumps(whole | change))
        with pytest.raises(InputError, match="is not what this version of sio-data evaluate writes"):
            publish(one, "me/model", results=path)
    assert not hub.requests
