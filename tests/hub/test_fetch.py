import errno
import hashlib
import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from sio_data import Classifier, fetch, load_source, publish, shards
from sio_data.cli import main
from sio_data.engines.claims import claim
from sio_data.errors import FolderInUseError, InputError, SettingsMismatchError, SioDataError, UnknownNameError
from sio_data.files import sha256_file, sha256_json
from sio_data.hub import caching, downloads, fetching
from sio_data.manifest import Manifest
from sio_data.sources import find_manifest
from tests.conftest import snapshot
from tests.damage import flip
from tests.hub_server import Hub


@pytest.fixture
def there(hub: Hub, tiny_set: Path) -> dict[str, bytes]:
    """A published set, by its files."""
    publish(tiny_set, "me/set", tag="v1")
    hub.requests.clear()
    files = hub.files("me/set", "dataset", "v1")
    del files[".gitattributes"]
    return files


def test_a_set_comes_back(
    hub: Hub, there: dict[str, bytes], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "sets/mine"
    assert main(["fetch", "me/set", str(out), "--revision", "v1"]) == 0
    commit = hub.repos["dataset", "me/set"].tags["v1"]
    assert f"a sound set of commit {commit}, 8 files fetched" in " ".join(capsys.readouterr().out.split())
    assert snapshot(out) == there
    hub.requests.clear()
    assert main(["fetch", "hub:me/set@v1", str(out)]) == 0
    assert "it was there" in " ".join(capsys.readouterr().out.split())
    assert not hub.count("cdn")
    assert snapshot(tmp_path) == {f"sets/mine/{path}": data for path, data in there.items()}


def test_only_its_own_files_are_fetched(hub: Hub, there: dict[str, bytes], tmp_path: Path) -> None:
    strange = {"setup.py": b"evil", "data/more.tar": b"evil", "gallery.html": b"<script>", "../up.txt": b"evil"}
    hub.add("me/set", "dataset", strange | {"measures.json": b"{}"})
    done = fetch("me/set", tmp_path / "out")
    assert snapshot(tmp_path / "out") == there | {"measures.json": b"{}"}
    assert done.files == len(there) + 1
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_a_checkpoint_comes_back_with_the_same_logits(hub: Hub, tiny_runs: tuple[Path, Path], tmp_path: Path) -> None:
    run = tiny_runs[1] / "seed-0"
    publish(run, "me/model", tag="v1")
    hub.add("me/model", "model", {"pytorch_model.bin": b"pickle", "modeling.py": b"evil"})
    assert fetch("me/model", tmp_path / "out").files == 4
    names = {"README.md", "config.json", "model.safetensors", "training.json"}
    assert {*snapshot(tmp_path / "out")} == names
    images = load_source("digits", "test").images
    assert torch.equal(Classifier.from_pretrained(tmp_path / "out")(images), Classifier.from_pretrained(run)(images))
    assert not fetch("me/model", tmp_path / "out").made
    flip(tmp_path / "out/model.safetensors", 3000)
    with pytest.raises(SettingsMismatchError, match="holds another one than hub:me/model"):
        fetch("me/model", tmp_path / "out")


def test_all_files_are_of_one_commit_while_the_branch_moves(
    hub: Hub, there: dict[str, bytes], other_set: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    download_all = fetching.download_all

    def late(*arguments: object) -> None:
        download_all(*arguments)
        publish(other_set, "me/set")

    monkeypatch.setattr(fetching, "download_all", late)
    fetch("me/set", tmp_path / "out")
    assert snapshot(tmp_path / "out") == there
    assert hub.files("me/set", "dataset")["sio.json"] != there["sio.json"]


def test_what_an_earlier_run_left_is_used_or_deleted(hub: Hub, there: dict[str, bytes], tmp_path: Path) -> None:
    staging = tmp_path / ".out.fetching"
    shard = "data/train-000000.tar"
    strange = dict.fromkeys(("data/train-000001.tar", "data/train-000009.tar", "setup.py", ".cache/huggingface/x"), b"")
    for path, data in ({shard: there[shard]} | strange).items():
        (staging / path).parent.mkdir(parents=True, exist_ok=True)
        (staging / path).write_bytes(data)
    fetch("me/set", tmp_path / "out", revision="v1")
    assert snapshot(tmp_path / "out") == there
    assert not (tmp_path / "out/.cache").exists()
    assert hub.count("get", "cdn") == len(there) - 1


def test_a_damaged_file_in_the_cache_does_no_harm(hub: Hub, there: dict[str, bytes], tmp_path: Path) -> None:
    from huggingface_hub import constants

    load_source("hub:me/set@v1")
    for blob in Path(constants.HF_HUB_CACHE).rglob("blobs/*"):
        blob.write_bytes(blob.read_bytes()[::-1])
    fetch("me/set", tmp_path / "out", revision="v1")
    assert snapshot(tmp_path / "out") == there


def test_what_is_in_the_way_is_left_alone(
    hub: Hub, there: dict[str, bytes], other_set: Path, tmp_path: Path, refuse: Callable[..., str]
) -> None:
    thesis = tmp_path / "thesis"
    thesis.mkdir()
    (thesis / "thesis.tex").write_text("years of work")
    assert "holds something else" in refuse("fetch", "me/set", thesis, unchanged=tmp_path)
    assert "is a file" in refuse("fetch", "me/set", thesis / "thesis.tex", unchanged=tmp_path)
    other = Path(shutil.copytree(other_set, tmp_path / "other"))
    assert "holds another one than hub:me/set" in refuse("fetch", "me/set", other, unchanged=tmp_path)
    fetch("me/set", tmp_path / "mine")
    flip(tmp_path / "mine/data/train-000000.tar", 700)
    assert "train-000000.tar was changed" in refuse("fetch", "me/set", tmp_path / "mine", unchanged=tmp_path)
    with pytest.raises(InputError, match="is no new folder"):
        fetch("me/set", ".")
    (tmp_path / ".new.fetching").mkdir()
    with claim(tmp_path / ".new.fetching/.lock", wait=False), pytest.raises(FolderInUseError, match="another run"):
        fetch("me/set", tmp_path / "new")


def test_what_is_not_there_is_said_so(
    hub: Hub, there: dict[str, bytes], tmp_path: Path, refuse: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for words, message in {
        ("me/nothing",): "hub:me/nothing: no such repository on the Hub, or a private one. Log in with",
        ("me/set", "--revision", "v2"): "hub:me/set@v2: no such branch, tag or commit on the Hub",
    }.items():
        assert message in refuse("fetch", words[0], tmp_path / "out", *words[1:], unchanged=tmp_path)
    hub.add("me/photos", "dataset", {"train.csv": b"a,b"})
    hub.add("me/photos", "model", {"pytorch_model.bin": b"pickle"})
    message = refuse("fetch", "me/photos", tmp_path / "out", unchanged=tmp_path)
    assert "holds no set (sio.json) and no checkpoint (model.safetensors)" in message
    hub.repos["dataset", "me/set"].private = True
    monkeypatch.delenv("HF_TOKEN")
    assert "or a private one. Log in with" in refuse("fetch", "me/set", tmp_path / "out", unchanged=tmp_path)


def manifest_with(there: dict[str, bytes], **changes: object) -> bytes:
    """The manifest with other records, and the checksum that fits them."""
    value = json.loads(there["sio.json"])
    value["shards"][0] |= changes
    del value["checksum"]
    return json.dumps(value | {"checksum": sha256_json(value)}).encode()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"path": "../../evil.tar"}, "was published damaged: its sio.json is not sound"),
        ({"path": "data/../../evil-000000.tar"}, "was published damaged: its sio.json is not sound"),
        ({"path": "data/train-000009.tar"}, "was published damaged: its sio.json is not sound"),
        ({"bytes": 10**15}, r"lacks data/train-000000\.tar as sio\.json lists it"),
        ({"sha256": "0" * 64}, r"was published damaged: hub:me/set: data/train-000000\.tar was changed"),
    ],
)
def test_a_hostile_manifest_is_refused(
    hub: Hub, there: dict[str, bytes], tmp_path: Path, changes: dict[str, object], message: str
) -> None:
    hub.add("me/set", "dataset", {"sio.json": manifest_with(there, **changes)})
    with pytest.raises(InputError, match=message):
        fetch("me/set", tmp_path / "out")
    assert not [path for path in tmp_path.rglob("*.tar") if path.read_bytes() != there.get(f"data/{path.name}")]
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("path", ["_info.json", "README.md", "preview.png"])
def test_a_set_that_lacks_a_file_is_refused_before_its_shards_are_fetched(
    hub: Hub, there: dict[str, bytes], tmp_path: Path, path: str
) -> None:
    repo = hub.repos["dataset", "me/set"]
    repo.commit({name: blob for name, blob in repo.commits[repo.tags["v1"]].items() if name != path})
    with pytest.raises(InputError, match=f"lacks {path}; take another revision"):
        fetch("me/set", tmp_path / "out")
    assert not hub.count("cdn")


