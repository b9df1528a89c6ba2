"""One repository on the Hub: what it holds, and the few calls that change it. None of them is tried again here."""

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from huggingface_hub import CommitOperationAdd, CommitOperationDelete, HfApi, RepoCard
from huggingface_hub.errors import RepositoryNotFoundError
from huggingface_hub.hf_api import RepoFile

from sio_data.errors import SioDataError
from sio_data.files import sha256_file


@dataclass(frozen=True, eq=False)
class Piece:
    """The content of a file, on disk or in memory.

    Attributes:
        content: Where it is, or what it is.
        verified: SHA-256 of it if that was checked just now, so that it is not read again for that.
    """

    content: Path | bytes
    verified: str | None = None

    @property
    def size(self) -> int:
        """Size in bytes."""
        return self.content.stat().st_size if isinstance(self.content, Path) else len(self.content)

    def is_same(self, remote: RepoFile) -> bool:
        """Tell whether it has the size and the hash that the Hub gives for its own file."""
        if self.size != remote.size:
            return False
        return self._sha256 == remote.lfs.sha256 if remote.lfs else self._git_hash == remote.blob_id

    @cached_property
    def _sha256(self) -> str:
        if self.verified:
            return self.verified
        return sha256_file(self.content) if isinstance(self.content, Path) else hashlib.sha256(self.content).hexdigest()

    @cached_property
    def _git_hash(self) -> str:
        data = self.content.read_bytes() if isinstance(self.content, Path) else self.content
        return hashlib.sha1(b"blob %d\0" % len(data) + data, usedforsecurity=False).hexdigest()


@dataclass(frozen=True)
class Head:
    """Where a branch, tag or commit of a repository stands.

    Attributes:
        commit: The commit.
        private: Whether the repository is.
    """

    commit: str
    private: bool


class Repository:
    """A repository on the Hub.

    Args:
        name: `owner/name`.
        kind: `dataset` or `model`.
    """

    def __init__(self, name: str, kind: str) -> None:
        self.name = name
        self.kind = kind
        self._api = HfApi(library_name="sio-data")

    @property
    def url(self) -> str:
        """Its page."""
        return f"{self._api.endpoint}/{'datasets/' if self.kind == 'dataset' else ''}{self.name}"

    def head(self, revision: str | None = None) -> Head | None:
        """Look up a revision; None if there is no such repository, or none that the user may see."""
        try:
            info = self._api.repo_info(self.name, repo_type=self.kind, revision=revision)
        except RepositoryNotFoundError:
            return None
        return Head(str(info.sha), bool(info.private))

    def files(self, commit: str, folder: str | None = None) -> dict[str, RepoFile]:
        """List the files of a commit, or of a folder of it, by their paths."""
        tree = self._api.list_repo_tree(self.name, folder, repo_type=self.kind, revision=commit, recursive=True)
        return {entry.path: entry for entry in tree if isinstance(entry, RepoFile)}

    def tagged(self, tag: str) -> str | None:
        """Give the commit that a tag names; None if there is no such tag."""
        refs = self._api.list_repo_refs(self.name, repo_type=self.kind)
        return next((ref.target_commit for ref in refs.tags if ref.name == tag), None)

    def check_card(self, card: bytes) -> None:
        """Let the Hub check a card's metadata, before anything is sent."""
        RepoCard(card.decode()).validate(repo_type=self.kind)

    def create(self, private: bool) -> None:
        """Make the repository, if it is not there."""
        self._api.create_repo(self.name, repo_type=self.kind, private=private, exist_ok=True)

    def upload(self, additions: Iterable[CommitOperationAdd]) -> None:
        """Send the content of large files, as far as the Hub lacks it. Nobody sees it before the commit."""
        self._api.preupload_lfs_files(self.name, additions, repo_type=self.kind, free_memory=False)

    def commit(
        self, additions: Sequence[CommitOperationAdd], deletions: Iterable[str], parent: str, message: str
    ) -> str:
        """Change all these files in one commit, on top of that parent and no other; give the new commit."""
        deleted = [CommitOperationDelete(path) for path in deletions]
        done = self._api.create_commit(
            self.name, [*additions, *deleted], commit_message=message, repo_type=self.kind, parent_commit=parent
        )
        return done.oid

    def tag(self, tag: str, commit: str) -> None:
        """Set a tag, which may be there already if it names that commit.

        Raises:
            SioDataError: It names another one.
        """
        self._api.create_tag(self.name, tag=tag, revision=commit, repo_type=self.kind, exist_ok=True)
        if self.tagged(tag) != commit:
            raise SioDataError(f"{self.name}: somebody else set the tag {tag} meanwhile. Name another with --tag.")
