"""Whatever request fails, however: nothing is half there, nothing is lost, and running again completes.

A fault is persistent, so that all tries of the client and of ours are used up; where the next run finds the Hub healed,
it sends or fetches what is missing and nothing else.
"""

import logging
import traceback
from pathlib import Path

import pytest

from sio_data import fetch, publish
from sio_data.errors import SioDataError
from tests.conftest import snapshot
from tests.hub_server import SIGNATURE, TOKEN, Hub

SENDING = ("info", "refs", "tree", "validate", "create", "preupload", "batch", "put", "verify", "commit", "tag")
FETCHING = ("info", "tree", "head", "get", "cdn")
# How many requests of a kind go well before: it fails in the midst of uploads or downloads, or after the commit.
LATE = {"put": 2, "verify": 2, "tree": 1, "info": 2, "get": 1, "cdn": 2, "head": 3}

NO_SUCH = {("head", "short"), ("head", "wrong"), ("tree", "wrong"), ("info", "wrong")}  # answers without a changed byte


def send(hub: Hub, folder: Path) -> bool:
    try:
        publish(folder, "me/set", tag="v1")
    except SioDataError:
        return False
    return True


def check_tags(hub: Hub, whole: set[str]) -> None:
    for repo in hub.repos.values():
        for commit in repo.tags.values():
            assert {*repo.commits[commit]} - {".gitattributes"} == whole
        for tree in repo.commits.values():
            assert {*tree} - {".gitattributes"} in (whole, set())


@pytest.mark.parametrize("how", ["429", "503", "cut", "lost", "short"])
@pytest.mark.parametrize("kind", SENDING)
def test_publishing_through_a_fault(hub: Hub, tiny_set: Path, kind: str, how: str) -> None:
    before = snapshot(tiny_set)
    whole = {*before}
    hub.fail(kind, how, skip=LATE.get(kind, 0))
    failed = not send(hub, tiny_set)
    assert hub.fired
    # Otherwise it was done, and only an answer was lost: the next try finds it so.
    assert failed or how in ("lost", "short") or kind == "verify"
    check_tags(hub, whole)
    assert snapshot(tiny_set) == before
    hub.heal()
    there = {*hub.repos["dataset", "me/set"].objects} if hub.repos else set()
    earlier = len(hub.repos["dataset", "me/set"].uploads) if hub.repos else 0
    assert send(hub, tiny_set)
    repo = hub.repos["dataset", "me/set"]
    assert sorted(repo.uploads[earlier:]) == sorted({*repo.objects} - there)
    assert {*hub.files("me/set", "dataset", "v1")} - {".gitattributes"} == whole
    assert len(repo.commits) == 2  # that of its creation, and ours
    check_tags(hub, whole)
    assert snapshot(tiny_set) == before


@pytest.mark.parametrize("how", ["429:0", "500", "cut", "lost", "slow"])
@pytest.mark.parametrize("kind", SENDING)
def test_a_passing_fault_is_ridden_out(hub: Hub, tiny_set: Path, kind: str, how: str) -> None:
    hub.fail(kind, how, times=1)
    assert send(hub, tiny_set)
    assert hub.fired == 1
    assert {*hub.files("me/set", "dataset", "v1")} - {".gitattributes"} == {*snapshot(tiny_set)}
    assert len(hub.repos["dataset", "me/set"].commits) == 2


@pytest.mark.parametrize("answer", ["{}", "[1]", "<html>log in</html>"])
@pytest.mark.parametrize("kind", ["info", "refs", "tree", "preupload", "batch", "commit"])
def test_an_answer_of_somebody_else_than_the_hub_is_one_message(
    hub: Hub, tiny_set: Path, kind: str, answer: str
) -> None:
    hub.add("me/set", "dataset", {"README.md": b""})
    hub.fail(kind, f"say {answer}")
    with pytest.raises(SioDataError, match="me/set"):
        publish(tiny_set, "me/set", tag="v1")
    assert not hub.repos["dataset", "me/set"].tags


