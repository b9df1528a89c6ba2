"""The endless shuffled order of a set's samples: a pure function of (seed, position) and the list of shards.

Each pass holds every sample once. Its shards are shuffled, then taken in windows: groups of so few shards that they
fit in memory, whatever the set's size. The samples of a window are shuffled as a whole.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from sio_data.manifest import ShardRecord
from sio_data.plan import Integers
from sio_data.shuffling import derive_seed

_WINDOW_SAMPLES = 10_000
_WINDOW_BYTES = 256 << 20


@dataclass(frozen=True)
class Run:
    """Consecutive asked-for samples that lie in one window.

    Attributes:
        shards: int64 [n], the shard of each, as an index into the list of shards.
        samples: int64 [n], the place of each in its shard.
    """

    shards: Integers
    samples: Integers


@dataclass(frozen=True)
class _Pass:
    """One pass over the set.

    Attributes:
        shards: All shards, in its order.
        windows: Of each window, where in `shards` it starts; then the number of shards.
        starts: Of each window, the position in the pass of its first sample; then the number of samples.
    """

    shards: Integers
    windows: Integers
    starts: Integers


class StreamOrder:
    """The order that a seed gives.

    Args:
        records: The shards of the set.
        seed: Same seed, same order.
    """

    def __init__(self, records: Sequence[ShardRecord], seed: int) -> None:
        self._counts = np.array([record.samples for record in records], np.int64)
        self._bytes = np.array([record.bytes for record in records], np.int64)
        self._size = int(self._counts.sum())
        self._seed = seed

    def runs(self, positions: Integers) -> Iterator[Run]:
        """Find samples by their positions, window by window.

        Args:
            positions: int64 [n], ascending, from 0.
        """
        start = 0
        while start < len(positions):
            number = int(positions[start]) // self._size
            end = int(np.searchsorted(positions, (number + 1) * self._size))
            yield from self._runs_of_pass(number, positions[start:end] - number * self._size)
            start = end

    def _runs_of_pass(self, number: int, positions: Integers) -> Iterator[Run]:
        whole = self._pass(number)
        cuts = np.searchsorted(positions, whole.starts)
        for window in np.flatnonzero(np.diff(cuts)).tolist():
            shards = whole.shards[whole.windows[window] : whole.windows[window + 1]]
            starts = np.concatenate([[0], np.cumsum(self._counts[shards])])
            shuffled = self._generator(number, window).permutation(starts[-1])
            chosen = shuffled[positions[cuts[window] : cuts[window + 1]] - whole.starts[window]]
            owners = np.searchsorted(starts, chosen, side="right") - 1
            yield Run(shards[owners], chosen - starts[owners])

    def _pass(self, number: int) -> _Pass:
        shards = self._generator(number).permutation(len(self._counts))
        windows, samples, size = [0], 0, 0
        for place, shard in enumerate(shards.tolist()):
            full = samples + self._counts[shard] > _WINDOW_SAMPLES or size + self._bytes[shard] > _WINDOW_BYTES
            if full and samples:
                windows.append(place)
                samples, size = 0, 0
            samples, size = samples + int(self._counts[shard]), size + int(self._bytes[shard])
        edges = np.array([*windows, len(shards)], np.int64)
        return _Pass(shards, edges, np.concatenate([[0], np.cumsum(self._counts[shards])])[edges])

    def _generator(self, number: int, window: int = -1) -> np.random.RandomState:
        """Give the generator for a window of a pass, or for its shards: numpy promises that its draws never change."""
        return np.random.RandomState(derive_seed(self._seed, number, window + 1))
