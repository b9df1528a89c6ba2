"""How much of the bare model step's speed a whole training keeps.

Run by `make bench`. Goal: at least 0.95 with ResNet-18 at 32x32. The bare step is forward, objective, backward and
update on one batch that lies in memory as floats already. The training mixes its batches (alpha 0.8) from uint8 images
in memory, or streams both sets from their shards; it crops and mirrors them, judges a validation split of 1/50 after
each epoch, keeps a log, and saves its state. Epochs are short, so that what comes once an epoch weighs more than in
CIFAR's 391 steps.

The bare step is made after each update of the training, so that both meet the machine in the same state, and its time
is taken off the training's. The ratio is the share of the training's time that passes inside its updates, times the
median over the steps of the bare step's seconds to the update's: all that a training does beside is counted in full.
"""

import json
import math
import statistics
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

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
ROUNDS = 1
VAL_SHARE = 50  # one validation image to so many real ones
SIZE, CLASSES = 32, 10
CPU = torch.device("cpu")


class Round(NamedTuple):
    """The seconds of a training without its bare steps, of each of its updates, and of each bare step."""

    seconds: float
    updates: list[float]
    bare: list[float]


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


CASES = (Case("resnet18-32", images=1024, epochs=1), Case("convnet", images=1280, epochs=2))


class Stopwatch:
    """Notes the seconds of each `Learner.update`, and of a bare step after it."""

    def __init__(self) -> None:
        self._update, self._bare = Learner.update, lambda: None
        self._round = Round(0.0, [], [])

    def update(self, learner: Learner, batch: TrainingBatch, rate: float) -> torch.Tensor:
        started = time.perf_counter()
        loss = self._update(learner, batch, rate)
        updated = time.perf_counter()
        self._bare()
        self._round.updates.append(updated - started)
        self._round.bare.append(time.perf_counter() - updated)
        return loss

    def time(self, work: Callable[[], object], bare: "BareStep") -> Round:
        """Time some work that makes updates."""
        self._bare, self._round = lambda: self._update(bare.learner, bare.batch, bare.rate), Round(0.0, [], [])
        started = time.perf_counter()
        work()
        passed = time.perf_counter() - started - sum(self._round.bare)
        return self._round._replace(seconds=passed)


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
        self.rate = settings.learning_rate
        self.learner = Learner(settings, *begin(settings, data, 0, CPU), Ranks())
        chosen = data.real.select(range(settings.batch_size))
        is_synthetic = torch.rand(settings.batch_size) > settings.alpha
        self.batch = TrainingBatch(chosen.images.float().div_(255), chosen.labels, is_synthetic)

    def time_save(self, path: Path) -> float:
        """Give the seconds that it takes to write the state of a training: weights, momentum and best weights."""
        best = {f"best.{name}": value.clone() for name, value in self.learner.classifier.state_dict().items()}
        started = time.perf_counter()
        write_state(path, Position(), self.learner.tensors() | best)
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

    rounds: dict[str, list[Round]] = {"memory": [], "stream": []}
    watch.time(lambda: train(held), bare)
    for _ in range(ROUNDS):
        for name, data in (("memory", held), ("stream", streamed)):
            rounds[name].append(watch.time(lambda data=data: train(data), bare))
    return rounds, statistics.median(bare.time_save(work / "state") for _ in range(ROUNDS))


def summarise(case: Case, rounds: dict[str, list[Round]], save: float) -> dict[str, dict[str, float]]:
    rows = {}
    for name, taken in rounds.items():
        passed = sum(one.seconds for one in taken) * (1 + save / SAVE_SECONDS)  # a save in each minute of training
        share = sum(sum(one.updates) for one in taken) / passed
        slower = [bare / update for one in taken for bare, update in zip(one.bare, one.updates, strict=True)]
        rows[name] = {
            "images_per_s": len(taken) * case.steps * case.settings.batch_size / passed,
            "ratio": share * statistics.median(slower),
            "share_in_updates": share,
            "save_s": save,
        }
    return rows


def main() -> None:
    results, watch = {}, Stopwatch()
    Learner.update = lambda learner, batch, rate: watch.update(learner, batch, rate)  # type: ignore[method-assign]
    with tempfile.TemporaryDirectory() as name:
        for case in CASES:
            results[case.network] = summarise(case, *measure(case, Path(name), watch))
    print(f"batches of 128, {ROUNDS} round, {torch.get_num_threads()} threads; goal: a ratio of {GOAL}")
    print(f"{'':26}{'images/s':>10}{'of bare step':>14}{'share in updates':>18}{'a save, s':>11}")
    for network, rows in results.items():
        for variant, row in rows.items():
            speed, ratio, share, save = row.values()
            print(f"{network + ', ' + variant:26}{speed:>10,.1f}{ratio:>14.3f}{share:>18.3f}{save:>11.2f}")
    print(json.dumps(results))


if __name__ == "__main__":
    main()
