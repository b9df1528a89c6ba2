"""How much of the bare model step's speed a whole training keeps.

Run by `make bench`. Goal: at least 0.95 with ResNet-18 at 32x32. The bare step is forward, objective, backward and
update on one batch that lies in memory as floats already. The training mixes its batches (alpha 0.8) from uint8 images
in memory, or streams both sets from their shards; it crops and mirrors them, judges a validation split of 1/50 after
each epoch, keeps a log, and saves its state. Epochs are short, so that what comes once an epoch weighs more than in
CIFAR's 391 steps, and states are saved twice as often as by default.

The rounds take turns. The ratio is the share of the training's own time that passes inside its updates, times how much
faster the bare step's updates are, each by the median: all that a training does beside is counted in full, and a
machine that is now slower, now faster from one minute to the next does not blur it.
"""

import json
import math
import statistics
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from sio_data import ImageSet, import_set
from sio_data.streaming import open_stream
from sio_data.training.beginning import TrainingData, begin
from sio_data.training.learner import Learner
from sio_data.training.loop import SAVE_SECONDS, train_run
from sio_data.training.methods.base import TrainingBatch
from sio_data.training.ranks import Ranks
from sio_data.training.settings import TrainingSettings
from sio_data.training.state import Position, write_state

GOAL = 0.95
ROUNDS = 3
VAL_SHARE = 50  # one validation image to so many real ones
SIZE, CLASSES = 32, 10
CPU = torch.device("cpu")

Round = tuple[float, list[float]]
"""The seconds of a round, and those of each of its updates."""


@dataclass(frozen=True)
class Case:
    """A network, and how long each of its rounds is."""

    network: str
    images: int
    epochs: int

    @property
    def settings(self) -> TrainingSettings:
        return TrainingSettings(
            network=self.network,
            alpha=0.8,
            epochs=self.epochs,
            learning_rate=0.01,  # random labels diverge at more
            augmentation="crop-flip",
            mean=(0.5, 0.5, 0.5),
            std=(0.25, 0.25, 0.25),
        )

    @property
    def steps(self) -> int:
        return self.epochs * -(-self.images // self.settings.batch_size)


CASES = (Case("resnet18-32", images=1024, epochs=1), Case("convnet", images=2560, epochs=2))


class Stopwatch:
    """Notes the seconds of each `Learner.update`."""

    def __init__(self) -> None:
        self._update, self._updates = Learner.update, [0.0]

    def update(self, learner: Learner, batch: TrainingBatch, rate: float) -> torch.Tensor:
        started = time.perf_counter()
        loss = self._update(learner, batch, rate)
        self._updates.append(time.perf_counter() - started)
        return loss

    def time(self, work: Callable[[], object]) -> Round:
        """Give the seconds that some work takes, and those of its updates."""
        started, self._updates = time.perf_counter(), []
        work()
        return time.perf_counter() - started, self._updates


def make_images(count: int, seed: int) -> ImageSet:
    generator = torch.Generator().manual_seed(seed)
    pixels = torch.randint(0, 256, (count, 3, SIZE, SIZE), dtype=torch.uint8, generator=generator)
    return ImageSet(pixels, torch.arange(count) % CLASSES, tuple(map(str, range(CLASSES))))


def make_set(images: ImageSet, folder: Path) -> str:
    """Write images as a set of shards."""
    np.savez(folder.with_suffix(".npz"), image=images.images.permute(0, 2, 3, 1).numpy(), label=images.labels.numpy())
    import_set(folder.with_suffix(".npz"), folder, licence="cc0-1.0")
    return str(folder)


class BareStep:
    """The update by itself, again and again on one batch."""

    def __init__(self, case: Case, data: TrainingData) -> None:
        settings = case.settings
        self._steps, self._rate = case.steps, settings.learning_rate
        self._learner = Learner(settings, *begin(settings, data, 0, CPU), Ranks())
        chosen = data.real.select(range(settings.batch_size))
        is_synthetic = torch.rand(settings.batch_size) > settings.alpha
        self._batch = TrainingBatch(chosen.images.float().div_(255), chosen.labels, is_synthetic)

    def run(self) -> None:
        for _ in range(self._steps):
            self._learner.update(self._batch, self._rate)

    def time_save(self, path: Path) -> float:
        """Give the seconds that it takes to write the state of a training: weights, momentum and best weights."""
        best = {f"best.{name}": value.clone() for name, value in self._learner.classifier.state_dict().items()}
        started = time.perf_counter()
        write_state(path, Position(), self._learner.tensors() | best)
        return time.perf_counter() - started


def measure(case: Case, work: Path, watch: Stopwatch) -> tuple[dict[str, list[Round]], float]:
    """Give the rounds of each variant, and the seconds of a save."""
    real, synthetic = make_images(case.images, 0), make_images(case.images, 1)
    val = make_images(case.images // VAL_SHARE, 2)
    held = TrainingData(real, val, synthetic)
    streamed = TrainingData(
        *(open_stream(make_set(real, work / f"{case.network}-real")), val),
        open_stream(make_set(synthetic, work / f"{case.network}-synthetic")),
    )
    bare = BareStep(case, held)

    def train(data: TrainingData) -> None:
        with tempfile.TemporaryDirectory(dir=work) as folder:
            train_run(case.settings, data, 0, CPU, folder=Path(folder), save_seconds=math.inf)

    variants = {"bare step": bare.run, "memory": lambda: train(held), "stream": lambda: train(streamed)}
    bare.run()
    times: dict[str, list[Round]] = {name: [] for name in variants}
    for turn in range(ROUNDS):
        for name in list(variants)[:: 1 if turn % 2 else -1]:
            times[name].append(watch.time(variants[name]))
    return times, statistics.median(bare.time_save(work / "state") for _ in range(ROUNDS))


def summarise(case: Case, times: dict[str, list[Round]], save: float) -> dict[str, dict[str, float]]:
    bare, rows = median_update(times["bare step"]), {}
    for name, rounds in times.items():
        saving = 0.0 if name == "bare step" else save / SAVE_SECONDS  # seconds of saving in each of training
        passed = sum(seconds for seconds, _ in rounds) * (1 + saving)
        share = sum(sum(updates) for _, updates in rounds) / passed
        rows[name] = {
            "images_per_s": len(rounds) * case.steps * case.settings.batch_size / passed,
            "ratio": share * bare / median_update(rounds),
            "share_in_updates": share,
            "save_s": save if saving else 0.0,
        }
    return rows


def median_update(rounds: list[Round]) -> float:
    return statistics.median(seconds for _, updates in rounds for seconds in updates)


def main() -> None:
    results, watch = {}, Stopwatch()
    Learner.update = lambda learner, batch, rate: watch.update(learner, batch, rate)  # type: ignore[method-assign]
    with tempfile.TemporaryDirectory() as name:
        for case in CASES:
            results[case.network] = summarise(case, *measure(case, Path(name), watch))
    print(f"batches of 128, {ROUNDS} rounds, {torch.get_num_threads()} threads; goal: a ratio of {GOAL}")
    print(f"{'':26}{'images/s':>10}{'of bare step':>14}{'share in updates':>18}{'a save, s':>11}")
    for network, rows in results.items():
        for variant, row in rows.items():
            speed, ratio, share, save = row.values()
            print(f"{network + ', ' + variant:26}{speed:>10,.1f}{ratio:>14.3f}{share:>18.3f}{save:>11.2f}")
    print(json.dumps(results))


if __name__ == "__main__":
    main()
