"""Files that are whole or absent: atomic writes, hashes, JSON, and the claim on an output folder."""

import errno
import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, cast
from urllib.parse import unquote, urlsplit
from uuid import uuid4

from sio_data.errors import FolderInUseError, InputError, SettingsMismatchError, SioDataError, first_line
from sio_data.texts import clean_urls, redact, url_secrets

_TEMPORARY = ".sio-data-tmp"
_OBJECT_STORES = ("s3", "s3a", "gs", "gcs", "abfs", "abfss", "az")


def as_folder(place: str | Path) -> Path:
    """Give a folder as a path: a local one, or that of a URL like `s3://bucket/folder`.

    The path of a URL is a `universal_pathlib.UPath`, which has the methods of `Path`. It keeps no listings: another
    machine may be writing there.

    Raises:
        InputError: No installed package can reach that kind of URL.
    """
    if str(place).startswith("file://"):
        return Path(unquote(urlsplit(str(place)).path))
    if not is_url(place):
        return Path(place)
    from upath import UPath

    try:
        folder = UPath(place, use_listings_cache=False)
        folder.exists()
    except Exception as error:  # noqa: BLE001  each kind of URL has errors of its own: no route, no such host
        said = redact(first_line(error), *url_secrets(str(place)))
        hint = " For s3:// install sio-data[s3]." if isinstance(error, ImportError) else ""
        # The error that is cut off may quote a password.
        raise InputError(f"{clean_urls(str(place))} cannot be reached: {said}.{hint}") from None
    return cast("Path", folder)


def is_url(place: str | Path) -> bool:
    """Tell whether a place is not on the local file system."""
    return "://" in str(place)


def make_folder(folder: Path) -> None:
    """Make a folder and those above it, where folders are things of their own: a bucket is never made."""
    if not is_url(folder) or folder.protocol not in _OBJECT_STORES:  # type: ignore[attr-defined]
        folder.mkdir(parents=True, exist_ok=True)


@contextmanager
def atomic_path(path: Path) -> Iterator[Path]:
    """Give a temporary local path; on success flush it to disk and make it `path` in one step.

    Whoever is killed in between leaves only a temporary file, which `is_leftover` tells apart. Behind a URL the step
    is an upload, which an object store shows when it is whole.
    """
    if is_url(path):
        with tempfile.TemporaryDirectory() as folder:
            upload = Path(folder) / path.name
            yield upload
            _upload(upload, path)
        return
    temporary = path.with_name(f".{path.name}.{uuid4().hex}{_TEMPORARY}")
    try:
        yield temporary
        _flush_to_disk(temporary)
        temporary.replace(path)
        _flush_to_disk(path.parent)
    finally:
        temporary.unlink(missing_ok=True)


def _upload(source: Path, path: Any) -> None:
    if path.protocol in _OBJECT_STORES:
        path.fs.put_file(str(source), path.path)
    else:
        temporary = path.with_name(f".{path.name}.{uuid4().hex}{_TEMPORARY}")
        path.fs.put_file(str(source), temporary.path)
        path.fs.mv(temporary.path, path.path)


