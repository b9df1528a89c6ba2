"""`publish`: a set, a bundle or a checkpoint to the Hugging Face Hub, in one commit, the tag last."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import islice
from pathlib import Path

from huggingface_hub import CommitOperationAdd
from huggingface_hub.hf_api import RepoFile

from sio_data.errors import FolderInUseError, InputError, SettingsMismatchError, SioDataError
from sio_data.files import as_folder
from sio_data.hub.calls import call, quiet
from sio_data.hub.contents import Contents, open_contents
from sio_data.hub.names import HubName, check_repository, check_tag
from sio_data.hub.ownership import find_foreign
from sio_data.hub.repository import Piece, Repository
from sio_data.hub.terms import Terms
from sio_data.progress import progress
from sio_data.recovery import CARD

_FILES_AT_ONCE = 16  # in one request for addresses to upload to; small, so that progress shows


@dataclass(frozen=True)
class Published:
    """What `publish` did, or with `dry_run` would do.

    Attributes:
        kind: `dataset` or `model`.
        url: Of the repository.
        commit: The commit that holds it; None if it is not there because of `dry_run`.
        tag: The tag that names it; None if none was asked for.
        private: Whether the repository is.
        licence: Its licence; `several` for a bundle whose sets have different ones.
        files: Size in bytes of each file of it, by path.
        sent: Paths of the files that the repository lacked.
        removed: Paths of earlier files that are no longer part.
    """

    kind: str
    url: str
    commit: str | None
    tag: str | None
    private: bool
    licence: str
    files: Mapping[str, int]
    sent: tuple[str, ...]
    removed: tuple[str, ...]


@dataclass(frozen=True)
class _Plan:
    """What is to be done so that the repository holds the files and no earlier ones."""

    base: str | None
    missing: tuple[str, ...]
    stale: tuple[str, ...]

    @property
    def is_done(self) -> bool:
        return self.base is not None and not self.missing and not self.stale


def publish(
    folder: str | Path,
    repo: str,
    *,
    private: bool = False,
    tag: str | None = None,
    licence: str | None = None,
    link: Sequence[str] = (),
    results: str | Path | None = None,
    dry_run: bool = False,
) -> Published:
    """Publish a set, a bundle of sets or a checkpoint on the Hugging Face Hub.

    It is verified first. All files go up in one commit, so that nobody sees a part of it, and the tag is set last, on
    what was found to be there. Interrupted and called again, only what is missing is sent; what is there already is
    left alone. A tag never moves, but the branch's card may change beside it, to link a model say.

    Args:
        folder: A set, a bundle of sets (see `sio_data.bundle`), or a checkpoint.
        repo: `owner/name`; made if it is not there.
        private: Whether to make it private.
        tag: A name for this state, by which the card tells readers to load it.
        licence: Its licence, as the Hub writes it, of a bundle that of the sets that state none; None means that of the
            generator's weights. It must be that one, if it is known.
        link: For a set, models trained on it; for a checkpoint, data sets that it was made with. Each `owner/name`.
        results: For a checkpoint, what `evaluate` wrote: its figures go into the card.
        dry_run: Only find out what would be sent.

    Raises:
        InputError: The folder is none of these, or damaged; no licence is known; the repository holds something else;
            or the tag names something else.
        IncompleteError: The set is not finished.
        SioDataError: The Hub refuses or cannot be reached.
    """
    check_repository(repo)
    links = tuple(check_repository(name) for name in link)
    if tag is not None:
        check_tag(tag)
    contents = open_contents(as_folder(folder), Path(results) if results is not None else None, licence)
    terms = Terms(repo, tag, tuple(dict.fromkeys(contents.links + links)))
    with quiet():
        return _Publisher(contents, terms).run(private, dry_run)


class _Publisher:
    def __init__(self, contents: Contents, terms: Terms) -> None:
        self._contents = contents
        self._terms = terms
        self._card = contents.card(terms).encode()
        self._files = {CARD: Piece(self._card), **contents.files(terms)}
        self._name = terms.repository
        self._what = f"publishing {self._name}"
        self._repository = Repository(terms.repository, contents.kind)

    def run(self, private: bool, dry_run: bool) -> Published:
        head = call(self._what, self._repository.head)
        if head is None:
            self._refuse_other_kind()
        elif private and not head.private:
            raise InputError(f"{self._name} is there and public. Change that on the Hub, or name another one.")
        tagged = call(self._what, self._find_tag) if head else None
        plan = call(self._what, partial(self._plan, tagged or (head.commit if head else None)))
        if head and tagged and not plan.is_done:
            plan = self._plan_beside_tag(head.commit, plan)
        commit = plan.base if plan.is_done else None
        if not dry_run and not (tagged and plan.is_done):
            commit = self._send(private, plan, tag=None if tagged else self._terms.tag)
        return Published(
            self._contents.kind,
            self._repository.url,
            commit,
            self._terms.tag,
            head.private if head else private,
            self._contents.licence,
            {path: piece.size for path, piece in sorted(self._files.items())},
            plan.missing,
            plan.stale,
        )

    def _plan_beside_tag(self, head: str, plan: _Plan) -> _Plan:
        """Let the card of the branch change, to link a new model say, where the tag and the branch hold this very data.

        Raises:
            SettingsMismatchError: The tag names something else.
        """
        branch = call(self._what, partial(self._plan, head))
        for one in (plan, branch):
            if one.stale or {*one.missing} - {CARD}:
                raise SettingsMismatchError(
                    f"{self._name} has a tag {self._terms.tag} already, and it names something else, or the branch "
                    f"moved on ({', '.join((*one.missing, *one.stale)[:3])} differ). A tag never moves: name another."
                )
        return branch

    def _refuse_other_kind(self) -> None:
        """Keep names clear: `fetch owner/name` must find one thing."""
        kind = "model" if self._contents.kind == "dataset" else "dataset"
        if call(self._what, Repository(self._name, kind).head) is not None:
            raise FolderInUseError(f"{self._name} is a {kind} on the Hub already; name another one.")

    def _find_tag(self) -> str | None:
        return self._repository.tagged(self._terms.tag) if self._terms.tag else None

    def _plan(self, commit: str | None) -> _Plan:
        remote = self._repository.files(commit) if commit else {}
        ours = self._contents.owned(remote)
        missing = [path for path, piece in self._files.items() if path not in remote or not piece.is_same(remote[path])]
        if commit:
            self._refuse_foreign(HubName(self._name, commit), remote, missing)
        return _Plan(commit, tuple(missing), tuple(path for path in remote if path in ours and path not in self._files))

    def _refuse_foreign(self, name: HubName, remote: Mapping[str, RepoFile], missing: Sequence[str]) -> None:
        markers = self._contents.markers(remote)
        if any(marker in remote and marker in self._files and marker not in missing for marker in markers):
            return
        foreign = find_foreign(name, self._contents.kind, remote, markers)
        if foreign:
            raise FolderInUseError(
                f"{self._name} holds something else: its {foreign} was not published by sio-data. Name another one."
            )

    def _send(self, private: bool, plan: _Plan, tag: str | None) -> str | None:
        """Bring the repository up to date, check what it holds, and tag that."""
        commit = plan.base
        if not plan.is_done:
            call(self._what, partial(self._repository.check_card, self._card))
            call(self._what, partial(self._repository.create, private))
            additions = self._upload(plan.missing)
            commit = call(self._what, partial(self._commit, additions))
        left = call(self._what, partial(self._plan, commit))
        if not left.is_done:
            raise SioDataError(
                f"{self._name} holds {', '.join((*left.missing, *left.stale)[:3])} otherwise than it was sent; "
                "it is not tagged. Did a file change meanwhile? Run the same command again."
            )
        if tag and commit:
            call(self._what, partial(self._repository.tag, tag, commit))
        return commit

    def _upload(self, paths: Sequence[str]) -> dict[str, CommitOperationAdd]:
        additions = {path: CommitOperationAdd(path, self._files[path].content) for path in paths}
        waiting = iter(additions.values())
        with progress(f"sending to {self._name}", len(additions)) as advance:
            while batch := list(islice(waiting, _FILES_AT_ONCE)):
                call(self._what, partial(self._repository.upload, batch))
                advance(len(batch), "files")
        return additions

    def _commit(self, additions: dict[str, CommitOperationAdd]) -> str:
        """Commit what is missing now: an answer to an earlier try may have been lost."""
        head = self._repository.head()
        plan = self._plan(head.commit if head else None)
        if head is None or plan.base is None:
            raise SioDataError(f"{self._name} vanished meanwhile. Run the same command again.")
        if plan.is_done:
            return plan.base
        chosen = [additions.get(path) or CommitOperationAdd(path, self._files[path].content) for path in plan.missing]
        message = f"Publish {self._terms.tag or 'a new state'} with sio-data"
        return self._repository.commit(chosen, plan.stale, plan.base, message)
