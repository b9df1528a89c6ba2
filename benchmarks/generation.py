"""How much of the sampler's speed `generate` keeps: encoding, hashing, writing, flushing, preview and card included.

Run by `make bench`. Goal: at least 0.95 on two cores with a 32x32 model. Both variants draw the same images with the
same open generator; the sampler alone throws them away. The weights are random, so the images are nearly noise, which
takes PNG longest. OMP_NUM_THREADS sets torch's threads, by default one for each core. On a machine that others use too,
the rounds differ by more than is measured; the share of `generate`'s own time that it spends in the sampler does not.
"""

import json
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import torch
from small_unet import CLASSES, save_unet

from sio_data import generate, request
from sio_data.generator import Generator, open_generator
from sio_data.plan import Plan
from sio_data.recipe import Recipe

ROUNDS = 10
PER_CLASS = 40
CHANNELS = (16, 32)
SAMPLING = {"steps": "4"}


class Stopwatch:
    """Draws with a generator and adds up the seconds that this takes."""

    def __init__(self, generator: Generator) -> None:
        self._sample, self.sampling = generator.sample, 0.0

    def sample(self, labels: torch.Tensor, seeds: Sequence[int]) -> torch.Tensor:
        started = time.perf_counter()
        images = self._sample(labels, seeds)
        self.sampling += time.perf_counter() - started
        return images

    def time(self, work: Callable[[], object]) -> tuple[float, float]:
        """Give the seconds that some work takes, and how many of them are sampling."""
        started, self.sampling = time.perf_counter(), 0.0
        work()
        return time.perf_counter() - started, self.sampling


def sample_alone(generator: Generator, recipe: Recipe) -> None:
    for shard in Plan(recipe):
        for cut in shard.batches(recipe.batch_size):
            generator.sample(torch.from_numpy(shard.labels[cut]), shard.seeds[cut].tolist())


def main() -> None:
    with tempfile.TemporaryDirectory() as name:
        work = Path(name)
        weights = save_unet(work / "weights", 32, CHANNELS)
        generator = open_generator("diffusers", weights, sampling=SAMPLING)
        watch = Stopwatch(generator)
        generator.sample = watch.sample
        request.open_generator = lambda *_, **__: generator  # opened once, outside of what is timed

        def make(folder: str, per_class: int = PER_CLASS) -> Recipe:
            options = {"sampling": SAMPLING, "shard_size": 200}
            return generate("diffusers", weights, work / folder, per_class=per_class, **options).recipe

        make("warm", 10)
        recipe = make("set")
        variants = {
            "sampler alone": lambda turn: sample_alone(generator, recipe),
            "generate": lambda turn: make(f"set-{turn}"),
        }
        times: dict[str, list[tuple[float, float]]] = {name: [] for name in variants}
        for turn in range(ROUNDS):
            for name in sorted(variants, reverse=turn % 2 == 0):  # each goes first in turn
                times[name].append(watch.time(lambda name=name, turn=turn: variants[name](turn)))
    report(times)


def report(times: dict[str, list[tuple[float, float]]]) -> None:
    alone, whole = times["sampler alone"], times["generate"]
    samples = PER_CLASS * CLASSES
    speeds = {name: statistics.median(samples / passed for passed, _ in values) for name, values in times.items()}
    ratios = [before[0] / after[0] for before, after in zip(alone, whole, strict=True)]
    share = sum(sampling for _, sampling in whole) / sum(passed for passed, _ in whole)
    for name, speed in speeds.items():
        print(f"{name:28}{speed:>8.1f} images/s")
    print(f"{'ratio':28}{statistics.median(ratios):>8.3f} of {', '.join(f'{ratio:.3f}' for ratio in ratios)}")
    print(f"{'sampling, of generate':28}{share:>8.3f} of its time")
    result = {name: {"images_per_s": speed} for name, speed in speeds.items()}
    result |= {"ratio": statistics.median(ratios), "ratios": ratios, "sampling_share": share}
    print(json.dumps({**result, "images": samples, "threads": torch.get_num_threads()}))


if __name__ == "__main__":
    main()
