"""What is secret stays out of texts that others see."""

from pathlib import Path

import pytest

from sio_data.commands import shown_place
from sio_data.errors import CorruptSetError, InputError
from sio_data.files import as_folder
from sio_data.streaming import open_stream
from sio_data.texts import clean_urls, redact


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("no token here", "no token here"),
        ("token hf_abcDEF123 is bad", "token … is bad"),
        ("got Authorization: Bearer abc.def-ghi", "got Authorization: …"),
        ("GET https://cdn.host/a/b?X-Amz-Signature=12&c=d: no", "GET https://cdn.host/a/b no"),
        ("see s3://bucket/x?versionId=7", "see s3://bucket/x"),
        ("of ftp://me:word@host/x, not sftp://you@host", "of ftp://host/x, not sftp://host"),
        ("two\n\n lines.", "two lines"),
        ("x" * 1000, "x" * 299 + "…"),
        ("my-own-token was refused", "… was refused"),
    ],
)
def test_texts_of_a_server_lose_what_is_secret(text: str, told: str) -> None:
    assert redact(text, "my-own-token") == told


@pytest.mark.parametrize(
    ("url", "clean"),
    [
        ("s3://KEY:SECRET@bucket/x", "s3://bucket/x"),
        ("s3://KEY:SEC/RET+@bucket/x", "s3://bucket/x"),
        ("http://me:p@ss@host:80/x", "http://host:80/x"),
        ("http://me:p?s#s@host/x?signature=1#2", "http://host/x"),
        ("http://host:8080/datasets/name@v1", "http://host:8080/datasets/name@v1"),
        ("hf://datasets/owner/name@v1", "hf://datasets/owner/name@v1"),
        ("hub:owner/name@v1#test", "hub:owner/name@v1#test"),
    ],
)
def test_a_url_loses_its_login_and_its_query(url: str, clean: str) -> None:
    assert clean_urls(url) == shown_place(url) == clean
    assert shown_place(f"pixmix:pictures={url}") == f"pixmix:pictures={clean}"


@pytest.mark.parametrize(
    "url", ["s3://KEY:SECRET@bucket/x", "ftp://me:SECRET@localhost:1/x", "nothing://me:SECRET@host/x"]
)
@pytest.mark.parametrize("function", [as_folder, open_stream])
def test_a_url_out_of_reach_is_named_without_its_password(function: object, url: str) -> None:
    with pytest.raises(InputError, match="cannot be reached") as raised:
        function(url)  # type: ignore[operator]
    assert "SECRET" not in str(raised.value)
    assert clean_urls(url) in str(raised.value)
    assert raised.value.__suppress_context__


def test_a_damaged_manifest_behind_a_url_is_named_without_the_password(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from sio_data.streaming.stores import FolderStore

    monkeypatch.setattr(FolderStore, "_read", lambda *_: b"no manifest")
    with pytest.raises(CorruptSetError, match=r"memory://host/x/sio.json is not a sound manifest") as raised:
        open_stream("memory://me:SECRET@host/x")
    assert "SECRET" not in str(raised.value)
