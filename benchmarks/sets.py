"""How fast a set of 50,000 images of 32x32 pixels is checked and exported, and how much memory that takes.

Run by `make bench`. Each piece of work is a process of its own, of which the whole time is taken, imports and the final
flush to disk included, and the peak of its memory. On a busy machine the cores' seconds say more than the clock's. The
pixels are patches of scikit-learn's two photographs.
"""

import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from shard_writer import NAMES, SIZE, load_patches

from sio_data.compilation import Compilation, SourceFile
from sio_data.engines.job import ShardJob
from sio_data.layout import Layout
from sio_data.making import begin, finish
from sio_data.manifest import Manifest, Origin
from sio_data.shards import Batch

ROUNDS = 3
SAMPLES = 50_000
WORK = {
    "verify": "sio_data.verify({set!r})",
    "export npy": "sio_data.export({set!r}, {out!r}, format='npy')",
    "export folder": "sio_data.export({set!r}, {out!r}, format='folder')",
    "export parquet": "sio_data.export({set!r}, {out!r}, format='parquet')",
}


def compile_set(folder: Path, samples: int = SAMPLES) -> None:
    per_class = samples // len(NAMES)
    sources = (SourceFile("photographs", "0" * 64),)
    recipe = Compilation("import", sources, {}, "0" * 64, NAMES, (per_class,) * len(NAMES), SIZE)
    layout, pixels = Layout(recipe), load_patches(samples)

    def draw(index: int) -> Iterator[Batch]:
        rows = [layout.start(index) + place for place in range(layout.size(index))]
        labels = [row % len(NAMES) for row in rows]
        details = [{"source": {"row": row}} for row in rows]
        yield Batch(pixels[[row % len(pixels) for row in rows]], np.array(labels), details, len(rows))

    manifest = begin(folder, Manifest(recipe, Origin("photographs", "cc-by-2.0", "", "make bench")))
    finish(folder, manifest, ShardJob(folder, layout, draw).make, "compiling")


def run(code: str, work: str) -> tuple[float, float, float]:
    """Run Python code in a process of its own; give its seconds, those of its cores, and its peak of memory in MB."""
    report = "print(next(line for line in open('/proc/self/status') if line.startswith('VmHWM')).split()[1])"
    started, used = time.perf_counter(), core_seconds()
    done = subprocess.run(
        [sys.executable, "-c", f"import sio_data; {code}; {report}"],
        env={**os.environ, "HF_HOME": work, "HF_HUB_OFFLINE": "1"},
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    return time.perf_counter() - started, core_seconds() - used, int(done.stdout.split()[-1]) / 1024


def core_seconds() -> float:
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def main() -> None:
    results: dict[str, dict[str, float]] = {}
    with tempfile.TemporaryDirectory() as name:
        compile_set(Path(name, "set"))
        for what, code in WORK.items():
            runs = [run(code.format(set=f"{name}/set", out=f"{name}/{what}-{turn}"), name) for turn in range(ROUNDS)]
            seconds, cores, megabytes = (statistics.median(values) for values in zip(*runs, strict=True))
            results[what] = {
                "images_per_s": SAMPLES / seconds,
                "images_per_core_s": SAMPLES / cores,
                "peak_megabytes": megabytes,
            }
    print(f"{SAMPLES} images of {SIZE}x{SIZE}, median of {ROUNDS}, start of Python included")
    print(f"{'':16}{'images/s':>10}{'images/core s':>15}{'peak MB':>10}")
    for what, values in results.items():
        clock, cores, megabytes = values.values()
        print(f"{what:16}{clock:>10.0f}{cores:>15.0f}{megabytes:>10.0f}")
    print(json.dumps(results))


if __name__ == "__main__":
    main()
