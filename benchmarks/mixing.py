"""How fast mixed batches are made from memory, compared to the released code of the SIO paper.

Run by `make bench`. 50,000 real and 50,000 synthetic images of 32x32 pixels, batches of 128 with a real share of 0.8,
cropped and mirrored; one thread. Goal: 50 times the released loader. That one does not run with current torch (its
sampler passes an argument that torch's no longer takes), so its figures are quoted; on other machines the ratio says
little. On a busy machine the core's seconds say more than the clock's.
"""

import json
import statistics
import time
from collections.abc import Callable

import torch

from sio_data import ImageSet, MixedBatches
from sio_data.training.augmentation import augment

ROUNDS = 9
COUNT = 50_000
# images/s of the loader of the SIO repository at commit f8eb012, by number of workers: 50,000 real images as JPEG
# files, 50,000 synthetic ones in memory, the same batches, cropped and mirrored; 2 cores of an AMD EPYC
RELEASED = {0: 1871, 2: 3090}
GOAL = 50

Work = Callable[[torch.Tensor, torch.Generator], object]


def crop_flip(images: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    return augment(images, "crop-flip", generator)


def normalise(images: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    return crop_flip(images, generator).float().div_(255).sub_(0.5).div_(0.25)


WORK: dict[str, Work] = {
    "mixed": lambda images, generator: images,
    "mixed, crop and flip": crop_flip,
    "the same, normalised float": normalise,
}


def make_images(seed: int) -> ImageSet:
    generator = torch.Generator().manual_seed(seed)
    pixels = torch.randint(0, 256, (COUNT, 3, 32, 32), dtype=torch.uint8, generator=generator)
    return ImageSet(pixels, torch.randint(0, 10, (COUNT,), generator=generator), tuple("abcdefghij"))


def measure(batches: MixedBatches, work: Work, epoch: int) -> tuple[float, float]:
    """Go through an epoch; give images/s by the clock and by the core."""
    generator = torch.Generator().manual_seed(epoch)
    count, started, used = 0, time.perf_counter(), time.process_time()
    for batch in batches.epoch(epoch):
        work(batch.images, generator)
        count += len(batch)
    return count / (time.perf_counter() - started), count / (time.process_time() - used)


def main() -> None:
    torch.set_num_threads(1)
    batches = MixedBatches(make_images(0), make_images(1), batch_size=128, alpha=0.8)
    results: dict[str, dict[str, float]] = {}
    for what, work in WORK.items():
        measure(batches, work, 0)
        rounds = [measure(batches, work, epoch) for epoch in range(1, 1 + ROUNDS)]
        clock, core = (statistics.median(values) for values in zip(*rounds, strict=True))
        ratio = clock / max(RELEASED.values())
        results[what] = {"images_per_s": clock, "images_per_core_s": core, "times_released": ratio}
    print(f"{COUNT} real and {COUNT} synthetic images of 32x32 in memory, one thread, median of {ROUNDS} epochs")
    print(f"{'':28}{'images/s':>10}{'images/core s':>15}{'of released':>13}")
    for what, (clock, core, ratio) in ((what, values.values()) for what, values in results.items()):
        print(f"{what:28}{clock:>10,.0f}{core:>15,.0f}{ratio:>12.1f}x")
    for workers, speed in RELEASED.items():
        print(f"{f'released code, {workers} workers':28}{speed:>10,}   (quoted: see the head of this file)")
    print(f"goal: cropped and flipped, {GOAL} times the released code: {GOAL * max(RELEASED.values()):,} images/s")
    print(json.dumps(results))


if __name__ == "__main__":
    main()
