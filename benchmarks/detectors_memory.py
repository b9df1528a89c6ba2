"""Time and peak memory of every detector that works on outputs alone, on outputs of ImageNet-1k's size.

`python benchmarks/detectors_memory.py [--scale 0.01] [names]`; the scale is that of the sets. The features are
float16, 5.2 GB of them, and made up: non-negative, around means of the classes, one in five around another class's.
They and the logits are mapped from files of a temporary folder (8 GB). Goal: at most 6 GB of memory on 2 cores.

Each detector is a process of its own, so a peak is its own, and so are passes over the features that detectors in one
process share: `means` and `scatters` say what these cost. Pages of the mapped files are no memory that a process holds,
for the kernel takes them back whenever it likes; yet they count as resident. So they are given back ten times a second,
and both peaks are told: what is held (anonymous memory), and all that is resident. On a busy machine the cores' seconds
say more than the clock's.
"""

import argparse
import json
import mmap
import os
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import numpy as np
import torch
from torch import nn

from sio_data.detection import DETECTORS, Outputs, create
from sio_data.detection.moments import compute_means, compute_scatters

COUNTS = {"train": 1_281_167, "val": 50_000, "test": 2_000}
CLASSES, WIDTH = 1000, 2048
BOUND = 6e9
ROWS = 8192  # made at a time
PASSES = {"means": compute_means, "scatters": compute_scatters}


def make_outputs(folder: Path, split: str, count: int, seed: int) -> None:
    """Write features, logits and labels, block by block."""
    generator = np.random.default_rng(seed)
    centres, weight, bias = make_classes()
    with (folder / f"{split}-features").open("wb") as features, (folder / f"{split}-logits").open("wb") as logits:
        labels = np.arange(count) % CLASSES
        generator.shuffle(labels)
        (folder / f"{split}-labels").write_bytes(labels.tobytes())
        for start in range(0, count, ROWS):
            part = labels[start : start + ROWS]
            looks = np.where(generator.random(len(part)) < 0.8, part, generator.integers(0, CLASSES, len(part)))
            values = centres[looks] + generator.standard_normal((len(part), WIDTH), np.float32)
            made = np.maximum(values, 0).astype(np.float16)
            features.write(made.tobytes())
            logits.write((made.astype(np.float32) @ weight.T + bias).astype(np.float16).tobytes())


def make_classes() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Give the classes' centres, and a head that tells them apart: a class's own logit is far above others'."""
    centres = np.random.default_rng(0).standard_normal((CLASSES, WIDTH)).astype(np.float32)
    shown = np.maximum(centres, 0)
    weight = 0.03 * (shown - shown.mean(0))
    return centres, weight, -weight @ shown.mean(0)


def open_outputs(folder: Path, split: str) -> Outputs:
    """Map the files, and keep giving their pages back."""
    labels = np.fromfile(folder / f"{split}-labels", np.int64)
    tensors = []
    for kind in ("logits", "features"):
        with (folder / f"{split}-{kind}").open("rb") as file:
            mapped = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        threading.Thread(target=drop_pages, args=(mapped,), daemon=True).start()
        tensors.append(np.frombuffer(mapped, np.float16).reshape(len(labels), -1))
    return Outputs(*tensors, labels)


def drop_pages(mapped: mmap.mmap) -> None:
    while True:
        mapped.madvise(mmap.MADV_DONTNEED)
        time.sleep(0.1)


def work(folder: Path, name: str) -> None:
    """Fit one detector, and score; print the seconds of each."""
    splits = {split: open_outputs(folder, split) for split in COUNTS}
    started, used = time.perf_counter(), time.process_time()
    if name in PASSES:
        PASSES[name](splits["train"])
        scored = fitted = time.perf_counter()
    else:
        _, weight, bias = make_classes()
        head = nn.Linear(WIDTH, CLASSES)
        head.load_state_dict({"weight": torch.from_numpy(weight), "bias": torch.from_numpy(bias)})
        detector = create(name).fit(train=splits["train"], val=splits["val"], head=head)
        fitted = time.perf_counter()
        detector.score(splits["test"])
        scored = time.perf_counter()
    used = time.process_time() - used
    print(json.dumps({"fit_seconds": fitted - started, "score_seconds": scored - fitted, "core_seconds": used}))


def measure(folder: Path, name: str) -> dict[str, float]:
    """Do the work in a process of its own, and watch its memory."""
    child = subprocess.Popen(
        [sys.executable, __file__, name, "--folder", folder],
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "2", "MALLOC_ARENA_MAX": "2"},
    )
    held = resident = 0
    while child.poll() is None:
        status = Path(f"/proc/{child.pid}/status").read_text()
        sizes = {line.split(":")[0]: line.split()[1] for line in status.splitlines() if line.endswith(" kB")}
        held, resident = max(held, int(sizes.get("RssAnon", 0))), max(resident, int(sizes.get("VmHWM", 0)))
        time.sleep(0.01)
    if child.returncode:
        raise SystemExit(f"{name} ended with {child.returncode}")
    return {**json.loads(child.stdout.read()), "held_bytes": held * 1024, "resident_bytes": resident * 1024}


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("names", nargs="*")
    parser.add_argument("--scale", type=float, default=1.0)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)  # of the outputs, where they are made
    given = parser.parse_args()
    if given.folder:
        work(given.folder, *given.names)
        return
    names = given.names or [*PASSES, *(name for name, kind in DETECTORS.items() if "network" not in kind.needs)]
    counts = {split: max(2000, int(given.scale * count)) for split, count in COUNTS.items()}
    print(f"{counts['train']:,} training images, {WIDTH} features, {CLASSES} classes; {counts['test']:,} are scored")
    print(f"{'':16}{'fit s':>10}{'score s':>10}{'core s':>10}{'held MB':>10}{'resident MB':>13}")
    results = {}
    with tempfile.TemporaryDirectory() as work_folder:
        for seed, (split, count) in enumerate(counts.items(), 1):
            make_outputs(Path(work_folder), split, count, seed)
        for name in names:
            results[name] = measure(Path(work_folder), name)
            fit, score, cores, held, resident = results[name].values()
            over = "  over the bound" if resident > BOUND else ""
            print(
                f"{name:16}{fit:>10.1f}{score:>10.1f}{cores:>10.1f}{held / 1e6:>10.0f}{resident / 1e6:>13.0f}{over}",
                flush=True,
            )
    print(json.dumps({"images": counts, "detectors": results}))


if __name__ == "__main__":
    main()
