import logging
import os
import signal
import subprocess
import sys
from pathlib import Path
from threading import Event

import httpx2
import pytest
from huggingface_hub.errors import HfHubHTTPError

from sio_data import fetch, publish, verify
from sio_data.errors import InputError, SioDataError
from sio_data.hub import calls
from sio_data.hub.calls import StoppedError, call, quiet
from sio_data.hub.names import HubName, check_tag
from tests.hub_server import Hub


def test_the_pause_that_the_hub_asks_for_is_kept(hub: Hub, tiny_set: Path) -> None:
    hub.fail("create", "429:7", times=2)
    publish(tiny_set, "me/set")
    assert hub.pauses == [7, 7]


def test_without_a_word_pauses_grow_and_end(hub: Hub, tiny_set: Path) -> None:
    hub.fail("create", "503")
    with pytest.raises(SioDataError, match=r"the Hub answers 503, fault on demand\. Run the same command again"):
        publish(tiny_set, "me/set")
    assert hub.pauses == [1, 2, 4, 8]


def test_a_pause_that_is_too_long_is_left_to_the_user(hub: Hub, tiny_set: Path) -> None:
    hub.fail("create", "429:301")
    with pytest.raises(SioDataError, match="the Hub answers 429"):
        publish(tiny_set, "me/set")
    assert not hub.pauses


def test_what_no_other_try_mends_is_not_tried_again(hub: Hub, tiny_set: Path) -> None:
    hub.fail("create", "403")
    with pytest.raises(SioDataError, match="the Hub answers 403"):
        publish(tiny_set, "me/set")
    assert (hub.count("create"), hub.pauses) == (1, [])


def test_the_limit_that_the_hub_tells_in_headers_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    pauses: list[float] = []
    monkeypatch.setattr(calls, "_wait", lambda seconds, stop: pauses.append(seconds))
    request = httpx2.Request("GET", "https://huggingface.co/api/x")
    response = httpx2.Response(429, headers={"ratelimit": '"api";r=0;t=55'}, request=request)
    answers = iter([HfHubHTTPError("slow down", response=response), None])

    def ask() -> str:
        error = next(answers)
        if error:
            raise error
        return "done"

    assert call("asking", ask) == "done"
    assert pauses == [55]


def test_what_a_server_says_cannot_paint_the_terminal(hub: Hub, capsys: pytest.CaptureFixture[str]) -> None:
    request = httpx2.Request("GET", "https://huggingface.co/api/x")
    response = httpx2.Response(503, request=request)
    answers = iter([HfHubHTTPError("no", response=response, server_message="\x1b[2J\x9b1A\u202eall well"), None])

    def ask() -> str:
        error = next(answers)
        if error:
            raise error
        return "done"

    assert call("asking\x07", ask) == "done"
    assert hub.pauses == [1]
    shown = capsys.readouterr().err
    assert r"asking\x07: the Hub answers 503, \x1b[2J\x9b1A\u202eall well; again in 1 s" in shown
    assert shown.rstrip("\n").isprintable()


def test_a_pause_ends_when_nobody_waits_any_more() -> None:
    stop = Event()
    request = httpx2.Request("GET", "https://huggingface.co/api/x")
    tries = []

    def ask() -> None:
        tries.append(1)
        stop.set()
        raise HfHubHTTPError("no", response=httpx2.Response(429, headers={"Retry-After": "299"}, request=request))

    with pytest.raises(StoppedError):
        call("asking", ask, stop)
    assert len(tries) == 1


def test_an_interrupted_fetch_ends_at_once_and_goes_on_later(hub: Hub, tiny_set: Path, tmp_path: Path) -> None:
    publish(tiny_set, "me/set")
    hub.fail("cdn", "hang", skip=2)
    words = [sys.executable, "-m", "sio_data", "fetch", "me/set", str(tmp_path / "out")]
    env = os.environ | hub.env(tmp_path / "home") | {"HF_HUB_DOWNLOAD_TIMEOUT": "600"}
    with subprocess.Popen(words, env=env, stderr=subprocess.PIPE, text=True) as process:
        assert hub.hanging.wait(60)
        process.send_signal(signal.SIGINT)
        try:
            _, told = process.communicate(timeout=120)  # on a busy machine; a read takes 600 to give up
        finally:
            process.kill()
    assert process.returncode == 130
    assert "interrupted. What was finished is kept" in told
    assert "Traceback" not in told
    assert not (tmp_path / "out").exists()
    hub.heal()
    assert fetch("me/set", tmp_path / "out").made
    assert not verify(tmp_path / "out").faults


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("me/set", HubName("me/set")),
        ("hub:me/set", HubName("me/set")),
        ("me/set@v1.0", HubName("me/set", "v1.0")),
        ("hub:Me-1/a_b.c@refs/pr/1", HubName("Me-1/a_b.c", "refs/pr/1")),
    ],
)
def test_names_are_read(text: str, expected: HubName) -> None:
    assert HubName.parse(text) == expected
    assert HubName.parse(str(expected)) == expected


@pytest.mark.parametrize(
    "text",
    ["", "set", "a/b/c", "me/", "/set", "me/s et", "me/..", "me/a..b", "me/set.git", "me/set@", "me/set@a b",
     "me/set@../x", "me/set@v1..v2", "https://x/y", "me/" + "x" * 100, "me/set@-x", "hub:hub:me/set", "me/é"],
)  # fmt: skip
def test_names_of_nothing_are_refused(text: str) -> None:
    with pytest.raises(InputError, match="names no"):
        HubName.parse(text)


@pytest.mark.parametrize("tag", ["main", "0" * 40, "abcdef1"])
def test_tags_that_read_like_something_else_are_refused(tag: str) -> None:
    with pytest.raises(InputError, match="reads like a branch or a commit"):
        check_tag(tag)


def test_it_is_quiet_until_the_last_one_leaves_and_then_as_before() -> None:
    logger = logging.getLogger("huggingface_hub")
    before = logger.level
    one, other = quiet(), quiet()
    one.__enter__()
    other.__enter__()
    one.__exit__(None, None, None)
    assert logger.level == logging.CRITICAL
    other.__exit__(None, None, None)
    assert logger.level == before != logging.CRITICAL
