"""Which format somebody's files have, told by what is there."""

from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

from sio_data.errors import InputError
from sio_data.files import is_url
from sio_data.importing.archive import Archive, pickled
from sio_data.importing.class_folders import ClassFolders
from sio_data.importing.npy_pair import IMAGES, LABELS, open_npy_pair
from sio_data.importing.npz import open_npz
from sio_data.importing.web_dataset import WebDataset
from sio_data.manifest import MANIFEST

_PICKLES = (".pkl", ".pickle", ".pt", ".pth")
_ARRAYS, _ARCHIVES, _TARS = ".npy", ".npz", ".tar"
_KNOWN = (
    f"a folder with {IMAGES} and {LABELS}, two .npy files, .npz archives, a folder of class folders with pictures, or "
    "WebDataset .tar files"
)


def open_archive(
    sources: Sequence[str | Path], image_size: int | None, label_key: str | None, held: ExitStack
) -> Archive:
    """Open what somebody has.

    Args:
        sources: A file or folder, or several files that belong together.
        image_size: Resize to this many pixels; None keeps the size.
        label_key: Of WebDataset, the member of each sample's JSON that holds its label.
        held: Closes files in the end.

    Raises:
        InputError: It is nothing that can be imported.
    """
    try:
        paths = [_check_path(source) for source in sources]
        if len(paths) == 1 and paths[0].is_dir():
            paths = _look_into(paths[0])
        suffixes = {path.suffix.lower() for path in paths}
        if label_key is not None and suffixes != {_TARS}:
            raise InputError("--label-key goes with WebDataset .tar files.")
        return _open(paths, suffixes, image_size, label_key, held)
    except OSError as error:
        raise InputError(f"{error.filename or 'the source'} cannot be read ({error.strerror}).") from error


def _check_path(source: str | Path) -> Path:
    path = Path(source)
    if is_url(source):
        raise InputError(f"{source} is not on this machine. Download it first.")
    if not path.exists():
        raise InputError(f"{source}: no such file or folder. Give {_KNOWN}.")
    if path.is_dir():
        return path
    _check_file(path)
    if path.suffix.lower() not in (_ARRAYS, _ARCHIVES, _TARS):
        with path.open("rb") as file:
            if path.suffix.lower() in _PICKLES or file.read(1) == b"\x80":
                raise pickled(source)
    return path


def _check_file(path: Path) -> None:
    """Refuse what is no file, like a pipe, before it is opened: that could wait for ever."""
    if not path.is_file():
        raise InputError(f"{path} is no file. Only plain files can be imported: they are read more than once.")


def _look_into(folder: Path) -> list[Path]:
    """Give the files in a folder that are to be imported, or the folder itself if it is one of class folders."""
    if (folder / MANIFEST).is_file():
        raise InputError(
            f"{folder} is a set of sio-data already: use it as it is, or choose from it with sio-data filter."
        )
    if (folder / IMAGES).exists() or (folder / LABELS).exists():
        return [folder / IMAGES, folder / LABELS]
    found = [path for path in folder.iterdir() if path.suffix.lower() in (_ARCHIVES, _TARS)]
    for path in found:
        _check_file(path)
    return sorted(found, key=lambda path: path.name) or [folder]


def _open(
    paths: Sequence[Path], suffixes: set[str], image_size: int | None, label_key: str | None, held: ExitStack
) -> Archive:
    if len(paths) == 1 and paths[0].is_dir():
        return ClassFolders(paths[0], image_size, held)
    if suffixes == {_ARRAYS} and len(paths) == 2:
        return open_npy_pair((paths[0], paths[1]), image_size, held)
    if suffixes == {_ARCHIVES}:
        return open_npz(paths, image_size, held)
    if suffixes == {_TARS}:
        return WebDataset(paths, image_size, label_key, held)
    raise InputError(f"{', '.join(map(str, paths[:5])) or 'nothing'} cannot be imported. Give {_KNOWN}.")
