"""What every engine runs: make shards, each from its number alone, and enter a record of each."""

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from pathlib import Path
from queue import Empty, Full, Queue
from typing import TypeAlias

from sio_data.compilation import SetRecipe
from sio_data.engines.claims import Claim, claim
from sio_data.files import check_same_settings, clear_if_full
from sio_data.layout import Layout
from sio_data.manifest import Manifest
from sio_data.records import RECORDS, Records
from sio_data.shards import Batch, write_shard

_BATCHES_AHEAD = 2
_SHARDS_BEHIND = 1
_SECONDS_BETWEEN_LOOKS = 0.2

Advance = Callable[[int, str], None]


class _GivenUp(Exception):  # noqa: N818  it ends the writer's thread and reaches nobody
    """The rest of a shard will not come."""


_Batches: TypeAlias = "Queue[Batch | _GivenUp | None]"


@dataclass(frozen=True)
class ShardJob:
    """Makes the shards of one set.

    Attributes:
        folder: The set's folder.
        layout: How the set is cut in shards.
        draw: Gives the samples of a shard, in order.
    """

    folder: Path
    layout: Layout[SetRecipe]
    draw: Callable[[int], Iterable[Batch]]

    @property
    def records(self) -> Records:
        """Where finished shards are entered."""
        return Records(self.folder)

    def make(self, indices: Iterable[int], advance: Advance) -> None:
        """Make shards and enter their records. One that somebody else makes meanwhile is left to them.

        Encoding and writing run in a thread of their own, so that the device never waits for the disk: while a shard
        is flushed, the next one is being drawn.

        Args:
            indices: Which shards.
            advance: Told after each batch how many samples it held.
        """
        try:
            self._make(indices, advance)
        except FileNotFoundError:
            if not Manifest.read(self.folder).complete:  # otherwise another run completed it and tidied up
                raise

    def _make(self, indices: Iterable[int], advance: Advance) -> None:
        busy = []
        with _Writer(self) as writer:
            for index in indices:
                mine = claim(self._lock(index), wait=False)
                if mine is None:
                    busy.append(index)
                else:
                    self._make_claimed(index, mine, writer, advance)
        with _Writer(self) as writer:
            for index in busy:
                mine = claim(self._lock(index), wait=True)
                if mine is not None:
                    self._make_claimed(index, mine, writer, advance)

    def _make_claimed(self, index: int, mine: Claim, writer: "_Writer", advance: Advance) -> None:
        with ExitStack() as held:
            held.enter_context(mine)
            manifest = Manifest.read(self.folder)
            check_same_settings(self.folder, manifest.recipe.to_json(), self.layout.recipe.to_json())
            if self.records.find(self.layout.path(index)) or manifest.complete:
                advance(self.layout.size(index), "")
                return
            writer.begin(index, mine)
            held.pop_all()  # from here on the writer's thread releases it
        for batch in self.draw(index):
            writer.put(batch)
            advance(len(batch), "")
        writer.put(None)

    def write(self, index: int, batches: Iterable[Batch]) -> None:
        """Write a shard, then enter its record.

        Raises:
            SioDataError: The disk is full.
        """
        with clear_if_full(self.folder, "Finished shards are kept: make space and run the same command again."):
            self.records.enter([write_shard(self.folder, self.layout, index, batches)])

    def _lock(self, index: int) -> Path:
        return self.folder / RECORDS / f"{index:06d}.lock"


class _Writer:
    """Writes shards in a thread, from batches that another one draws."""

    def __init__(self, job: ShardJob) -> None:
        self._job = job
        self._thread = ThreadPoolExecutor(1, "shard-writer")
        self._running: list[Future[None]] = []
        self._open: _Batches | None = None

    def __enter__(self) -> "_Writer":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: object) -> None:
        if self._open is not None:
            self._give_up(self._open)
        self._thread.shutdown()
        if kind is None:
            self._raise_errors()

    def begin(self, index: int, mine: Claim) -> None:
        """Open a shard; its claim is released when its record is entered."""
        self._raise_errors()
        if len(self._running) > _SHARDS_BEHIND:
            self._running.pop(0).result()
        batches = self._open = Queue(_BATCHES_AHEAD)

        def write() -> None:
            with mine:
                self._job.write(index, _receive(batches))

        self._running.append(self._thread.submit(write))

    def put(self, batch: Batch | None) -> None:
        """Hand over a batch of the open shard, or None at its end; waits while the thread is too far behind."""
        while self._open is not None:
            try:
                self._open.put(batch, timeout=_SECONDS_BETWEEN_LOOKS)
            except Full:
                self._raise_errors()
            else:
                break
        if batch is None:
            self._open = None

    def _give_up(self, batches: "_Batches") -> None:
        """Let the thread end without the shard that is open; those before it are still written."""
        while True:
            try:
                return batches.put_nowait(_GivenUp())
            except Full:
                with suppress(Empty):
                    batches.get_nowait()

    def _raise_errors(self) -> None:
        for shard in [shard for shard in self._running if shard.done()]:
            self._running.remove(shard)
            shard.result()


def _receive(batches: "_Batches") -> Iterator[Batch]:
    while (batch := batches.get()) is not None:
        if isinstance(batch, _GivenUp):
            raise batch
        yield batch
