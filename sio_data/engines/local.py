"""Make shards on this machine: one process for each device, or several on the CPU."""

import functools
import json
import operator
import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from queue import Queue
from threading import Thread
from typing import Any

import torch

from sio_data.engines.job import Advance
from sio_data.engines.order import WorkOrder
from sio_data.errors import InputError, SioDataError, copy_error
from sio_data.files import is_url

_SECONDS_TO_TIDY_UP = 30


def list_devices(device: str | None, workers: int | None) -> list[str | None]:
    """Give the device of each worker.

    Args:
        device: The one asked for; None means every CUDA device, or the CPU where there is none.
        workers: How many; None means one for each device.

    Raises:
        InputError: Fewer than one worker is asked for.
    """
    if workers is not None and workers < 1:
        raise InputError(f"workers must be at least 1, not {workers}.")
    if device is not None or not torch.cuda.is_available():
        return [device] * (workers or 1)
    count = torch.cuda.device_count()
    return [f"cuda:{worker % count}" for worker in range(workers or count)]


def make_shards(order: WorkOrder, missing: Sequence[int], devices: Sequence[str | None], advance: Advance) -> None:
    """Make the missing shards in one process a device.

    The processes are new interpreters: nothing of the caller's program is run in them. Each begins with a share of its
    own and then helps the others; behind a URL, where nobody can claim a shard, it keeps to its share.

    Args:
        order: What a worker needs.
        missing: Indices of the shards.
        devices: One for each process.
        advance: Told how many samples were made.

    Raises:
        SioDataError: A worker failed; the others are ended, finished shards are kept.
    """
    workers: list[subprocess.Popen[bytes]] = []
    reports: Queue[tuple[int, dict[str, Any] | None]] = Queue()
    try:
        for place, device in enumerate(devices):
            shares = [list(missing[(place + turn) % len(devices) :: len(devices)]) for turn in range(len(devices))]
            indices = shares[0] if is_url(order.folder) else functools.reduce(operator.iadd, shares, [])
            workers.append(_start({**order.to_json(), "device": device, "indices": indices}, len(devices)))
            Thread(target=_listen, args=(place, workers[place], reports), daemon=True).start()
        _follow(workers, reports, advance)
    finally:
        for worker in workers:
            worker.terminate()
        for worker in workers:
            _await_end(worker)


def _start(message: dict[str, Any], count: int) -> subprocess.Popen[bytes]:
    threads = os.environ.get("OMP_NUM_THREADS") or str(max(1, (os.cpu_count() or 1) // count))
    worker = subprocess.Popen(
        [sys.executable, "-m", "sio_data.engines.worker"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env={**os.environ, "OMP_NUM_THREADS": threads},
        start_new_session=True,  # Ctrl-C reaches this process alone, which then ends its workers
    )
    if worker.stdin:
        worker.stdin.write(json.dumps(message).encode() + b"\n")
        worker.stdin.flush()
    return worker


def _listen(place: int, worker: subprocess.Popen[bytes], reports: "Queue[tuple[int, dict[str, Any] | None]]") -> None:
    for line in worker.stdout or ():
        reports.put((place, json.loads(line)))
    reports.put((place, None))


def _follow(
    workers: Sequence[subprocess.Popen[bytes]],
    reports: "Queue[tuple[int, dict[str, Any] | None]]",
    advance: Advance,
) -> None:
    running = len(workers)
    while running:
        place, report = reports.get()
        if report is None:
            running -= 1
            _check_end(workers[place])
        elif "error" in report:
            raise copy_error(report["error"], report["code"])
        else:
            advance(report["made"], "")


def _check_end(worker: subprocess.Popen[bytes]) -> None:
    code = worker.wait()
    if code < 0:
        raise SioDataError(
            f"a worker was killed by {signal.Signals(-code).name}, perhaps for want of memory. Finished shards are "
            "kept: run the same command again, with fewer --workers if it happens again."
        )
    if code > 0:
        raise SioDataError(f"a worker failed with exit code {code}; what it printed says why.")


def _await_end(worker: subprocess.Popen[bytes]) -> None:
    try:
        worker.wait(_SECONDS_TO_TIDY_UP)
    except subprocess.TimeoutExpired:
        worker.kill()
        worker.wait()
    for stream in (worker.stdin, worker.stdout):
        if stream:
            stream.close()
