"""Names of repositories on the Hugging Face Hub: `owner/name`, `hub:owner/name@revision`."""

import re
from dataclasses import dataclass

from sio_data.errors import InputError

# What the Hub allows: letters, digits, `-`, `_`, `.`, no two dots or dashes in a row, at most 96 signs.
_PART = r"[A-Za-z0-9_](?:[A-Za-z0-9_]|[.-](?![.-]))*"
_REPOSITORY = re.compile(rf"{_PART}/{_PART}")
_REVISION = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_./+-]*")


@dataclass(frozen=True)
class HubName:
    """A repository, and a revision of it.

    Attributes:
        repository: `owner/name`.
        revision: Branch, tag or commit; None means the branch `main`.
    """

    repository: str
    revision: str | None = None

    @classmethod
    def parse(cls, text: str) -> "HubName":
        """Read `owner/name`, with `hub:` before it or `@revision` after it if need be.

        Raises:
            InputError: It is no such name.
        """
        repository, at, revision = text.removeprefix("hub:").partition("@")
        check_repository(repository)
        return cls(repository, check_revision(revision) if at else None)

    def __str__(self) -> str:
        return f"hub:{self.repository}{f'@{self.revision}' if self.revision else ''}"


def check_repository(name: str) -> str:
    """Give the name of a repository.

    Raises:
        InputError: It cannot be one.
    """
    if not _REPOSITORY.fullmatch(name) or len(name) > 96 or name.endswith((".git", "-", ".")):
        raise InputError(f"{name!r} names no repository on the Hub: it must be like owner/name.")
    return name


def check_tag(name: str) -> str:
    """Give the name of a tag that can be set.

    Raises:
        InputError: It cannot be one, or would be taken for the branch or for a commit.
    """
    check_revision(name)
    if name == "main" or re.fullmatch(r"[0-9a-f]{7,40}", name):
        raise InputError(f"{name!r} is no good name for a tag: it reads like a branch or a commit. Take one like v1.")
    return name


def check_revision(name: str) -> str:
    """Give the name of a branch, tag or commit.

    Raises:
        InputError: It cannot be one.
    """
    bad_ends = name.endswith(("/", ".", ".lock"))
    if not _REVISION.fullmatch(name) or len(name) > 100 or bad_ends or ".." in name or "//" in name:
        raise InputError(f"{name!r} names no branch, tag or commit: it must be like v1.")
    return name
