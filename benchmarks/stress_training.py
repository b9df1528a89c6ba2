"""Kill `sio-data train` with SIGKILL at random moments, run it again each time, and compare what comes out.

Run by `make stress`; an argument changes the number of kills of each kind of training. Goal: each finished run is the
same to the byte as one never interrupted: the weights that are kept, the others, and the record with its history. Only
`log.csv` may differ, in the column that tells the speed.

The moments lie anywhere between the start of a command and the time that an uninterrupted one takes, so that the state
is cut off while it is written, too; the seed of a training's moments is its place in the list. The runs are forks of
this process, one thread each.
"""

import csv
import json
import os
import random
import sys
import tempfile
import time
from functools import partial
from pathlib import Path

import numpy as np
import torch
from forked import run_forked

import sio_data.streaming
import sio_data.training.series  # imported once, before the forks
from sio_data.cli import main as sio_data_command

torch.set_num_threads(1)
os.environ["OMP_NUM_THREADS"] = "1"

KILLS = 8
CLASSES, IMAGES, SIZE = ("zero", "one", "two", "three", "four", "five"), 600, 8
COMMON = "--real digits --synthetic {set} --epochs 12 --seeds 0 --save-seconds 0.3 --device cpu --out runs"
TRAININGS = {
    "in memory, best kept": "--keep best --augmentation crop-flip",
    "streamed": "--storage stream",
    "vos, averaged weights": "--method vos:queue=10,start=0.2 --ema 0.9",
}
STATES = ("before a state", "with a state", "when finished")
FAULTS = ("runs that differ",)


def make_set(folder: Path) -> None:
    """Write a set of random images in several shards."""
    generator = np.random.default_rng(0)
    pixels = generator.integers(0, 256, (IMAGES, SIZE, SIZE, 3), dtype=np.uint8)
    np.savez(folder.with_suffix(".npz"), image=pixels, label=np.arange(IMAGES) % len(CLASSES))
    sio_data.import_set(folder.with_suffix(".npz"), folder, classes=CLASSES, licence="cc0-1.0", shard_size=100)


def train(folder: Path, words: list[str]) -> int:
    """Run the command within a folder, so that records hold the same relative path."""
    folder.mkdir(exist_ok=True)
    os.chdir(folder)
    return sio_data_command(["train", *words])


def state(folder: Path) -> str:
    runs = folder / "runs"
    if (runs / "seed-0").is_dir():
        return STATES[2]
    return STATES[bool(list(runs.glob(".seed-0.unfinished/state.safetensors")))]


def content(folder: Path) -> dict[str, object]:
    """Give what a finished training left: all bytes, but for the speeds in its log."""
    files = {str(path.relative_to(folder)): path for path in folder.rglob("*") if path.is_file()}
    log = files.pop("runs/seed-0/log.csv")
    with log.open(encoding="utf-8") as file:
        rows = [
            {name: value for name, value in row.items() if name != "images_per_second"} for row in csv.DictReader(file)
        ]
    return {name: path.read_bytes() for name, path in files.items()} | {log.name: rows}


def differs(found: dict[str, object], expected: dict[str, object]) -> bool:
    names = [name for name in found.keys() | expected.keys() if found.get(name) != expected.get(name)]
    print("".join(f"differs: {name}\n" for name in sorted(names)), end="", flush=True)
    return bool(names)


def stress(work: Path, number: int, options: str, kills: int) -> dict[str, float]:
    words = f"{COMMON.format(set=work / 'set')} {options}".split()
    moments, log = random.Random(number), work / "log"
    whole = work / f"whole-{number}"
    started = time.perf_counter()
    run_forked(partial(train, whole, words), log)
    uninterrupted = time.perf_counter() - started
    found: dict[str, float] = dict.fromkeys(("kills", *STATES, "runs finished", *FAULTS), 0)
    while found["kills"] < kills:
        folder = work / f"killed-{number}-{found['kills']}"
        while found["kills"] < kills and not run_forked(
            partial(train, folder, words), log, moments.uniform(0, uninterrupted)
        ):
            found["kills"] += 1
            found[state(folder)] += 1
        run_forked(partial(train, folder, words), log)
        found["runs finished"] += 1
        found["runs that differ"] += differs(content(folder), content(whole))
    return {**found, "uninterrupted, s": uninterrupted, "seconds": time.perf_counter() - started}


def main() -> None:
    kills = int(sys.argv[1]) if len(sys.argv) > 1 else KILLS
    with tempfile.TemporaryDirectory() as name:
        work = Path(name)
        run_forked(lambda: make_set(work / "set"), work / "log")
        results = {
            what: stress(work, number, options, kills) for number, (what, options) in enumerate(TRAININGS.items())
        }
    print(f"{'':24}" + "".join(f"{what:>24}" for what in results))
    for row in next(iter(results.values())):
        print(f"{row:24}" + "".join(f"{result[row]:>24.4g}" for result in results.values()))
    print(json.dumps(results))
    sys.exit(any(result[fault] for result in results.values() for fault in FAULTS))


if __name__ == "__main__":
    main()
