"""How much of the sampler's speed `generate` keeps: encoding, hashing, writing, flushing, preview and card included.

Run by `make bench`. Goal: at least 0.95 on two cores with a 32x32 model. Both variants draw the same images with the
same open generator; the sampler alone throws them away. The weights are random, so the images are nearly noise, which
takes PNG longest. OMP_NUM_THREADS sets torch's threads, by default one for each core.
"""

import json
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import torch
from small_unet import CLASSES, save_unet

from sio_data import generate, request
from sio_data.generator import Generator, open_generator
from sio_data.plan import Plan
from sio_data.recipe import Recipe

ROUNDS = 5
PER_CLASS = 90
CHANNELS = (16, 32)
SAMPLING = {"steps": "4"}


def seconds(work: Callable[[], object]) -> tuple[float, float]:
    """Give the time that passed and the time that all threads of this process computed."""
    started, computed = time.perf_counter(), time.process_time()
    work()
    return time.perf_counter() - started, time.process_time() - computed


def sample_alone(generator: Generator, recipe: Recipe) -> None:
    for shard in Plan(recipe):
        for cut in shard.batches(recipe.batch_size):
            generator.sample(torch.from_numpy(shard.labels[cut]), shard.seeds[cut].tolist())


def main() -> None:
    with tempfile.TemporaryDirectory() as name:
        work = Path(name)
        weights = save_unet(work / "weights", 32, CHANNELS)
        generator = open_generator("unet", weights, sampling=SAMPLING)
        request.open_generator = lambda *_, **__: generator  # opened once, outside of what is timed

        def make(folder: str, per_class: int = PER_CLASS) -> Recipe:
            options = {"sampling": SAMPLING, "shard_size": 300}
            return generate("unet", weights, work / folder, per_class=per_class, **options).recipe

        make("warm", 10)
        recipe = make("set")
        variants = {
            "sampler alone": lambda turn: sample_alone(generator, recipe),
            "generate": lambda turn: make(f"set-{turn}"),
        }
        times: dict[str, list[tuple[float, float]]] = {name: [] for name in variants}
        for turn in range(ROUNDS):
            for name in sorted(variants, reverse=turn % 2 == 0):  # each goes first in turn
                times[name].append(seconds(lambda name=name, turn=turn: variants[name](turn)))
    report(times)


def report(times: dict[str, list[tuple[float, float]]]) -> None:
    alone, whole = times["sampler alone"], times["generate"]
    samples = PER_CLASS * CLASSES
    speeds = {name: statistics.median(samples / passed for passed, _ in values) for name, values in times.items()}
    ratios = [before[0] / after[0] for before, after in zip(alone, whole, strict=True)]
    computed = sum(after[1] for after in whole) / sum(before[1] for before in alone)
    for name, speed in speeds.items():
        print(f"{name:28}{speed:>8.1f} images/s")
    print(f"{'ratio':28}{statistics.median(ratios):>8.3f} of {', '.join(f'{ratio:.3f}' for ratio in ratios)}")
    print(f"{'CPU time, generate : alone':28}{computed:>8.3f}")
    result = {name: {"images_per_s": speed} for name, speed in speeds.items()}
    result |= {"ratio": statistics.median(ratios), "ratios": ratios, "cpu_time_ratio": computed}
    print(json.dumps({**result, "images": samples, "threads": torch.get_num_threads()}))


if __name__ == "__main__":
    main()