@pytest.fixture
def there(hub: Hub, tiny_set: Path) -> dict[str, bytes]:
    """A published set, by its files."""
    publish(tiny_set, "me/set", tag="v1")
    hub.requests.clear()
    files = hub.files("me/set", "dataset", "v1")
    del files[".gitattributes"]
    return files


@pytest.mark.parametrize(
    ("kind", "how"),
    [(kind, how) for kind in FETCHING for how in ("429", "503", "cut", "short", "wrong") if (kind, how) not in NO_SUCH],
)
def test_fetching_through_a_fault(hub: Hub, there: dict[str, bytes], tmp_path: Path, kind: str, how: str) -> None:
    out = tmp_path / "out"
    hub.fail(kind, how, skip=0 if kind in ("info", "tree") else LATE[kind])
    with pytest.raises(SioDataError):
        fetch("me/set", out, revision="v1")
    assert hub.fired
    assert not out.exists()
    staging = snapshot(tmp_path)
    whole = {path for path, data in there.items() if staging.get(f".out.fetching/{path}") == data}
    assert len(whole) >= (0 if kind in ("info", "tree") else 1)
    hub.heal()
    hub.requests.clear()
    assert fetch("me/set", out, revision="v1").made
    assert snapshot(out) == there
    assert [path.name for path in tmp_path.iterdir()] == ["out"]
    assert hub.count("get", "cdn") == len(there) - len(whole)


@pytest.mark.parametrize(
    ("kind", "how"),
    [
        (kind, how)
        for kind in FETCHING
        for how in ("500", "cut", "slow", "short", "wrong")
        if (kind, how) not in NO_SUCH
    ],
)
def test_a_passing_fault_of_a_download_is_ridden_out(
    hub: Hub, there: dict[str, bytes], tmp_path: Path, kind: str, how: str
) -> None:
    hub.fail(kind, how, times=1)
    if how == "wrong":
        with pytest.raises(SioDataError, match="did not arrive whole"):
            fetch("me/set", tmp_path / "out", revision="v1")
    assert fetch("me/set", tmp_path / "out", revision="v1").made
    assert hub.fired == 1
    assert snapshot(tmp_path / "out") == there


def publish_and_fetch(folder: Path, out: Path) -> None:
    publish(folder, "me/set", tag="v1")
    fetch("me/set", out, revision="v1")


@pytest.mark.parametrize("kind", dict.fromkeys(SENDING + FETCHING))
def test_no_secret_is_told(
    hub: Hub, tiny_set: Path, tmp_path: Path, kind: str, capfd: pytest.CaptureFixture[str],
    caplog: pytest.LogCaptureFixture,
) -> None:  # fmt: skip
    caplog.set_level(logging.DEBUG)
    hub.fail(kind, "echo")
    with pytest.raises(SioDataError) as failed:
        publish_and_fetch(tiny_set, tmp_path / "out")
    assert hub.fired
    written = "".join(data.decode(errors="replace") for data in snapshot(tmp_path).values())
    told = "".join(traceback.format_exception(failed.value)) + "".join(capfd.readouterr()) + caplog.text + written
    assert "the Hub answers 403" in told
    assert TOKEN not in told
    assert SIGNATURE not in told


def test_no_secret_is_kept(hub: Hub, tiny_set: Path, tmp_path: Path) -> None:
    from huggingface_hub import constants

    from sio_data import load_source

    publish(tiny_set, "me/set", tag="v1", private=True)
    fetch("me/set", tmp_path / "out", revision="v1")
    load_source("hub:me/set@v1")
    cached = snapshot(Path(constants.HF_HUB_CACHE))
    assert len(cached) > 5
    for data in (*snapshot(tmp_path).values(), *cached.values(), *hub.files("me/set", "dataset").values()):
        assert TOKEN.encode() not in data
        assert SIGNATURE.encode() not in data
