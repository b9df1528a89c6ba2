"""Files from the Hub: each one asked for by a path that we know, never by one that the Hub names."""

from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from huggingface_hub import hf_hub_download

from sio_data.errors import InputError
from sio_data.hub.calls import call
from sio_data.hub.names import HubName
from sio_data.progress import progress

_AT_ONCE = 8
_LARGEST_TEXT = 1 << 28  # bytes, of a file whose size no manifest states: a manifest of a million shards


def download(name: HubName, kind: str, path: str, folder: Path | None = None) -> Path:
    """Download a file.

    Args:
        name: Repository and revision.
        kind: `dataset` or `model`.
        path: Of the file in the repository.
        folder: Where to put it, whatever is there; None means the Hub's cache, where one that is there is kept.

    Returns:
        Where it lies.

    Raises:
        InputError: It is not there.
        SioDataError: It is not to be had.
    """
    return Path(
        call(
            f"{name}, {path}",
            lambda: hf_hub_download(
                name.repository,
                path,
                repo_type=kind,
                revision=name.revision,
                local_dir=folder,
                force_download=folder is not None,
                library_name="sio-data",
            ),
        )
    )


def download_all(name: HubName, kind: str, paths: Sequence[str], folder: Path | None = None) -> None:
    """Download several files at once; see `download`."""
    if not paths:
        return
    pool = ThreadPoolExecutor(_AT_ONCE)
    try:
        with progress(f"fetching {name.repository}", len(paths)) as advance:
            for _ in pool.map(lambda path: download(name, kind, path, folder), paths):
                advance(1, "files")
    finally:
        pool.shutdown(cancel_futures=True)


def check_size(name: HubName, path: str, size: int) -> None:
    """Refuse a file that is too large for what it should be.

    Raises:
        InputError: It is.
    """
    if size > _LARGEST_TEXT:
        raise InputError(f"{name}: {path} has {size:,} bytes, which cannot be right.")


def forget(paths: Iterable[Path]) -> None:
    """Delete damaged files, in the Hub's cache also what their links point at, so that they are fetched anew."""
    for path in paths:
        path.resolve().unlink(missing_ok=True)
        path.unlink(missing_ok=True)
