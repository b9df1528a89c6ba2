"""A page to browse a set with: one HTML file, and its pictures in sheets beside it. No server, no other host."""

from dataclasses import dataclass
from pathlib import Path

from sio_data.engines.claims import sole_writer
from sio_data.errors import FolderInUseError, InputError
from sio_data.files import as_folder, is_leftover, make_folder, remove_leftovers, write_bytes
from sio_data.gallery.page import MARK, render_page
from sio_data.gallery.sheets import is_sheet, take_samples, write_sheets
from sio_data.sets import open_set

PAGE = "gallery.html"
THUMBNAILS = "thumbnails"


@dataclass(frozen=True)
class Gallery:
    """What `build_gallery` made.

    Attributes:
        page: The HTML file.
        shown: How many images it shows.
        samples: How many the set holds.
        sheets: In how many files the images lie.
    """

    page: Path
    shown: int
    samples: int
    sheets: int


def build_gallery(folder: str | Path, out: str | Path | None = None, *, per_class: int = 100) -> Gallery:
    """Make a page to browse a set with: `gallery.html`, and `thumbnails/` with up to 100 images in a file.

    The page is written last, and old sheets are deleted after that: whenever this is killed, there is a page whose
    pictures are all there, or none. Called again, it is made anew; sheets that are there already are kept. Memory holds
    a few sheets at most: until they are drawn, the images shown lie in a temporary file.

    Args:
        folder: The set's folder or URL.
        out: Where the page goes, a folder or URL; None means the set's own folder, which
            `load_dataset` reads as before.
        per_class: The most images of each class to show; the first ones.

    Raises:
        InputError: It is no set, or `per_class` is below 1.
        IncompleteError: The set is not finished.
        CorruptSetError: A shard that was read is damaged.
        FolderInUseError: `gallery.html` or `thumbnails/` are there, and not ours, or another gallery is being made.
    """
    if per_class < 1:
        raise InputError(f"per_class must be at least 1, not {per_class}.")
    synthetic = open_set(folder)
    target = synthetic.folder if out is None else as_folder(out)
    _refuse_strangers(target)
    shown = [min(per_class, count) for count in synthetic.manifest.recipe.counts]
    with take_samples(synthetic, shown) as taken:
        make_folder(target / THUMBNAILS)
        with sole_writer(target / PAGE):  # to one gallery the sheets of another one are stale
            sheets = write_sheets(target / THUMBNAILS, taken)
            write_bytes(target / PAGE, render_page(synthetic, taken, sheets))
            _remove_stale(target / THUMBNAILS, {name for of_class in sheets for name in of_class})
    return Gallery(target / PAGE, sum(shown), synthetic.manifest.recipe.samples, sum(map(len, sheets)))


def _refuse_strangers(target: Path) -> None:
    """Refuse to write over what another program or person wrote."""
    page, thumbnails = target / PAGE, target / THUMBNAILS
    for place in (target, *target.parents):
        if place.exists() and not place.is_dir():
            raise FolderInUseError(f"{place} is a file; name a folder with --out.")
    if page.is_dir() or (page.exists() and MARK.encode() not in _head(page)):
        raise FolderInUseError(f"{page} is there already and was not made by this command; name a folder with --out.")
    if thumbnails.exists() and not thumbnails.is_dir():
        raise FolderInUseError(f"{thumbnails} is a file; name a folder with --out.")
    for entry in thumbnails.iterdir() if thumbnails.is_dir() else ():
        if not is_sheet(entry.name) and not is_leftover(entry):
            raise FolderInUseError(f"{thumbnails} holds something else ({entry.name}); name a folder with --out.")


def _head(page: Path) -> bytes:
    with page.open("rb") as file:
        return file.read(1000)


def _remove_stale(thumbnails: Path, used: set[str]) -> None:
    remove_leftovers(thumbnails)
    for entry in list(thumbnails.iterdir()):
        if is_sheet(entry.name) and entry.name not in used:
            entry.unlink()
