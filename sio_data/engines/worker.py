"""A worker process of the local engine: `python -m sio_data.engines.worker`, an order on standard input.

It reports on standard output, one JSON object a line: `{"made": 100}` after each batch, `{"error": ..., "code": ...}`
when it fails. It ends when its standard input does, so that none outlives the process that started it.
"""

import json
import os
import signal
import sys
from threading import Thread
from typing import NoReturn

from sio_data.engines.order import WorkOrder
from sio_data.errors import SioDataError


def main() -> int:
    """Make the shards of the order that stands on standard input; give the exit code."""
    signal.signal(signal.SIGTERM, _interrupt)
    reports = os.fdopen(os.dup(sys.stdout.fileno()), "w", buffering=1)
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())  # what a library prints must not be taken for a report

    def report(**values: object) -> None:
        reports.write(json.dumps(values) + "\n")

    order = json.loads(sys.stdin.readline())
    Thread(target=_end_with_parent, daemon=True).start()
    try:
        job = WorkOrder.from_json(order).open(order["device"])
        job.make(order["indices"], lambda made, note: report(made=made))
    except (SioDataError, OSError) as error:
        report(error=str(error), code=getattr(error, "exit_code", 1))
        return 1
    except KeyboardInterrupt:
        return 1
    return 0


def _interrupt(number: int, frame: object) -> NoReturn:
    raise KeyboardInterrupt


def _end_with_parent() -> None:
    sys.stdin.read()
    os.kill(os.getpid(), signal.SIGTERM)


if __name__ == "__main__":
    sys.exit(main())
