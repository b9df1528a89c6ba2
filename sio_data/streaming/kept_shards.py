"""The shards of a set in memory: those of a small set stay there, and others come anew each time."""

from threading import Event, Lock

from sio_data.manifest import Manifest
from sio_data.streaming.bad_samples import BadSamples
from sio_data.streaming.held_shards import HeldShard, load_shard
from sio_data.streaming.stores import Store

_KEPT_BYTES = 256 << 20  # as many as one window may hold


class KeptShards:
    """Brings shards into memory, those of a set of up to 256 MiB once and for all. Used by several threads.

    Args:
        manifest: What the set holds.
        store: Where its shards lie.
        bad: Counts the samples that cannot be used.
    """

    def __init__(self, manifest: Manifest, store: Store, bad: BadSamples) -> None:
        self._manifest, self._store, self._bad = manifest, store, bad
        small = sum(shard.bytes for shard in manifest.shards) <= _KEPT_BYTES
        self._locks = [Lock() for _ in manifest.shards] if small else []
        self._kept: dict[int, HeldShard] = {}

    def load(self, shard: int, stop: Event) -> HeldShard:
        """Give a shard by its number.

        Args:
            shard: As an index into the list of shards.
            stop: Once it is set, nothing is tried again.

        Raises:
            CorruptSetError: It is missing, or too many samples are bad.
            SioDataError: It cannot be read.
        """
        if not self._locks:
            return self._fetch(shard, stop)
        with self._locks[shard]:
            if shard not in self._kept:
                self._kept[shard] = self._fetch(shard, stop)
            return self._kept[shard]

    def _fetch(self, shard: int, stop: Event) -> HeldShard:
        return load_shard(self._store, self._manifest.shards[shard], self._manifest.recipe, self._bad, stop)
