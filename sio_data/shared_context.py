"""A change of the whole process that several threads need at a time."""

from collections.abc import Callable
from contextlib import AbstractContextManager, ExitStack
from threading import Lock


class SharedContext:
    """A context that the first thread to come enters and the last one to go leaves.

    Threads that each kept and restored the state of the process would restore what another one had changed it to.

    Args:
        enter: Makes the context.
    """

    def __init__(self, enter: Callable[[], AbstractContextManager[object]]) -> None:
        self._enter = enter
        self._lock = Lock()
        self._inside = 0
        self._end = ExitStack()

    def __enter__(self) -> None:
        with self._lock:
            if not self._inside:
                self._end.enter_context(self._enter())
            self._inside += 1

    def __exit__(self, *_: object) -> None:
        with self._lock:
            self._inside -= 1
            if not self._inside:
                self._end.close()
