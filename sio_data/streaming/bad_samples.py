"""Samples that cannot be used: skipped and counted, up to a limit."""

from threading import Lock

from rich.console import Console

from sio_data.errors import CorruptSetError
from sio_data.texts import printable

_SHOWN = 20


class BadSamples:
    """The bad samples of a set, each counted once however often it is met. Used by several threads.

    Args:
        name: What to call the set in messages.
        limit: How many may be met.
    """

    def __init__(self, name: str, limit: int) -> None:
        self._name = name
        self._limit = limit
        self._found: dict[tuple[str, str], str] = {}
        self._lock = Lock()

    def __len__(self) -> int:
        return len(self._found)

    def add(self, shard: str, key: str, what: str) -> None:
        """Count a sample, and say so on standard error if it is the first.

        Raises:
            CorruptSetError: There are more than the limit now.
        """
        with self._lock:
            first = not self._found
            self._found.setdefault((shard, key), what)
            found = [f"{key} of {shard} ({reason})" for (shard, key), reason in self._found.items()]
        if len(found) > self._limit:
            listed = ", ".join(found[:_SHOWN]) + (", …" if len(found) > _SHOWN else "")
            raise CorruptSetError(
                f"{self._name}: {len(found)} samples are bad, and {self._limit} may be (max_bad): {listed}. "
                "Mend the set with sio-data repair, or fetch it again."
            )
        if first:
            line = printable(
                f"{self._name}: sample {key} of {shard} is bad ({what}). Another one of its shard takes its place, "
                f"here and for up to {self._limit} such samples."
            )
            Console(stderr=True).print(line, markup=False, soft_wrap=True, highlight=False)
