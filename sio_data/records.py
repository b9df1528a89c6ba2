"""Records of the finished shards of a set that is not complete yet."""

from collections.abc import Iterable
from pathlib import Path

from sio_data.errors import InputError
from sio_data.files import read_json, write_json
from sio_data.manifest import ShardRecord

RECORDS = ".records"


class Records:
    """One file a shard in `.records/`, so that any number of workers can enter theirs without a lock.

    A shard without a record does not count.

    Args:
        folder: The set's folder.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def enter(self, records: Iterable[ShardRecord]) -> None:
        """Enter finished shards."""
        for record in records:
            write_json(self._path(record.path), vars(record))

    def find(self, shard: str) -> ShardRecord | None:
        """Give the record of a shard, by its path in the set, if it is finished and still there.

        A record that cannot be read, or is another shard's, does not count either: that shard is made again.
        """
        path = self._path(shard)
        if not path.is_file() or not (self._folder / shard).is_file():
            return None
        try:
            record = ShardRecord.from_json(read_json(path))
        except InputError:
            return None
        return record if record.path == shard else None

    def drop(self, shards: Iterable[str]) -> None:
        """Let shards, by their paths in the set, no longer count as finished."""
        for shard in shards:
            self._path(shard).unlink(missing_ok=True)

    def any(self) -> bool:
        """Tell whether any shard was entered."""
        return any((self._folder / RECORDS).glob("*.json"))

    def _path(self, shard: str) -> Path:
        return self._folder / RECORDS / f"{Path(shard).stem}.json"
