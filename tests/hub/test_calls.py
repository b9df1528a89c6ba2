from pathlib import Path

import httpx2
import pytest
from huggingface_hub.errors import HfHubHTTPError

from sio_data import publish
from sio_data.errors import InputError, SioDataError
from sio_data.hub import calls
from sio_data.hub.calls import call, redact
from sio_data.hub.names import HubName, check_tag
from tests.hub_server import Hub


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("no token here", "no token here"),
        ("token hf_abcDEF123 is bad", "token … is bad"),
        ("got Authorization: Bearer abc.def-ghi", "got Authorization: …"),
        ("GET https://cdn.host/a/b?X-Amz-Signature=12&c=d: no", "GET https://cdn.host/a/b no"),
        ("see s3://bucket/x?versionId=7", "see s3://bucket/x"),
        ("two\n\n lines.", "two lines"),
        ("x" * 1000, "x" * 299 + "…"),
        ("my-own-token was refused", "… was refused"),
    ],
)
def test_texts_of_a_server_lose_what_is_secret(text: str, told: str) -> None:
    assert redact(text, "Bearer my-own-token") == told


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
    monkeypatch.setattr(calls.time, "sleep", pauses.append)
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
