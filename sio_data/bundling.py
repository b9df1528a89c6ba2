"""`bundle`: write the card that makes a folder of sets one data set."""

from pathlib import Path

from sio_data.bundle_card import render_bundle_card
from sio_data.bundles import Bundle, open_bundle
from sio_data.errors import FolderInUseError
from sio_data.files import write_text
from sio_data.recovery import CARD
from sio_data.set_card import NOTES_MARK, read_notes


def bundle(folder: str | Path, *, default: str | None = None) -> Bundle:
    """Make a folder of complete sets one data set: write its card.

    The sets are not touched. `folder/CONFIG/` is a set, or each `folder/CONFIG/SPLIT/` is one. Called again after a set
    was added or changed, it writes the card anew; notes below its last line stay.

    Args:
        folder: The folder or a URL.
        default: The configuration that `load_dataset` takes if none is named; None keeps the one chosen before, or
            takes the first.

    Raises:
        InputError: It holds no sets, or some that cannot be in one bundle.
        UnknownNameError: There is no configuration `default`.
        IncompleteError: One of the sets is not finished.
        CorruptSetError: One of the sets is damaged.
        FolderInUseError: There is a README.md that is no card of a bundle.
    """
    opened = open_bundle(folder, default)
    card = opened.folder / CARD
    if card.is_file() and NOTES_MARK not in card.read_text(encoding="utf-8", errors="replace"):
        raise FolderInUseError(f"{card} is not the card of a bundle. Move it out of there.")
    write_text(card, render_bundle_card(opened, notes=read_notes(opened.folder)))
    return opened
