"""Sets and checkpoints in the cache of the Hub's client, where every tool that uses it finds them again."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path, PurePosixPath

from huggingface_hub.constants import is_offline_mode

from sio_data.errors import CorruptSetError, DamagedFileError, InputError, SioDataError
from sio_data.files import sha256_file
from sio_data.hub.calls import MissingFileError, quiet
from sio_data.hub.downloads import check_size, download, download_all, forget
from sio_data.hub.names import HubName
from sio_data.image_set import ImageSet
from sio_data.manifest import MANIFEST, Manifest
from sio_data.sets import open_set


def cached_set(name: HubName, place: str = "", also: Sequence[str] = ()) -> Path | None:
    """Fetch a synthetic set into the cache, as far as it is not there; `check_cached` and `read_cached_set` check it.

    The revision is resolved once: all files are of one commit. Without a network, what is in the cache is taken.

    Args:
        name: Of the repository.
        place: Of a bundle, the folder of the set in it.
        also: Other files of the set to fetch.

    Returns:
        The folder of `sio.json` and the shards; None if there is no `sio.json`.

    Raises:
        InputError: There is no such repository or revision, or its `sio.json` is not sound.
        SioDataError: The Hub cannot be reached.
    """
    with quiet():
        top = cached_manifest(name, place)
        if top is None:
            return None
        folder = top / place
        shards = Manifest.read(folder).shards
        paths = [inside(place, path) for path in (*also, *(record.path for record in shards))]
        download_all(replace(name, revision=top.name), "dataset", paths)
    return folder


def check_cached(name: HubName, folder: Path) -> None:
    """Check the hash of every shard of a set in the cache, and delete damaged ones.

    Raises:
        SioDataError: A shard came damaged.
    """
    shards = Manifest.read(folder).shards
    _refuse_damaged(name, folder, [one.path for one in shards if sha256_file(folder / one.path) != one.sha256])


def read_cached_set(name: HubName, folder: Path) -> ImageSet:
    """Read a set in the cache into memory; each shard's hash is checked on the way, and damaged ones are deleted.

    Raises:
        InputError: The shards are as they were published, and not what a set holds.
        SioDataError: A shard came damaged.
    """
    try:
        return open_set(folder).read()
    except CorruptSetError as error:
        check_cached(name, folder)
        what = error.what if isinstance(error, DamagedFileError) else "are not those of a set"
        raise InputError(f"{name}: its shards are not sound ({what}). Its owner must publish it again.") from error


def cached_manifest(name: HubName, place: str = "") -> Path | None:
    """Fetch the `sio.json` of a set into the cache, and check it in itself.

    Returns:
        The folder of the repository in the cache, whose name is the commit; None if there is no `sio.json`.

    Raises:
        InputError: There is no such repository or revision, or the `sio.json` is not sound.
        SioDataError: The Hub cannot be reached.
    """
    path = inside(place, MANIFEST)
    top = cached_text(name, path)
    if top is None:
        return None
    try:
        manifest = Manifest.read(top / place)
    except CorruptSetError as error:
        forget([top / path])
        raise InputError(f"{name}: its {path} is not sound. Its owner must publish it again.") from error
    if not manifest.complete:
        raise InputError(f"{name} is incomplete ({path}): its owner must complete it and publish it again.")
    return top


def cached_text(name: HubName, path: str) -> Path | None:
    """Fetch a small file of a data set into the cache.

    Returns:
        The folder of the repository in the cache, whose name is the commit; None if there is no such file.

    Raises:
        InputError: There is no such repository or revision, or the file is too large.
        SioDataError: The Hub cannot be reached.
    """
    try:
        place = download(name, "dataset", path)
    except MissingFileError:
        return None
    except SioDataError:
        if is_offline_mode():  # `load_dataset` may have the repository in a cache of its own
            return None
        raise
    check_size(name, path, place.stat().st_size)
    return place.parents[path.count("/")]


def inside(place: str, path: str) -> str:
    """Give the path in the repository of a file of a set."""
    return PurePosixPath(place, path).as_posix()


def cached_files(name: HubName, paths: Sequence[str]) -> Path:
    """Fetch files of a model into the cache, all of one commit.

    Returns:
        The folder that they lie in.

    Raises:
        InputError: There is no such repository, revision or file.
        SioDataError: The Hub cannot be reached.
    """
    with quiet():
        folder = download(name, "model", paths[0]).parent
        download_all(replace(name, revision=folder.name), "model", paths[1:])
    return folder


def _refuse_damaged(name: HubName, folder: Path, damaged: Sequence[str]) -> None:
    if damaged:
        forget(folder / path for path in damaged)
        raise SioDataError(
            f"{name}: {', '.join(damaged[:3])} did not arrive as {MANIFEST} says. Run the same command again; "
            "if it says so again, its owner must publish it again."
        )
