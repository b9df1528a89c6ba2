"""Files from the Hub: each one asked for by a path that we know, never by one that the Hub names."""

from collections.abc import Iterable, Sequence
from pathlib import Path
from queue import SimpleQueue
from threading import Event, Lock, Thread

from huggingface_hub import hf_hub_download

from sio_data.errors import InputError, SioDataError
from sio_data.hub.calls import call
from sio_data.hub.names import HubName
from sio_data.progress import progress

_AT_ONCE = 8
_LARGEST_TEXT = 1 << 28  # bytes, of a file whose size no manifest states: a manifest of a million shards


def download(name: HubName, kind: str, path: str, folder: Path | None = None, stop: Event | None = None) -> Path:
    """Download a file.

    Args:
        name: Repository and revision.
        kind: `dataset` or `model`.
        path: Of the file in the repository.
        folder: Where to put it, whatever is there; None means the Hub's cache, where one that is there is kept.
        stop: See `call`.

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
            stop,
        )
    )


def download_all(name: HubName, kind: str, paths: Sequence[str], folder: Path | None = None) -> None:
    """Download several files at once; see `download`. After Ctrl-C it waits for none of them."""
    if not paths:
        return
    stop, waiting, done = Event(), iter(paths), SimpleQueue[SioDataError | None]()
    take = Lock()

    def work() -> None:
        while not stop.is_set():
            with take:
                path = next(waiting, None)
            if path is None:
                return
            failure: SioDataError | None = SioDataError(f"{name}, {path}: the download broke off.")
            try:
                download(name, kind, path, folder, stop)
                failure = None
            except SioDataError as error:
                failure = error
            finally:
                done.put(failure)

    # Threads of a pool are waited for when Python ends: Ctrl-C would wait for large files, and for a Hub that hangs.
    threads = [Thread(target=work, daemon=True) for _ in range(min(_AT_ONCE, len(paths)))]
    for thread in threads:
        thread.start()
    try:
        _await(done, len(paths), f"fetching {name.repository}")
    except Exception:
        stop.set()
        for thread in threads:
            thread.join()  # what is on its way arrives whole, and is not asked for again
        raise
    finally:
        stop.set()


def _await(done: "SimpleQueue[SioDataError | None]", count: int, title: str) -> None:
    with progress(title, count) as advance:
        for _ in range(count):
            error = done.get()
            if error:
                raise error
            advance(1, "files")


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
