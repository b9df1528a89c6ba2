"""What every engine runs: make shards, each from (recipe, index) alone, and enter a record of each."""

import errno
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from queue import Empty, Full, Queue

from sio_data.engines.claims import Claim, claim
from sio_data.engines.drawing import Drawer
from sio_data.errors import SioDataError
from sio_data.generator import Generator
from sio_data.manifest import Manifest
from sio_data.plan import Plan
from sio_data.records import RECORDS, Records
from sio_data.shards import Batch, write_shard

_BATCHES_AHEAD = 2
_SECONDS_BETWEEN_LOOKS = 0.2

Advance = Callable[[int, str], None]


class _GivenUp(Exception):  # noqa: N818  it ends the writer's thread and reaches nobody
    """The rest of a shard will not come."""


@dataclass(frozen=True)
class ShardJob:
    """Makes the shards of one set.

    Attributes:
        folder: The set's folder.
        plan: What each shard holds.
        generator: Makes the images.
    """

    folder: Path
    plan: Plan
    generator: Generator

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
            self._make(indices, Drawer(self.plan, self.generator), advance)
        except FileNotFoundError:
            if not Manifest.read(self.folder).complete:  # otherwise another run completed it and tidied up
                raise

    def _make(self, indices: Iterable[int], drawer: Drawer, advance: Advance) -> None:
        busy = []
        with _Writer(self) as writer:
            for index in indices:
                mine = claim(self._lock(index), wait=False)
                if mine is None:
                    busy.append(index)
                else:
                    self._make_claimed(index, mine, drawer, writer, advance)
        with _Writer(self) as writer:
            for index in busy:
                mine = claim(self._lock(index), wait=True)
                if mine is not None:
                    self._make_claimed(index, mine, drawer, writer, advance)

    def _make_claimed(self, index: int, mine: Claim, drawer: Drawer, writer: "_Writer", advance: Advance) -> None:
        shard = self.plan[index]
        if self.records.find(shard.path) or Manifest.read(self.folder).complete:
            mine.release()
            advance(len(shard), "")
            return
        writer.begin(index, mine)
        for batch in drawer.draw(shard):
            writer.put(batch)
            advance(len(batch.seeds), "")
        writer.end()

    def write(self, index: int, batches: Iterable[Batch]) -> None:
        """Write a shard, then enter its record.

        Raises:
            SioDataError: The disk is full.
        """
        try:
            self.records.enter([write_shard(self.folder, self.plan[index], self.plan.recipe, batches)])
        except OSError as error:
            if error.errno not in (errno.ENOSPC, errno.EDQUOT):
                raise
            raise SioDataError(
                f"no space is left for {self.folder}. Finished shards are kept: make space and run the same command "
                "again."
            ) from error

    def _lock(self, index: int) -> Path:
        return self.folder / RECORDS / f"{index:06d}.lock"


class _Writer:
    """Writes shards in a thread, from batches that another one draws."""

    def __init__(self, job: ShardJob) -> None:
        self._job = job
        self._thread = ThreadPoolExecutor(1, "shard-writer")
        self._queue: Queue[Batch | None] = Queue(_BATCHES_AHEAD)
        self._shards: list[Future[None]] = []
        self._open = False
        self._given_up: Queue[Batch | None] | None = None

    def __enter__(self) -> "_Writer":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: object) -> None:
        if kind is not None:
            self._give_up()
        self._thread.shutdown()
        if kind is None:
            self._raise_errors()

    def begin(self, index: int, mine: Claim) -> None:
        """Open a shard; its claim is released when its record is entered."""
        self._raise_errors()
        self._queue = Queue(_BATCHES_AHEAD)
        self._open = True
        queue = self._queue

        def write() -> None:
            with mine:
                self._job.write(index, self._batches(queue))

        self._shards.append(self._thread.submit(write))

    def put(self, batch: Batch | None) -> None:
        """Hand over a batch; waits while the thread is too far behind."""
        while True:
            try:
                return self._queue.put(batch, timeout=_SECONDS_BETWEEN_LOOKS)
            except Full:
                self._raise_errors()

    def end(self) -> None:
        """Close the shard."""
        self.put(None)
        self._open = False

    def _batches(self, queue: "Queue[Batch | None]") -> Iterator[Batch]:
        while (batch := queue.get()) is not None:
            yield batch
            if self._given_up is queue:
                raise _GivenUp
        if self._given_up is queue:
            raise _GivenUp

    def _give_up(self) -> None:
        """Let the thread end without the shard that is open; finished ones are still written."""
        self._given_up = self._queue if self._open else None
        while self._open:
            try:
                self._queue.put_nowait(None)
                self._open = False
            except Full:
                with suppress(Empty):
                    self._queue.get_nowait()

    def _raise_errors(self) -> None:
        running = []
        for shard in self._shards:
            if shard.done():
                shard.result()
            else:
                running.append(shard)
        self._shards = running
