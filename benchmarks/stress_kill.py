"""Kill `sio-data generate` with SIGKILL at random moments, run it again each time, and compare what comes out.

Run by `make stress`; two arguments change the number of kills without and with `--workers 2`. Goal: each finished set
is the same to the byte as one never interrupted, no sample lost or doubled, `verify` finds it sound, no worker is left.

The moments lie anywhere between the start of a run and the time that an uninterrupted one takes. The runs are forks of
this process; the worker processes of `--workers 2` are new interpreters, as ever.
"""

import json
import os
import random
import shutil
import subprocess
import sys
import tarfile
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import psutil
import torch
from forked import run_forked
from small_unet import CLASSES, save_unet

import sio_data.generation
import sio_data.generators.diffusers
import sio_data.verification  # noqa: F401  imported once, before the forks
from sio_data.cli import main as sio_data_command

torch.set_num_threads(1)
os.environ["OMP_NUM_THREADS"] = "1"

MARK = "SIO_DATA_STRESS"
SHARDS, SHARD_SIZE, BATCH_SIZE = 40, 10, 5
STATES = ("before the manifest", "incomplete", "closing", "complete")
FAULTS = ("sets that differ", "samples lost", "samples doubled", "workers left")


class Runs:
    """Runs commands in forked children, and tells how long and how they ended."""

    def __init__(self, work: Path) -> None:
        self._work, self._log = work, work / "log"
        self.run(lambda: save_unet(work / "weights", 8, (16,)))

    def run(self, function: Callable[[], object], kill_after: float | None = None) -> bool:
        """Tell whether it came to its end before it was to be killed."""
        return run_forked(function, self._log, kill_after)

    def generate(self, folder: Path, workers: int, kill_after: float | None = None) -> bool:
        return self.run(lambda: sio_data_command(command(self._work / "weights", folder, workers)), kill_after)


def command(weights: Path, folder: Path, workers: int) -> list[str]:
    return (
        f"generate --generator diffusers --weights {weights} --sampling steps=1"
        f" --per-class {SHARDS * SHARD_SIZE // CLASSES} --shard-size {SHARD_SIZE}"
        f" --batch-size {BATCH_SIZE} --workers {workers} --out {folder}"
    ).split()


def state(folder: Path) -> str:
    if not (folder / "sio.json").is_file():
        return STATES[0]
    if json.loads((folder / "sio.json").read_text())["complete"]:
        return STATES[3]
    return STATES[2] if len(list(folder.glob(".records/*.json"))) == SHARDS else STATES[1]


def content(folder: Path) -> dict[str, bytes | None]:
    return {str(path.relative_to(folder)): path.read_bytes() if path.is_file() else None for path in folder.rglob("*")}


def keys_of(shard: Path) -> list[str]:
    with tarfile.open(shard) as tar:
        return [name for name in tar.getnames() if name.endswith(".png")]


def count_left() -> int:
    """Count the worker processes that are still there some time after their parents were killed."""
    there = [
        one for one in psutil.process_iter(["environ"]) if os.environ[MARK] in (one.info["environ"] or {}).values()
    ]
    return len(psutil.wait_procs(there, timeout=60)[1])


def stress(runs: Runs, work: Path, workers: int, kills: int, expected: dict[str, bytes | None]) -> dict[str, float]:
    started, moments = time.perf_counter(), random.Random(workers)
    runs.generate(work / f"timed-{workers}", workers)
    uninterrupted = time.perf_counter() - started
    samples = {f"{index:09d}.png" for index in range(SHARDS * SHARD_SIZE)}
    found = {"workers": workers, **dict.fromkeys(("kills", *STATES, "sets finished", *FAULTS), 0)}
    while found["kills"] < kills:
        folder = work / f"killed-{workers}-{found['kills']}"
        while found["kills"] < kills and not runs.generate(folder, workers, moments.uniform(0, uninterrupted)):
            found["kills"] += 1
            found[state(folder)] += 1
        runs.generate(folder, workers)
        found["workers left"] += count_left() if workers > 1 else 0
        keys = Counter(key for shard in folder.glob("data/*.tar") for key in keys_of(shard))
        found["sets finished"] += 1
        found["sets that differ"] += content(folder) != expected
        runs.run(lambda folder=folder: sio_data_command(["verify", str(folder)]))  # ends all if it is not sound
        found["samples lost"] += len(samples - keys.keys())
        found["samples doubled"] += keys.total() - len(keys)
        shutil.rmtree(folder)
    return {**found, "uninterrupted, s": uninterrupted, "seconds": time.perf_counter() - started}


def main() -> None:
    asked = [int(word) for word in sys.argv[1:]] or [100, 10]
    with tempfile.TemporaryDirectory() as name:
        work = Path(name)
        os.environ[MARK] = name
        runs = Runs(work)
        words = command(work / "weights", work / "expected", 1)
        subprocess.run([sys.executable, "-m", "sio_data", *words], check=True, capture_output=True)
        expected = content(work / "expected")
        results = [stress(runs, work, workers, kills, expected) for workers, kills in enumerate(asked, start=1)]
    for row in results[0]:
        print(f"{row:24}" + "".join(f"{result[row]:>10.4g}" for result in results))
    print(json.dumps(results))
    sys.exit(any(result[fault] for result in results for fault in FAULTS))


if __name__ == "__main__":
    main()
