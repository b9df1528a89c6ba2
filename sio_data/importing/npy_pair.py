"""SIO's pair of files: `images.npy`, uint8 [N, H, W, 3], and `labels.npy`, whole numbers [N]."""

from contextlib import ExitStack
from pathlib import Path

from sio_data.errors import InputError
from sio_data.importing.arrays import ArrayArchive, Part
from sio_data.importing.npy import ArrayHeader, StoredImages, check_images, read_header, read_labels

IMAGES, LABELS = "images.npy", "labels.npy"


def open_npy_pair(paths: tuple[Path, Path], image_size: int | None, held: ExitStack) -> ArrayArchive:
    """Open two `.npy` files: the one of four dimensions holds the images.

    Args:
        paths: The two, in any order.
        image_size: Resize to this many pixels; None keeps the size.
        held: Closes the files in the end.

    Raises:
        InputError: They are no images with labels.
    """
    (images_path, images), (labels_path, labels) = sorted(
        ((path, _look(path)) for path in paths), key=lambda found: len(found[1].shape), reverse=True
    )
    check_images(images)
    with labels_path.open("rb") as file:
        file.seek(labels.start)
        values = read_labels(file, labels, images.shape[0])
    stored = StoredImages(held.enter_context(images_path.open("rb")), images.start, images.shape, images.name)
    return ArrayArchive([Part((images_path, labels_path), images.shape, values, lambda scratch: stored)], image_size)


def _look(path: Path) -> ArrayHeader:
    if not path.is_file():
        raise InputError(f"{path}: no such file. {IMAGES} and {LABELS} belong together.")
    with path.open("rb") as file:
        return read_header(file, path.stat().st_size, str(path))
