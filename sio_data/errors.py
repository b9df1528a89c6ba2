"""Every error that this package raises on purpose.

    SioDataError                  exit code 1: it failed, or is not finished
    ├── IncompleteError           something that must be finished first is not
    └── InputError                exit code 2: wrong usage or bad input; nothing was changed
        ├── UnknownNameError      a generator, detector, source, class, ... of that name does not exist
        ├── FolderInUseError      the output folder holds something else
        ├── SettingsMismatchError the output folder was begun with other settings
        ├── CorruptSetError       a set is not what its manifest says
        │   └── DamagedFileError  one file of it, which `repair` can mend
        └── ClassMapError         two class maps do not fit together

A message says what is wrong, where, and what to do.
"""

import difflib
from collections.abc import Iterable
from typing import ClassVar


class SioDataError(Exception):
    """Base of all errors raised on purpose; `exit_code` is what the command line ends with."""

    exit_code: ClassVar[int] = 1


class IncompleteError(SioDataError):
    """Something that must be finished first is not: a set, a generator, a checkpoint."""


class InputError(SioDataError):
    """Wrong usage or bad input. Raised before anything is written."""

    exit_code: ClassVar[int] = 2


class UnknownNameError(InputError):
    """No generator, detector, source, class, ... has that name."""

    def __init__(self, kind: str, name: str, known: Iterable[str], hint: str = "") -> None:
        known = list(known)
        near = difflib.get_close_matches(name, known, n=1)
        guess = f" Did you mean {near[0]!r}?" if near else ""
        listed = ", ".join(known[:20]) + (f", … ({len(known)} in all)" if len(known) > 20 else "")
        super().__init__(f"unknown {kind} {name!r}.{guess} Known: {listed or 'none'}.{' ' + hint if hint else ''}")


class FolderInUseError(InputError):
    """The output folder holds something that this command did not write."""


class SettingsMismatchError(InputError):
    """The output folder was begun with other settings than the ones asked for."""


class CorruptSetError(InputError):
    """A set's files are not what its manifest says: truncated, edited, missing or hostile."""


class DamagedFileError(CorruptSetError):
    """A file of a set is not as it was made, and `repair` can mend it; `what` says what is wrong, without the path."""

    def __init__(self, folder: object, path: str, what: str) -> None:
        super().__init__(f"{folder}/{path} {what}. Mend it with: sio-data repair {folder}")
        self.what = what


class ClassMapError(InputError):
    """Two class maps do not fit together, or a label is outside its class map."""


def first_line(error: BaseException) -> str:
    """Give the first line of what an error says, or its kind if it says nothing."""
    return (str(error).strip() or type(error).__name__).splitlines()[0]


def copy_error(message: str, exit_code: int) -> SioDataError:
    """Make the error that another process reported by its message and exit code."""
    return InputError(message) if exit_code == InputError.exit_code else SioDataError(message)
