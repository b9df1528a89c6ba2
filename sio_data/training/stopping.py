"""Stop a long piece of work at a point where nothing is lost."""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from types import FrameType

from sio_data.errors import IncompleteError


@dataclass
class StopRequest:
    """Whether somebody asked for an end.

    Attributes:
        signal: SIGTERM or SIGINT, once one has come; else 0.
    """

    signal: int = 0

    def error(self) -> BaseException:
        """Make the error to end with: `KeyboardInterrupt` after SIGINT, else an `IncompleteError`."""
        if self.signal == signal.SIGINT:
            return KeyboardInterrupt()
        return IncompleteError("stopped; what was reached is saved. Run the same command again to go on.")


@contextmanager
def stop_request() -> Iterator[StopRequest]:
    """Take note of the first SIGTERM or SIGINT instead of dying of it; a second one works as it did before.

    Elsewhere than in the main thread, where Python allows no handlers, nothing changes.
    """
    request = StopRequest()
    if threading.current_thread() is not threading.main_thread():
        yield request
        return
    before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}

    def note(number: int, frame: FrameType | None) -> None:
        request.signal = number
        signal.signal(number, before[signal.Signals(number)])

    for number in before:
        signal.signal(number, note)
    try:
        yield request
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
