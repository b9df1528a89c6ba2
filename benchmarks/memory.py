"""Peak memory of `generate` for a set of 20 shards and for one of 200.

Run by `make bench`. Goal: the second at most 1.05 times the first. Most of a peak is libraries, as a set of one shard
shows, so the growth is also given as a share of the pixels that the larger set holds more: 0 % if none of them stay.
Each set is made by a new process, `python -m sio_data generate`, whose peak the kernel tells.
"""

import json
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

ROUNDS = 2
SHARDS = (1, 20, 200)
CLASSES, SHARD_SIZE, IMAGE_SIZE = 10, 50, 32
MODEL = (
    "import sys, pathlib, small_unet; small_unet.save_unet(pathlib.Path(sys.argv[1]), int(sys.argv[2]), (16, 16, 16))"
)


def run(*words: object) -> float:
    """Run Python; give its peak resident memory in MiB. This process stays small: a child's peak counts from its."""
    child = subprocess.Popen(
        [sys.executable, *map(str, words)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        cwd=Path(__file__).parent,
    )
    _, status, usage = os.wait4(child.pid, 0)
    child.returncode = os.waitstatus_to_exitcode(status)
    if child.returncode:
        raise SystemExit(f"{' '.join(map(str, words))} ended with {child.returncode}")
    return usage.ru_maxrss / 1024


def main() -> None:
    peaks: dict[int, list[float]] = {shards: [] for shards in SHARDS}
    with tempfile.TemporaryDirectory() as work:
        weights = Path(work, "weights")
        run("-c", MODEL, weights, IMAGE_SIZE)
        for turn in range(ROUNDS):
            for shards in SHARDS:
                command = ["-m", "sio_data", "generate", "--generator", "diffusers", "--weights", weights]
                command += ["--per-class", shards * SHARD_SIZE // CLASSES, "--shard-size", SHARD_SIZE]
                command += ["--batch-size", SHARD_SIZE, "--sampling", "steps=1"]
                folder = Path(work, f"{shards}-{turn}")
                peaks[shards].append(run(*command, "--out", folder))
                assert len(list(folder.glob("data/*.tar"))) == shards
    medians = {shards: statistics.median(values) for shards, values in peaks.items()}
    _, base, most = medians.values()
    more_pixels = (SHARDS[2] - SHARDS[1]) * SHARD_SIZE * IMAGE_SIZE**2 * 3 / 2**20
    print(f"{'shards':>8}{'images':>8}{'median MiB':>12}{'ratio':>8}")
    for shards, value in medians.items():
        print(f"{shards:>8}{shards * SHARD_SIZE:>8}{value:>12.1f}{value / base:>8.3f}")
    print(f"growth {most - base:.1f} MiB, {(most - base) / more_pixels:.0%} of the pixels")
    print(json.dumps({"peak_mib": peaks, "ratio": most / base, "growth_per_pixel_byte": (most - base) / more_pixels}))


if __name__ == "__main__":
    main()
