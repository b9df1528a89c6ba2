"""`fetch`: a set, a bundle or a checkpoint from the Hugging Face Hub, checked before it appears under its name."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from huggingface_hub.hf_api import RepoFile

from sio_data.bundles import find_parts
from sio_data.compilation import DROPPED, listing_hash
from sio_data.engines.claims import claim
from sio_data.errors import CorruptSetError, FolderInUseError, InputError, SettingsMismatchError, SioDataError
from sio_data.files import as_folder, check_output_folder, flush_tree, is_url, remove_tree
from sio_data.hub.calls import call, quiet
from sio_data.hub.downloads import check_size, download_all, forget
from sio_data.hub.names import HubName, check_revision
from sio_data.hub.ownership import is_ours
from sio_data.hub.repository import Piece, Repository
from sio_data.manifest import MANIFEST, Manifest
from sio_data.quality.measures import MEASURES
from sio_data.reader_info import INFO
from sio_data.recovery import CARD
from sio_data.runs import CONFIG, RECORD, WEIGHTS
from sio_data.sets import PREVIEW
from sio_data.training.checkpoint import Classifier
from sio_data.verification import verify

_LOCK = ".lock"
_ROOT = PurePosixPath()


@dataclass(frozen=True)
class Fetched:
    """What `fetch` brought.

    Attributes:
        folder: Where it lies.
        kind: `dataset` (a set or a bundle) or `model` (a checkpoint).
        commit: The commit on the Hub that it is of.
        files: How many files it has.
        made: Whether this call fetched it; False if it was there.
    """

    folder: Path
    kind: str
    commit: str
    files: int
    made: bool


class _Found(NamedTuple):
    """What a repository holds: a kind of ours, at one commit.

    Attributes:
        sets: The folders of its sets: of a bundle's each one, of a single set the repository itself, of a checkpoint
            none.
    """

    name: HubName
    kind: str
    commit: str
    remote: Mapping[str, RepoFile]
    sets: tuple[PurePosixPath, ...]


def fetch(repo: str, out: str | Path, *, revision: str | None = None) -> Fetched:
    """Fetch a set, a bundle of sets or a checkpoint from the Hugging Face Hub, and verify it.

    Only the files of sets or a checkpoint are fetched, all of one commit, into a hidden folder beside `out`, which
    gets its name when all is checked. Interrupted and called again, it goes on with the files that are missing.

    Args:
        repo: `owner/name`, or `hub:owner/name@revision`.
        out: A new or empty folder, or one that holds this very thing, which is checked and left alone.
        revision: Branch, tag or commit; None means the branch `main`.

    Raises:
        InputError: There is no such repository or revision, it holds no set or checkpoint, or what it holds is damaged.
        FolderInUseError: `out` holds something else.
        SioDataError: The Hub cannot be reached, or a file did not arrive whole.
    """
    name = _choose_revision(repo, revision)
    folder = as_folder(out)
    if not folder.name.strip("."):
        raise InputError(f"{folder} is no new folder; name one.")
    if is_url(folder):
        raise InputError(f"{folder} is not on this machine's disk: fetch to a local folder and copy that.")
    with quiet():
        found = _find(name)
        if folder.is_dir() and any(folder.iterdir()):
            return _keep(folder, found)
        check_output_folder(folder, is_ours=lambda _: False)
        return _bring(folder, found)


def _choose_revision(repo: str, revision: str | None) -> HubName:
    name = HubName.parse(repo)
    if revision is None:
        return name
    if name.revision is not None:
        raise InputError(f"{repo} names a revision already, and --revision {revision} another one.")
    return HubName(name.repository, check_revision(revision))


def _bring(folder: Path, found: _Found) -> Fetched:
    """Fetch what was found into a hidden folder, check it there, and give it its name."""
    staging = folder.with_name(f".{folder.name}.fetching")
    staging.mkdir(parents=True, exist_ok=True)
    mine = claim(staging / _LOCK, wait=False)
    if mine is None:
        raise FolderInUseError(f"another run fetches to {folder} just now; wait for it.")
    with mine:
        paths = _fetch_files(found, staging)
        try:
            _check(found.kind, staging)
        except SioDataError as error:
            raise _give_up(found, staging, str(error).replace(str(staging), str(found.name))) from error
        flush_tree(staging)
        if folder.is_dir():
            folder.rmdir()
        staging.replace(folder)
        (folder / _LOCK).unlink()
    return Fetched(folder, found.kind, found.commit, len(paths), made=True)


def _find(name: HubName) -> _Found:
    what = str(name)
    held = []
    for kind, marker in (("dataset", MANIFEST), ("model", WEIGHTS)):
        repository = Repository(name.repository, kind)
        head = call(what, partial(repository.head, name.revision))
        if head is None:
            continue
        remote = call(what, partial(repository.files, head.commit))
        if marker in remote:
            return _Found(name, kind, head.commit, remote, (_ROOT,) if kind == "dataset" else ())
        if kind == "dataset" and (parts := find_parts(remote)):
            return _Found(name, kind, head.commit, remote, tuple(map(PurePosixPath, parts)))
        held.append(kind)
    if held:
        raise InputError(f"{what} holds no set ({MANIFEST}) and no checkpoint ({WEIGHTS}) of sio-data.")
    raise InputError(
        f"{what}: no such repository on the Hub, or a private one. Log in with `hf auth login`, or set HF_TOKEN."
    )


def _keep(folder: Path, found: _Found) -> Fetched:
    """Check a folder that should be what is asked for, and leave it alone."""
    markers = [str(place / MANIFEST) for place in found.sets] or [WEIGHTS]
    if not all((folder / path).is_file() for path in markers):
        raise FolderInUseError(f"{folder} holds something else; name a new or empty folder.")
    paths = _wanted(found, folder)
    # The shards are left to the check below: it holds them against the hashes of a manifest that is the Hub's.
    differs = [one for one in paths if not one.endswith(".tar") and not _is_there(folder / one, found.remote.get(one))]
    if differs:
        raise SettingsMismatchError(
            f"{folder} holds another one than {found.name}, with another {', '.join(differs[:3])}. "
            "Name a new or empty folder."
        )
    _check(found.kind, folder)
    return Fetched(folder, found.kind, found.commit, len(paths), made=False)


def _wanted(found: _Found, folder: Path) -> list[str]:
    """List the files of sets or a checkpoint, by our own rules and, once they are there, the manifests."""
    if found.kind == "model":
        return [path for path in (CONFIG, WEIGHTS, RECORD, CARD) if path in found.remote or path == CONFIG]
    paths = [CARD]
    for place in found.sets:
        manifest = Manifest.read(folder / place)
        listing = [DROPPED] if listing_hash(manifest.recipe) else []
        paths += [str(place / name) for name in (MANIFEST, CARD, PREVIEW, INFO, *listing)]
        paths += [path for path in (str(place / MEASURES),) if path in found.remote]
        paths += [str(place / record.path) for record in manifest.shards]
    return list(dict.fromkeys(paths))


def _fetch_files(found: _Found, staging: Path) -> list[str]:
    pinned = HubName(found.name.repository, found.commit)
    _fetch_missing(found, pinned, [str(place / MANIFEST) for place in found.sets], staging)
    for place in found.sets:
        _check_listing(found, staging, place)
    if found.kind == "model":
        _fetch_missing(found, pinned, [CONFIG], staging)
        if not is_ours(staging / CONFIG):
            remove_tree(staging)
            raise InputError(f"{found.name} is no checkpoint of sio-data: another program wrote its {CONFIG}.")
    paths = _wanted(found, staging)
    _fetch_missing(found, pinned, paths, staging)
    for path in sorted(staging.rglob("*"), reverse=True):
        if path.is_dir():
            if not any(path.iterdir()):
                path.rmdir()
        elif path.relative_to(staging).as_posix() not in (*paths, _LOCK):
            path.unlink()
    remove_tree(staging / ".cache")
    return paths


def _check_listing(found: _Found, staging: Path, place: PurePosixPath) -> None:
    """Refuse a set of which the repository holds other shards than its manifest says."""
    manifest = str(place / MANIFEST)
    try:
        read = Manifest.read(staging / place)
    except CorruptSetError as error:
        raise _give_up(found, staging, f"its {manifest} is not sound") from error
    if not read.complete:
        remove_tree(staging)
        raise InputError(f"{found.name} is incomplete ({manifest}): its owner must complete it and publish it again.")
    for record in read.shards:
        path = str(place / record.path)
        if path not in found.remote or found.remote[path].size != record.bytes:
            raise InputError(f"{found.name} lacks {path} as {manifest} lists it; take another revision.")


def _give_up(found: _Found, staging: Path, what: str) -> InputError:
    """Delete what came as it was published and is damaged all the same: no other try makes it better."""
    remove_tree(staging)
    return InputError(f"{found.name} was published damaged: {what.rstrip('.')}. Take another revision.")


def _fetch_missing(found: _Found, pinned: HubName, paths: list[str], staging: Path) -> None:
    """Fetch the files that are not there as the Hub lists them, and check that they came so."""
    for path in paths:
        if path not in found.remote:
            raise InputError(f"{found.name} lacks {path}; take another revision.")
        if path != WEIGHTS and not path.endswith(".tar"):
            check_size(found.name, path, found.remote[path].size)
    missing = [path for path in paths if not _is_there(staging / path, found.remote[path])]
    forget(staging / path for path in missing)
    download_all(pinned, found.kind, missing, staging)
    damaged = [path for path in missing if not _is_there(staging / path, found.remote[path])]
    if damaged:
        raise SioDataError(f"{found.name}: {', '.join(damaged[:3])} did not arrive whole. Run the same command again.")


def _is_there(path: Path, remote: RepoFile | None) -> bool:
    return remote is not None and path.is_file() and Piece(path).is_same(remote)


def _check(kind: str, folder: Path) -> None:
    """Verify a set or a bundle in full; load a checkpoint strictly."""
    if kind == "model":
        Classifier.from_pretrained(folder)
        return
    faults = verify(folder).faults
    if faults:
        raise CorruptSetError(f"{folder}: {faults[0].path} {faults[0].what}")
