"""Batches of a streamed set: windows of shards fetched ahead, batches decoded ahead, in bounded memory."""

import threading
from collections import deque
from collections.abc import Callable, Generator, Iterator, Sequence
from concurrent.futures import Executor, Future, ThreadPoolExecutor, wait
from threading import Event
from typing import ParamSpec, TypeVar
from weakref import WeakSet

import numpy as np
import torch

from sio_data.streaming.decoding import Decoded
from sio_data.streaming.held_shards import HeldShard
from sio_data.streaming.order import Run

_FETCHED_AT_ONCE = 4

P = ParamSpec("P")
T = TypeVar("T")

Load = Callable[[int, Event], HeldShard]
Decode = Callable[[Sequence[tuple[HeldShard, int]]], Decoded]


def read_batches(
    runs: Iterator[Run], sizes: Sequence[int], load: Load, decode: Decode, workers: int
) -> Generator[Decoded]:
    """Give the samples of runs, one after the other, in batches.

    The bytes of at most two windows are held: one is decoded while the next one is fetched. Whenever the iterator ends
    (it is used up, closed or fails), its threads have ended, too. They also end with Python: what is being fetched then
    is the last.

    Args:
        runs: Where the samples are.
        sizes: How many samples each batch takes.
        load: Brings a shard into memory, by its number; it gives up when the event is set.
        decode: Makes pixels and labels of samples.
        workers: Threads that decode ahead; with none all work is done in the caller's.
    """
    ahead: deque[list[Future[Decoded]]] = deque()
    executors = _Executors(workers)
    try:
        fetchers, decoders, stop = executors.fetchers, executors.decoders, executors.stop
        windows = _Windows(runs, lambda shard: fetchers.submit(load, shard, stop), reads_ahead=workers > 0)
        for size in sizes:
            ahead.append([windows.submit(decoders, decode, part) for part in windows.cut(size)])
            windows.read_ahead()
            if len(ahead) > 2 * workers:
                yield _join(ahead.popleft(), decode)
        while ahead:
            yield _join(ahead.popleft(), decode)
    finally:
        executors.close()


def _join(parts: Sequence[Future[Decoded]], decode: Decode) -> Decoded:
    if not parts:
        return decode([])
    images, labels = zip(*(part.result() for part in parts), strict=True)
    return (images[0], labels[0]) if len(parts) == 1 else (torch.cat(images), torch.cat(labels))


class _Window:
    """The shards of a window that a run needs, fetched or on their way."""

    def __init__(self, run: Run, fetch: Callable[[int], Future[HeldShard]]) -> None:
        self.run = run
        self.shards = {shard: fetch(shard) for shard in np.unique(run.shards).tolist()}
        self.used = 0
        self.waiting: list[Future[Decoded]] = []

    @property
    def left(self) -> int:
        return len(self.run.shards) - self.used

    def pick(self, part: slice) -> list[tuple[HeldShard, int]]:
        places = zip(self.run.shards[part].tolist(), self.run.samples[part].tolist(), strict=True)
        return [(self.shards[shard].result(), sample) for shard, sample in places]


class _Windows:
    """The window that is decoded and the next one. A third one waits until nothing of the first is left to decode."""

    def __init__(self, runs: Iterator[Run], fetch: Callable[[int], Future[HeldShard]], reads_ahead: bool) -> None:
        self._runs, self._fetch, self._reads_ahead = runs, fetch, reads_ahead
        self._last: _Window | None = None
        self._current: _Window | None = None
        self._next: _Window | None = None

    def cut(self, size: int) -> Iterator[tuple[_Window, slice]]:
        """Take the next samples, as parts of windows."""
        while size:
            window = self._current
            if window is None or not window.left:
                window = self._advance()
            start, count = window.used, min(size, window.left)
            window.used += count
            size -= count
            yield window, slice(start, start + count)

    def submit(self, decoders: Executor, decode: Decode, part: tuple[_Window, slice]) -> Future[Decoded]:
        """Let a part be decoded."""
        window, places = part
        future = decoders.submit(lambda: decode(window.pick(places)))
        window.waiting = [other for other in window.waiting if not other.done()] + [future]
        return future

    def read_ahead(self) -> None:
        """Begin to fetch the next window, if there is room for it."""
        room = self._last is None or all(part.done() for part in self._last.waiting)
        if self._reads_ahead and self._next is None and room:
            self._next = self._open()

    def _advance(self) -> _Window:
        if self._next is None:
            if self._last is not None:
                wait(self._last.waiting)
            self._next = self._open()
        if self._next is None:
            raise IndexError("batches of more samples than there are.")
        self._last, self._current, self._next = self._current, self._next, None
        return self._current

    def _open(self) -> _Window | None:
        self._last = None
        run = next(self._runs, None)
        return None if run is None else _Window(run, self._fetch)


class _InCaller(Executor):
    """Does all work at once, in the caller's thread."""

    def submit(self, function: Callable[P, T], /, *args: P.args, **options: P.kwargs) -> Future[T]:
        future: Future[T] = Future()
        future.set_result(function(*args, **options))
        return future


class _Executors:
    """Executors to fetch and to decode with, and an event that is set when their work is in vain.

    Args:
        workers: Threads that decode; with none all is done in the caller's.
    """

    def __init__(self, workers: int) -> None:
        self.stop = Event()
        self.fetchers = ThreadPoolExecutor(_FETCHED_AT_ONCE, "sio-data-fetch") if workers else _InCaller()
        self.decoders = ThreadPoolExecutor(workers, "sio-data-decode") if workers else _InCaller()
        _OPEN.add(self)

    def close(self) -> None:
        """End all threads. It may be called again, even while Python ends and little is left of it."""
        if self.stop.is_set():
            return
        self.stop.set()
        self.decoders.shutdown(wait=False, cancel_futures=True)
        self.fetchers.shutdown(cancel_futures=True)
        self.decoders.shutdown()


_OPEN = WeakSet[_Executors]()


def _close_all() -> None:
    for executors in list(_OPEN):
        executors.close()


# When Python ends it waits for all that was given to executors, before it closes generators and calls `atexit`. What is
# registered here is called before that: it came after the same of `concurrent.futures`, and the last one comes first.
threading._register_atexit(_close_all)  # type: ignore[attr-defined]
