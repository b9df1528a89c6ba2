"""Speed and peak memory of `measure` for a set of 2,000 and for one of 20,000 images of 32x32 pixels.

Run by `make bench`. Goal: ten times more images take at most 1.1 times the memory; each leaves 32 bytes behind. The
images are noise, which takes PNG longest; the checkpoint is the small network of `train`, with random weights, and the
real images are the 541 embedded digits: where there are more, the search for the nearest one takes its share, too.
"""

import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

COUNTS = (2_000, 20_000)
IMAGE_SIZE = 32
PREPARE = """
import sys
from collections.abc import Iterator
from pathlib import Path
import numpy as np
from sio_data import Classifier, load_source
from sio_data.compilation import Compilation, SourceFile
from sio_data.engines.job import ShardJob
from sio_data.layout import Layout
from sio_data.making import begin, finish
from sio_data.manifest import Manifest, Origin
from sio_data.shards import Batch

folder, count, size = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
names = load_source("digits").class_names
labels = np.arange(count) % len(names)
counts = np.bincount(labels).tolist()
layout = Layout(Compilation("import", (SourceFile("x", "0" * 64),), {"rule": 1}, "1" * 64, names, counts, size))

def draw(index: int) -> Iterator[Batch]:
    start, number = layout.start(index), layout.size(index)
    images = np.random.RandomState(index).randint(0, 256, (number, size, size, 3), dtype=np.uint8)
    yield Batch(images, labels[start : start + number], [{"source": {}}] * number, number)

manifest = begin(folder, Manifest(layout.recipe, Origin("x", "mit", "", "x")))
finish(folder, manifest, ShardJob(folder, layout, draw).make, "importing")
Classifier("convnet", names, size).save_pretrained(sys.argv[4])
"""


def run(*words: object) -> tuple[float, float]:
    """Run Python; give its seconds and its peak resident memory in MiB."""
    started = time.perf_counter()
    child = subprocess.Popen(
        [sys.executable, *map(str, words)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        env={**os.environ, "MALLOC_ARENA_MAX": "2"},
    )
    _, status, usage = os.wait4(child.pid, 0)
    child.returncode = os.waitstatus_to_exitcode(status)
    if child.returncode:
        raise SystemExit(f"{words[0]} {words[1]} ended with {child.returncode}")
    return time.perf_counter() - started, usage.ru_maxrss / 1024


def main() -> None:
    found = {}
    with tempfile.TemporaryDirectory() as work:
        for count in COUNTS:
            folder, checkpoint = Path(work, str(count)), Path(work, "checkpoint")
            run("-c", PREPARE, folder, count, IMAGE_SIZE, checkpoint)
            command = ["-m", "sio_data", "measure", folder, "--real", "digits", "--image-size", IMAGE_SIZE]
            found[count] = run(*command, "--classifier", checkpoint)
    (few, (least, low)), (many, (most, high)) = found.items()
    print(f"{'images':>8}{'seconds':>10}{'peak MiB':>10}")
    for count, (seconds, peak) in found.items():
        print(f"{count:>8,}{seconds:>10.1f}{peak:>10.1f}")
    speed = (many - few) / (most - least)
    print(f"{speed:.0f} images/s; {(high - low) * 2**20 / (many - few):.0f} bytes an image more")
    print(json.dumps({"images_per_second": speed, "peak_mib": {count: peak for count, (_, peak) in found.items()}}))


if __name__ == "__main__":
    main()
