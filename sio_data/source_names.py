"""Names of sources, taken apart; see `sio_data.sources`."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from sio_data.embedded import EMBEDDED
from sio_data.errors import InputError, UnknownNameError
from sio_data.files import as_folder, is_url

Split = Literal["train", "val", "test"]

_SPLIT_NAMES: dict[Split, tuple[str, ...]] = {
    "train": ("train", "training"),
    "val": ("val", "validation", "valid", "dev"),
    "test": ("test", "testing"),
}


@dataclass(frozen=True)
class SourceName:
    """The parts of a source's name.

    Attributes:
        path: Embedded name, folder, or `owner/name` on the Hub.
        hub: Whether it is on the Hub.
        revision: Branch, tag or commit on the Hub.
        split: The split asked for by name.
        config: The configuration on the Hub asked for by name.
    """

    path: str
    hub: bool = False
    revision: str | None = None
    split: str | None = None
    config: str | None = None

    @classmethod
    def parse(cls, name: str | Path) -> "SourceName":
        """Take a source's name apart.

        Raises:
            InputError: It names nothing, or a URL that is not `file://`.
        """
        text = str(name)
        whole = Path(text).is_dir()  # a '#' in it is then part of the name
        path, split = (text, "") if whole or "#" not in text else text.rsplit("#", 1)
        if not path.startswith("hub:") or whole:
            if not path.strip():
                raise _names_nothing(text)
            return cls(_as_local(path), split=split or None)
        path, _, revision = path.removeprefix("hub:").partition("@")
        parts = path.split("/")
        if len(parts) not in (2, 3) or not all(parts):
            raise _names_nothing(text)
        return cls("/".join(parts[:2]), True, revision or None, split or None, "".join(parts[2:]) or None)

    def __str__(self) -> str:
        if not self.hub:
            return self.path
        return f"hub:{self.path}{f'/{self.config}' if self.config else ''}"


def _as_local(place: str) -> str:
    if place.startswith("file://"):
        return str(as_folder(place))
    if is_url(place):
        kind = place.partition("://")[0]  # the rest may hold a password
        raise InputError(
            f"sources are not loaded from {kind}://. A set that lies there is read by open_set, trained on with "
            "--storage stream, and copied here by sio-data export; copy other data into a local folder first."
        )
    return place


def _names_nothing(text: str) -> InputError:
    return InputError(
        f"{text!r} names no source. Use one of {', '.join(EMBEDDED)}, path/to/folder, path/to/folder#split "
        "or hub:owner/name/configuration@revision#split."
    )


def without_split(name: str) -> tuple[str, Split | None]:
    """Take the `#split` off a source's name.

    Returns:
        The name without it, and what it stands for: `train`, `val` or `test`; None if it is another one or missing.
    """
    split = SourceName.parse(name).split
    meaning: Split | None = next((role for role, names in _SPLIT_NAMES.items() if split in names), None)
    return (name.removesuffix(f"#{split}") if split else name), meaning


def find_split(names: Sequence[str], split: str) -> str | None:
    """Find the split of that name, or of that meaning: `val` is also called `validation`; None if there is none."""
    alike = next((alike for alike in _SPLIT_NAMES.values() if split in alike), ())
    return next((name for name in (split, *alike) if name in names), None)


def choose_split(source: SourceName, names: Sequence[str], split: str) -> str | None:
    """Give the split that a source's name asks for, or else the one that `split` means; None if there is none.

    Raises:
        UnknownNameError: The source's name asks for one that is not there.
    """
    if source.split is None:
        return find_split(names, split)
    if source.split not in names:
        raise UnknownNameError(f"split of {source.path}", source.split, names)
    return source.split
