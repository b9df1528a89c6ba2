"""Run functions in forked children, some of them killed with SIGKILL on their way.

An interpreter takes seconds to import torch, so the caller imports what is needed once, and each run is a fork of it.
The caller runs nothing in torch itself, which wants no threads when it forks.
"""

import os
import signal
import time
import traceback
from collections.abc import Callable
from pathlib import Path


def run_forked(function: Callable[[], object], log: Path, kill_after: float | None = None) -> bool:
    """Tell whether a child that calls a function came to its end before it was to be killed, after so many seconds.

    What it prints goes into the log. A child that fails ends this process, too.
    """
    started = time.perf_counter()
    child = os.fork()
    if child == 0:
        try:
            output = os.open(log, os.O_CREAT | os.O_WRONLY | os.O_TRUNC)
            os.dup2(output, 1)
            os.dup2(output, 2)
            code = function()
            os._exit(code if isinstance(code, int) else 0)
        finally:
            traceback.print_exc()
            os._exit(1)
    if kill_after is not None:
        time.sleep(max(0.0, started + kill_after - time.perf_counter()))
        os.kill(child, signal.SIGKILL)  # it is ours until it is waited for, even if it has ended
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    if code not in (0, -signal.SIGKILL):
        raise SystemExit(f"a run ended with {code}:\n{log.read_text()}")
    return code == 0
