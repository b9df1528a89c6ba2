"""Data sets of others: whatever `datasets.load_dataset` reads, from a local folder or the Hub."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from sio_data.embedded import EMBEDDED
from sio_data.errors import InputError, UnknownNameError
from sio_data.files import sha256_json
from sio_data.manifest import find_sets
from sio_data.source_names import SourceName
from sio_data.texts import redact


def open_dataset(source: SourceName, *, streaming: bool = False) -> Any:
    """Open all splits of a data set.

    Args:
        source: A folder, or a data set on the Hub.
        streaming: Whether to leave its data where they are, and read them as they are asked for.

    Returns:
        The splits by name: a `DatasetDict`, or an `IterableDatasetDict` if streaming.

    Raises:
        UnknownNameError: There is no such folder.
        InputError: It cannot be read.
    """
    import datasets

    from sio_data.hub.calls import quiet

    if source.hub:
        with _clear_errors(str(source)), quiet():
            return datasets.load_dataset(source.path, source.config, revision=source.revision, streaming=streaming)
    folder = Path(source.path)
    _check_folder(source, folder)
    return open_folder(folder, _cache_of(folder.resolve()), streaming=streaming)


def open_folder(folder: Path, cache: str, *, streaming: bool) -> Any:
    """Open all splits of the data set in a local folder, with a cache of one's own for it.

    Raises:
        InputError: It cannot be read.
    """
    import datasets

    with _clear_errors(str(folder)):
        return datasets.load_dataset(str(folder.resolve()), cache_dir=cache, streaming=streaming)


@contextmanager
def _clear_errors(what: str) -> Iterator[None]:
    import datasets
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError

    try:
        yield
    except (ValueError, OSError, HfHubHTTPError, HFValidationError, datasets.exceptions.DatasetsError) as error:
        hint = " A folder whose name holds [, ], * or ? must be renamed: datasets takes it for a pattern."
        reason = redact(str(error)) or type(error).__name__
        raise InputError(f"{what} cannot be read as a data set: {reason}.{hint if {*'[]*?'} & {*what} else ''}") from (
            None if what.startswith("hub:") else error
        )


def _check_folder(source: SourceName, folder: Path) -> None:
    if not folder.is_dir():
        raise UnknownNameError(
            "source", source.path, EMBEDDED, "There is no folder of that name; a data set on the Hub is hub:owner/name."
        )
    if (folder / "model_index.json").is_file():
        raise InputError(f"{source.path} is a generator, not a set of images: make one with sio-data generate.")
    if several := find_sets(folder):
        raise InputError(f"{source.path} holds several synthetic sets: name one of them, like {several[0]}.")


def _cache_of(folder: Path) -> str:
    """Give a cache folder for this state of a local folder.

    The cache of `load_dataset` knows a folder whose README states configurations by its name and that text alone: it
    would give the rows of another folder of the same name, or old ones.
    """
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    state = [(str(path), path.stat().st_size, path.stat().st_mtime_ns) for path in files]
    return cache_named(sha256_json(state))


def cache_named(digest: str) -> str:
    """Give the cache folder of what a SHA-256 stands for."""
    from datasets.config import HF_DATASETS_CACHE

    return str(Path(HF_DATASETS_CACHE) / f"sio-data-{digest[:32]}")


def find_columns(features: Any, source: SourceName, labelled: bool = True) -> tuple[str, str | None]:
    """Find the columns of images and of labels by their features, whatever they are called.

    Args:
        features: Of the data set.
        source: For messages.
        labelled: Whether labels are needed.

    Returns:
        The name of the images' column and, if they are needed, of the labels'.

    Raises:
        InputError: There is none.
    """
    import datasets

    image = next((name for name, kind in features.items() if isinstance(kind, datasets.Image)), None)
    label = next((name for name, kind in features.items() if isinstance(kind, datasets.ClassLabel)), None)
    found = ", ".join(f"{name} ({type(kind).__name__})" for name, kind in features.items())
    if image is None:
        raise InputError(f"{source.path} has no column of images. Its columns: {found}.")
    if label is None and labelled:
        raise InputError(f"{source.path} has no labels with class names (ClassLabel). Its columns: {found}.")
    return image, label if labelled else None
