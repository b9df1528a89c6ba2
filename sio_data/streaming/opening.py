"""Sets of ours, opened to be streamed, by their names."""

import re
from pathlib import Path, PurePosixPath
from threading import Event
from typing import NamedTuple
from urllib.parse import unquote

from sio_data.embedded import EMBEDDED
from sio_data.errors import DamagedFileError, IncompleteError, InputError, UnknownNameError
from sio_data.files import as_folder, is_url
from sio_data.hub.names import HubName
from sio_data.manifest import MANIFEST, Manifest
from sio_data.recipe import MAX_IMAGE_SIZE
from sio_data.sets import no_set
from sio_data.source_names import SourceName, choose_split
from sio_data.streaming.bad_samples import BadSamples
from sio_data.streaming.kept_shards import KeptShards
from sio_data.streaming.stores import FolderStore, HubStore, NoSuchFileError, Store
from sio_data.streaming.streamed_set import StreamedSet
from sio_data.texts import clean_urls

_HUB_URL = re.compile(r"hf://datasets/([^/@]+/[^/@]+)(?:@([^/]+))?(?:/(.+))?")
_FOREIGN = "Only sets that sio-data made are streamed: make one of other images or shards with sio-data import."
_LARGEST_MANIFEST = 1 << 28  # bytes
MAX_BAD = 10
"""How many samples of a set may be bad, unless said otherwise."""


class _Found(NamedTuple):
    name: str
    manifest: Manifest
    store: Store


def open_stream(
    name: str | Path, *, image_size: int | None = None, workers: int = 2, max_bad: int = MAX_BAD
) -> StreamedSet:
    """Open a set to train on it straight from its shards: nothing is downloaded first, and a large set never held.

    Args:
        name: A set that was generated, imported or filtered: a local folder, `file://`, `s3://bucket/folder`,
            `https://host/folder` (any server of files), `hub:owner/name[/configuration][@revision][#split]` or
            `hf://datasets/owner/name[@revision][/folder]`. On the Hub the revision is resolved once, to a commit.
        image_size: Resize to this many pixels (with antialiasing). None keeps the size.
        workers: Threads that decode ahead, while others fetch; with 0 all is done in the caller's thread. They change
            nothing in the batches.
        max_bad: How many different samples may turn out to be bad (damaged, no such image) before that is an error.

    Raises:
        InputError: There is no such set, or it holds data of others.
        IncompleteError: The set is not finished.
        CorruptSetError: Its manifest is damaged.
        SioDataError: It cannot be reached.
    """
    if image_size is not None and not 1 <= image_size <= MAX_IMAGE_SIZE:
        raise InputError(f"image_size must be from 1 to {MAX_IMAGE_SIZE}, not {image_size}.")
    if workers < 0 or max_bad < 0:
        raise InputError(f"workers and max_bad must be 0 or more, not {workers} and {max_bad}.")
    found = _find(str(name))
    recipe = found.manifest.recipe
    bad = BadSamples(found.name, max_bad)
    shards = KeptShards(found.manifest, found.store, bad)
    size = image_size or recipe.image_size
    return StreamedSet(found.name, recipe.class_names, size, found.manifest, shards, workers, bad)


def can_stream(name: str) -> bool:
    """Tell whether a source is a set that `open_stream` takes: anything behind a URL is taken for one.

    Raises:
        InputError: The name names no source.
        SioDataError: It cannot be reached.
    """
    if is_url(name) and not name.startswith("file://"):
        return True
    source = SourceName.parse(name)
    if source.hub:
        from sio_data.hub.finding import find_hub_sets

        return find_hub_sets(HubName(source.path, source.revision), source.config) is not None
    return source.path not in EMBEDDED and (Path(source.path) / MANIFEST).is_file()


def _find(name: str) -> _Found:
    if name.startswith("hf://"):
        return _find_by_address(name)
    if is_url(name) and not name.startswith("file://"):
        return _find_in_folder(as_folder(name), clean_urls(name).rstrip("/"))
    source = SourceName.parse(name)
    if source.hub:
        return _find_on_hub(source)
    if source.path in EMBEDDED:
        raise InputError(f"{name} is an embedded source, which is small: load it into memory. {_FOREIGN}")
    if source.split not in (None, "train"):
        raise UnknownNameError(f"split of the synthetic set {source.path}", source.split, ["train"])
    return _find_in_folder(Path(source.path), source.path)


def _find_in_folder(folder: Path, name: str) -> _Found:
    store = FolderStore(name, folder)
    try:
        data = store.read(MANIFEST, _LARGEST_MANIFEST, Event())
    except NoSuchFileError as error:
        what = InputError(f"{name} is no synthetic set: it holds no {MANIFEST}.") if is_url(folder) else no_set(folder)
        raise InputError(f"{what} {_FOREIGN}") from error
    try:
        manifest = Manifest.read(folder, data)
    except DamagedFileError as error:
        raise DamagedFileError(name, MANIFEST, error.what) from None  # it quotes the folder, which may hold a password
    if not manifest.complete:
        raise IncompleteError(f"{name} is incomplete. Run the command that began it again.")
    return _Found(name, manifest, store)


def _find_on_hub(source: SourceName) -> _Found:
    from sio_data.hub.finding import find_hub_sets

    name = HubName(source.path, source.revision)
    sets = find_hub_sets(name, source.config)
    if sets is None:
        raise InputError(f"{source} holds no set of ours on the Hub. {_FOREIGN}")
    split = choose_split(source, list(sets.places), "train")
    if split is None:
        raise UnknownNameError(f"split of {source}", "train", list(sets.places), "Name one with #split.")
    return _find_in_repository(str(source), sets.name, sets.places[split])


def _find_by_address(name: str) -> _Found:
    found = _HUB_URL.fullmatch(name.rstrip("/"))
    place = PurePosixPath(found[3] or "") if found else PurePosixPath("..")
    if found is None or ".." in place.parts:
        raise InputError(f"{name!r} names no data set on the Hub: it must be like hf://datasets/owner/name@revision.")
    revision = f"@{unquote(found[2])}" if found[2] else ""
    return _find_in_repository(name, HubName.parse(f"{found[1]}{revision}"), "" if not place.name else str(place))


def _find_in_repository(name: str, repository: HubName, place: str) -> _Found:
    from sio_data.hub.caching import cached_manifest
    from sio_data.hub.calls import quiet

    with quiet():
        top = cached_manifest(repository, place)
    if top is None:
        raise InputError(f"{name} holds no {MANIFEST}. {_FOREIGN}")
    return _Found(name, Manifest.read(top / place), HubStore(HubName(repository.repository, top.name), place))
