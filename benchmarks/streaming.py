"""Streamed training batches against webdataset's, from the same shards; and how much memory a stream takes.

Run by `make bench`. Goals: at least three times webdataset's images a second with as many workers (ours are threads,
its are the processes of a DataLoader), and no more memory for a set of ten times more shards (at most 1.05 times).

Both read 50,000 images of 32x32 pixels as PNG and give shuffled, augmented batches of 128: uint8 tensors, each image
shifted by up to 4 pixels and mirrored at random, with labels. webdataset decodes by `.decode("pil")` and augments each
sample by itself, as its documentation does; ours augments the batch. Start of workers and threads included. Each round
measures all one after the other, and ratios are those of a round.
"""

import json
import random
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from sets import SAMPLES, compile_set
from webdataset import WebDataset, WebLoader

from sio_data.streaming import open_stream
from sio_data.training.augmentation import augment

ROUNDS = 3
WORKERS = (0, 2)
BATCH = 128
SHARDS = (25, 250)
EPOCH = """
import sys
import torch
from sio_data.streaming import open_stream

def status(field):
    return next(int(line.split()[1]) / 1024 for line in open("/proc/self/status") if line.startswith(field))

torch.set_num_threads(1)
stream, before = open_stream(sys.argv[1]), status("VmRSS")
for _ in stream.read(torch.arange(len(stream)).split(128), 0):
    pass
print(before, status("VmHWM"))
"""

Batches = Iterator[tuple[torch.Tensor, torch.Tensor]]


def ours(folder: Path, workers: int) -> Batches:
    stream = open_stream(folder, workers=workers)
    generator = torch.Generator().manual_seed(0)
    for images, labels in stream.read(torch.arange(len(stream)).split(BATCH), 0):
        yield augment(images, "crop-flip", generator), labels


def theirs(folder: Path, workers: int) -> Batches:
    shards = WebDataset(sorted(map(str, folder.glob("data/*.tar"))), shardshuffle=100)
    samples = shards.shuffle(1000).decode("pil").to_tuple("png", "cls").map_tuple(augment_one, int)
    yield from WebLoader(samples.batched(BATCH), batch_size=None, num_workers=workers)


def augment_one(picture: Image.Image) -> torch.Tensor:
    image = F.pad(torch.from_numpy(np.array(picture)).permute(2, 0, 1), (4,) * 4)
    top, left = random.randrange(9), random.randrange(9)
    image = image[:, top : top + 32, left : left + 32]
    return image.flip(-1) if random.random() < 0.5 else image


def speed(read: Callable[[Path, int], Batches], folder: Path, workers: int) -> float:
    started, count = time.perf_counter(), 0
    for images, labels in read(folder, workers):
        assert images.shape[1:] == (3, 32, 32)
        assert images.dtype == torch.uint8
        count += len(labels)
    assert count == SAMPLES
    return count / (time.perf_counter() - started)


def compare(folder: Path) -> dict[str, dict[str, float]]:
    rounds = [{(read, w): speed(read, folder, w) for w in WORKERS for read in (ours, theirs)} for _ in range(ROUNDS)]
    return {
        f"{workers} workers": {
            "ours_images_per_s": statistics.median(one[ours, workers] for one in rounds),
            "webdataset_images_per_s": statistics.median(one[theirs, workers] for one in rounds),
            "ratio": statistics.median(one[ours, workers] / one[theirs, workers] for one in rounds),
        }
        for workers in WORKERS
    }


def memory(folder: Path) -> tuple[float, float]:
    """Give the memory of a process before it streams an epoch, and its peak, in MiB."""
    done = subprocess.run([sys.executable, "-c", EPOCH, str(folder)], stdout=subprocess.PIPE, text=True, check=True)
    before, peak = map(float, done.stdout.split())
    return before, peak


def main() -> None:
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as work:
        compile_set(Path(work, "set"))
        speeds = compare(Path(work, "set"))
        peaks = {}
        for shards in SHARDS:
            compile_set(Path(work, str(shards)), 1000 * shards)
            peaks[shards] = memory(Path(work, str(shards)))
    print(f"{'images/s':12}{'sio-data':>12}{'webdataset':>12}{'ratio':>8}")
    for what, (mine, other, ratio) in ((what, values.values()) for what, values in speeds.items()):
        print(f"{what:12}{mine:>12.0f}{other:>12.0f}{ratio:>8.2f}")
    print(f"{'shards':12}{'before MiB':>12}{'peak MiB':>12}")
    for shards, (before, peak) in peaks.items():
        print(f"{shards:<12}{before:>12.0f}{peak:>12.0f}")
    few, many = peaks.values()
    ratio = many[1] / few[1]
    print(f"peak of ten times more shards: {ratio:.3f} times")
    print(json.dumps({"speed": speeds, "peak_mib": peaks, "peak_ratio": ratio}))


if __name__ == "__main__":
    main()