def _flush_to_disk(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def flush_tree(folder: Path) -> None:
    """Flush all files below a folder to disk: what a record that calls them complete must wait for."""
    for path in folder.rglob("*"):
        _flush_to_disk(path)


@contextmanager
def clear_if_full(place: Path | str, then: str) -> Iterator[None]:
    """Say so if the disk is full.

    Args:
        place: What is being written.
        then: What to do, as a sentence.

    Raises:
        SioDataError: It is.
    """
    try:
        yield
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        raise SioDataError(f"no space is left for {place}. {then}") from error


def write_bytes(path: Path, data: bytes) -> None:
    """Write a file so that it is there whole or not at all."""
    with atomic_path(path) as temporary:
        temporary.write_bytes(data)


def write_text(path: Path, text: str) -> None:
    """Write a UTF-8 text file so that it is there whole or not at all."""
    write_bytes(path, text.encode())


def is_leftover(path: Path) -> bool:
    """Tell whether a file is the temporary one of a writer that was killed."""
    return path.name.startswith(".") and path.name.endswith(_TEMPORARY)


def remove_leftovers(folder: Path) -> None:
    """Delete the temporary files that killed writers left in a folder."""
    for path in list(folder.iterdir()):
        if is_leftover(path) and path.is_file():
            path.unlink(missing_ok=True)


def remove_tree(folder: Path) -> None:
    """Delete a folder and all in it, if it is there."""
    if is_url(folder):
        if folder.exists():
            folder.fs.rm(folder.path, recursive=True)  # type: ignore[attr-defined]
    else:
        shutil.rmtree(folder, ignore_errors=True)


def sha256_bytes(data: bytes) -> str:
    """Hash bytes."""
    return hashlib.sha256(data).hexdigest()


def sha256_file(path: Path) -> str:
    """Hash a file's content, in pieces."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def canonical_json(value: object) -> str:
    """Write JSON in the one form that hashes are taken of: sorted keys, no spaces, plain ASCII, no NaN."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False)


def sha256_json(value: object) -> str:
    """Hash a JSON value through its canonical form."""
    return sha256_bytes(canonical_json(value).encode())


def json_text(value: object) -> str:
    """Write JSON for people and programs."""
    return json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False) + "\n"


def write_json(path: Path, value: object) -> None:
    """Write a JSON file for people and programs, whole or not at all."""
    write_text(path, json_text(value))


def read_json(path: Path) -> dict[str, Any]:
    """Read a JSON object.

    Raises:
        InputError: The file is missing or holds no JSON object.
    """
    try:
        data = path.read_bytes()
    except FileNotFoundError as error:
        raise InputError(f"{path}: no such file.") from error
    except OSError as error:
        raise InputError(f"{path}: not a readable JSON file ({error}).") from error
    return parse_json(data, path)


def parse_json(data: bytes, path: Path) -> dict[str, Any]:
    """Read a JSON object from the content of a file.

    Raises:
        InputError: It holds no JSON object.
    """
    try:
        value = json.loads(data.decode())
    except (ValueError, RecursionError) as error:
        raise InputError(f"{path}: not a readable JSON file ({error}).") from error
    if not isinstance(value, dict):
        raise InputError(f"{path}: expected a JSON object, found {type(value).__name__}.")
    return value


def check_output_folder(folder: Path, is_ours: Callable[[Path], bool]) -> None:
    """Refuse an output folder that holds anything but our own files.

    Args:
        folder: The folder asked for; it may be missing.
        is_ours: Tells whether an entry of it may be there.

    Raises:
        FolderInUseError: It is a file, a link that leads nowhere, or holds something else.
    """
    for place in (folder, *folder.parents):
        if place.exists() and not place.is_dir():
            raise FolderInUseError(f"{place} is a file; name a new or empty folder.")
        if not is_url(place) and place.is_symlink() and not place.exists():
            raise FolderInUseError(f"{place} is a link that leads nowhere; name a new or empty folder.")
    entries = sorted(folder.iterdir()) if folder.is_dir() else []
    strange = next((entry for entry in entries if not is_leftover(entry) and not is_ours(entry)), None)
    if strange:
        raise FolderInUseError(f"{folder} holds something else ({strange.name}); name a new or empty folder.")


def check_same_settings(folder: Path, there: Mapping[str, object], asked: Mapping[str, object]) -> None:
    """Compare the settings that a folder was begun with to those asked for.

    Raises:
        SettingsMismatchError: They differ; the message names each field with both values.
    """
    differences = [
        f"{field}: {_brief(there.get(field))} there, {_brief(asked.get(field))} asked"
        for field in sorted({*there, *asked})
        if there.get(field) != asked.get(field)
    ]
    if differences:
        raise SettingsMismatchError(
            f"{folder} was begun with other settings ({'; '.join(differences)}). "
            "Ask for the same, or name another folder."
        )


def _brief(value: object) -> str:
    text = canonical_json(value)
    return text if len(text) <= 60 else f"{text[:57]}…"