def test_sizes_that_cannot_be_right_are_refused(
    hub: Hub, there: dict[str, bytes], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(downloads, "_LARGEST_TEXT", 100)
    with pytest.raises(InputError, match=r"sio\.json has [\d,]+ bytes, which cannot be right"):
        fetch("me/set", tmp_path / "out")
    assert not hub.count("get", "cdn")
    with pytest.raises(InputError, match=r"sio\.json has [\d,]+ bytes, which cannot be right"):
        load_source("hub:me/set")


def test_a_checkpoint_that_is_none_is_refused_and_leaves_nothing(
    hub: Hub, tiny_runs: tuple[Path, Path], tmp_path: Path
) -> None:
    publish(tiny_runs[1] / "seed-0", "me/model")
    config = json.loads(hub.files("me/model", "model")["config.json"]) | {"more": 1}
    hub.add("me/model", "model", {"config.json": json.dumps(config).encode()})
    with pytest.raises(InputError, match="was published damaged: hub:me/model is no sound checkpoint"):
        fetch("me/model", tmp_path / "out")
    assert not [*tmp_path.iterdir()]


@pytest.mark.parametrize("config", [b'{"model_type": "resnet"}', b"[]", b"\xff"])
def test_the_weights_of_other_programs_are_not_fetched(hub: Hub, tmp_path: Path, config: bytes) -> None:
    hub.add("me/model", "model", {"README.md": b"", "config.json": config, "model.safetensors": b"heavy"})
    with pytest.raises(InputError, match=r"hub:me/model is no checkpoint of sio-data: another program wrote"):
        fetch("me/model", tmp_path / "out")
    assert not hub.count("cdn")
    assert not [*tmp_path.iterdir()]


def test_a_set_that_is_not_finished_is_its_owners_to_complete(
    hub: Hub, there: dict[str, bytes], tiny_set: Path, tmp_path: Path
) -> None:
    unfinished = replace(Manifest.read(tiny_set), complete=False, shards=())
    hub.add("me/set", "dataset", {"sio.json": json.dumps(unfinished.to_json()).encode()})
    with pytest.raises(
        InputError, match=r"^hub:me/set is incomplete \(sio\.json\): its owner must complete it and publish it again"
    ):
        fetch("me/set", tmp_path / "out")
    assert not hub.count("cdn")
    assert not [*tmp_path.iterdir()]


@pytest.mark.parametrize("path", ["sio.json", "README.md", "preview.png"])
def test_an_earlier_state_of_a_set_is_not_taken_for_the_one_asked_for(
    hub: Hub, there: dict[str, bytes], tiny_set: Path, tmp_path: Path, refuse: Callable[..., str], path: str
) -> None:
    fetch("me/set@v1", tmp_path / "out")
    manifest = Manifest.read(tiny_set)
    relicensed = replace(manifest, origin=replace(manifest.origin, licence="mit"))
    changed = json.dumps(relicensed.to_json()).encode() if path == "sio.json" else b"another"
    hub.add("me/set", "dataset", {path: changed})
    message = refuse("fetch", "me/set", tmp_path / "out", unchanged=tmp_path)
    assert f"holds another one than hub:me/set, with another {path}. Name a new or empty folder." in message


def test_a_manifest_that_is_not_sound_there_is_not_to_be_mended_here(
    hub: Hub, there: dict[str, bytes], tmp_path: Path, refuse: Callable[..., str]
) -> None:
    fetch("me/set@v1", tmp_path / "out")
    hub.add("me/set", "dataset", {"sio.json": b"{}"})
    message = refuse("fetch", "me/set", tmp_path / "out", unchanged=tmp_path)
    assert "holds another one than hub:me/set, with another sio.json" in message
    assert "repair" not in message


def test_a_full_disk_is_one_message(
    hub: Hub, there: dict[str, bytes], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object, **__: object) -> str:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(downloads, "hf_hub_download", fail)
    with pytest.raises(SioDataError, match=r"the disk is full\. Make room"):
        fetch("me/set", tmp_path / "out")
    assert not hub.pauses


def test_a_set_on_the_hub_is_a_source(hub: Hub, there: dict[str, bytes], tiny_set: Path) -> None:
    images, local = load_source("hub:me/set@v1"), load_source(str(tiny_set))
    assert images.digest == local.digest
    assert images.name == "me/set"
    assert hub.count("cdn") == 4
    hub.requests.clear()
    load_source("hub:me/set@v1")
    assert not hub.count("get", "cdn")
    with pytest.raises(UnknownNameError, match="goes beside real data"):
        load_source("hub:me/set@v1", "val")


def test_a_set_on_the_hub_is_hashed_once(hub: Hub, there: dict[str, bytes], monkeypatch: pytest.MonkeyPatch) -> None:
    hashed = []

    def count(path: Path) -> str:
        hashed.append(path.name)
        return sha256_file(path)

    for module in (shards, caching):
        monkeypatch.setattr(module, "sha256_file", count)
    load_source("hub:me/set@v1")
    assert sorted(hashed) == sorted(Path(path).name for path in there if path.endswith(".tar"))


def test_the_manifest_of_a_set_on_the_hub_is_had_without_its_shards(
    hub: Hub, there: dict[str, bytes], tiny_set: Path
) -> None:
    assert find_manifest("hub:me/set@v1") == Manifest.read(tiny_set)
    assert not hub.count("cdn")


def test_shards_that_were_published_damaged_are_their_owners_to_mend(hub: Hub, there: dict[str, bytes]) -> None:
    data = b"no tar"
    changes = {"sha256": hashlib.sha256(data).hexdigest(), "bytes": len(data)}
    hub.add("me/set", "dataset", {"sio.json": manifest_with(there, **changes), "data/train-000000.tar": data})
    with pytest.raises(InputError, match=r"^hub:me/set: its shards are not sound .* Its owner must publish it again"):
        load_source("hub:me/set")


def test_a_source_is_of_one_commit_while_the_branch_moves(
    hub: Hub, there: dict[str, bytes], tiny_set: Path, other_set: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    download_all = caching.download_all

    def late(*arguments: object) -> None:
        publish(other_set, "me/set")
        download_all(*arguments)

    monkeypatch.setattr(caching, "download_all", late)
    assert load_source("hub:me/set").digest == load_source(str(tiny_set)).digest


def test_other_repositories_are_left_to_load_dataset(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    import datasets

    def load(path: str, config: str | None, *, revision: str | None, streaming: bool) -> None:
        raise ValueError(f"asked for {path} at {revision}, https://host/x?X-Amz-Signature=secret")

    monkeypatch.setattr(datasets, "load_dataset", load)
    hub.add("me/photos", "dataset", {"train.csv": b"a,b"})
    with pytest.raises(InputError, match=r"as a data set: asked for me/photos at main, https://host/x\.$"):
        load_source("hub:me/photos@main")


def test_without_a_network_the_cache_serves(hub: Hub, there: dict[str, bytes], monkeypatch: pytest.MonkeyPatch) -> None:
    from huggingface_hub import constants

    digest = load_source("hub:me/set@v1").digest
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    hub.requests.clear()
    assert load_source("hub:me/set@v1").digest == digest
    assert not hub.requests


def test_a_shard_that_came_damaged_into_the_cache_is_fetched_again(
    hub: Hub, there: dict[str, bytes], tiny_set: Path
) -> None:
    hub.fail("cdn", "wrong", times=1)
    with pytest.raises(SioDataError, match=r"did not arrive as sio\.json says"):
        load_source("hub:me/set@v1")
    assert load_source("hub:me/set@v1").digest == load_source(str(tiny_set)).digest
    assert hub.count("cdn") == 5


@pytest.mark.parametrize("manifest", ["{}", "edited", "incomplete"])
def test_a_set_with_a_bad_manifest_is_no_source(
    hub: Hub, there: dict[str, bytes], tiny_set: Path, manifest: str
) -> None:
    texts = {
        "{}": "{}",
        "edited": there["sio.json"].decode().replace('"seed": 0', '"seed": 1'),
        "incomplete": json.dumps(replace(Manifest.read(tiny_set), complete=False, shards=()).to_json()),
    }
    hub.add("me/set", "dataset", {"sio.json": texts[manifest].encode()})
    with pytest.raises(InputError, match=r"ts owner must (complete it and )?publish it again"):
        load_source("hub:me/set")
    assert not hub.count("cdn")


def test_a_hub_that_fails_is_no_reason_to_read_a_set_as_something_else(hub: Hub, there: dict[str, bytes]) -> None:
    hub.fail("head", "503")
    with pytest.raises(SioDataError, match=r"hub:me/set@v1, sio\.json: the Hub answers 503"):
        load_source("hub:me/set@v1")
    hub.heal()
    with pytest.raises(InputError, match="no such repository on the Hub"):
        load_source("hub:me/nothing")


def test_checkpoints_that_cannot_be_had_are_said_so(
    hub: Hub, tiny_runs: tuple[Path, Path], there: dict[str, bytes]
) -> None:
    publish(tiny_runs[1] / "seed-0", "me/model", tag="v1")
    for name, revision, message in (
        ("me/nothing", None, "no such repository on the Hub"),
        ("me/model", "v2", "no such branch, tag or commit"),
        ("me/set", None, "no such repository on the Hub"),
        ("hub:me", None, "names no repository"),
        ("hub:me/model@v1", "v2", "names a revision already"),
    ):
        with pytest.raises(InputError, match=message):
            Classifier.from_pretrained(name, revision)
    hub.add("me/empty", "model", {"README.md": b"soon"})
    with pytest.raises(InputError, match=r"config\.json: no such file on the Hub"):
        Classifier.from_pretrained("me/empty")
    hub.fail("head", "503")
    with pytest.raises(SioDataError, match="the Hub answers 503"):
        Classifier.from_pretrained("me/other")
