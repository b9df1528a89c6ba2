"""Draw the samples of one shard, and draw again those that the generator refuses."""

from collections import deque
from collections.abc import Iterator
from pathlib import Path
from typing import cast

import numpy as np
import torch

from sio_data.engines.job import ShardJob
from sio_data.errors import SioDataError
from sio_data.generator import Generator, JudgingGenerator
from sio_data.images import Pixels
from sio_data.plan import Integers, Plan, ShardPlan
from sio_data.shards import Batch

_MEMORY_WORDS = ("out of memory", "can't allocate memory")


class Drawer:
    """Draws shards of a plan with a generator.

    Args:
        plan: Which label and which seeds each sample has.
        generator: Makes the images.
    """

    def __init__(self, plan: Plan, generator: Generator) -> None:
        self._plan, self._generator = plan, generator
        places: dict[str, list[int]] = {}
        for place, name in enumerate(generator.class_names):
            places.setdefault(name, []).append(place)
        self._places = [places[name] for name in plan.recipe.class_names]

    def draw(self, shard: ShardPlan) -> Iterator[Batch]:
        """Draw the samples of a shard in order.

        Raises:
            SioDataError: The generator refused too many draws in a row, gave something else than images, or the batch
                does not fit in memory.
        """
        samples = np.arange(shard.start, shard.start + len(shard), dtype=np.int64)
        batches = [samples[cut] for cut in shard.batches(self._plan.recipe.batch_size)]
        if not hasattr(self._generator, "judge"):
            for batch in batches:
                seeds = self._plan.seeds(batch)
                images = channels_last(self.sample(self.own_labels(batch), seeds))
                yield self.batch(batch, images, seeds, len(batch))
        else:
            judging = cast("JudgingGenerator", self._generator)
            for batch in batches if judging.conditional else [samples]:
                yield _Selection(self, judging, batch).fill()

    def batch(self, samples: Integers, images: Pixels, seeds: Integers, draws: int) -> Batch:
        """Put together what was drawn for samples, by their index in the set."""
        return Batch(images, self._plan.labels(samples), [{"seed": seed} for seed in seeds.tolist()], draws)

    def own_labels(self, samples: Integers) -> Integers:
        """Give the generator's own labels of samples; several places of one name take turns."""
        turns = samples // len(self._places)
        labels = self._plan.labels(samples)
        return np.array(
            [self._places[label][turn % len(self._places[label])] for label, turn in zip(labels, turns, strict=True)]
        )

    def sample(self, own_labels: Integers, seeds: Integers) -> torch.Tensor:
        """Let the generator make images, and check that it made what it should.

        Returns:
            uint8 [B, 3, H, W].
        """
        recipe = self._plan.recipe
        try:
            images = self._generator.sample(torch.from_numpy(own_labels), seeds.tolist())
        except (torch.OutOfMemoryError, RuntimeError) as error:
            if not any(word in str(error) for word in _MEMORY_WORDS):
                raise
            raise SioDataError(
                f"a batch of {len(seeds)} does not fit in memory. Try --batch-size {max(1, recipe.batch_size // 2)}, "
                "in a new folder if this one holds shards already."
            ) from error
        expected = (len(seeds), 3, recipe.image_size, recipe.image_size)
        if images.dtype != torch.uint8 or tuple(images.shape) != expected:
            raise SioDataError(
                f"generator {recipe.generator!r} gave {images.dtype} {tuple(images.shape)} "
                f"where uint8 {expected} was due."
            )
        return images


class _Selection:
    """Draws until each of some samples has an image that the generator accepts as one of its class."""

    def __init__(self, drawer: Drawer, generator: JudgingGenerator, samples: Integers) -> None:
        self._drawer, self._generator, self._samples = drawer, generator, samples
        self._plan = drawer._plan
        size = self._plan.recipe.image_size
        self._images: Pixels = np.empty((len(samples), size, size, 3), np.uint8)
        self._seeds = np.zeros(len(samples), np.int64)
        self._own = drawer.own_labels(samples)
        self._attempts = np.zeros(len(samples), np.int64)
        self._open: dict[int, deque[int]] = {}
        for slot, own in enumerate(self._own.tolist()):
            self._open.setdefault(own, deque()).append(slot)

    def fill(self) -> Batch:
        draws = barren = 0
        while candidates := self._candidates():
            slots = np.array(candidates)
            seeds = self._next_seeds(slots)
            images = self._drawer.sample(self._own[slots], seeds)
            shown = self._generator.judge(images, torch.from_numpy(self._own[slots])).tolist()
            for image, seed, slot, label in zip(channels_last(images), seeds, candidates, shown, strict=True):
                barren = 0 if self._take(image, seed, slot, label) else barren + 1
            draws += len(slots)
            if barren > self._generator.patience:
                raise SioDataError(f"{barren} draws in a row gave nothing usable{self._missing()}. {self._explain()}")
        return self._drawer.batch(self._samples, self._images, self._seeds, draws)

    def _candidates(self) -> list[int]:
        """List the samples to draw for now: a whole batch if any draw can serve any sample of its class."""
        waiting = sorted(slot for slots in self._open.values() for slot in slots)
        size = self._plan.recipe.batch_size
        if self._generator.conditional or not waiting:
            return waiting[:size]
        return (waiting * -(-size // len(waiting)))[:size]

    def _next_seeds(self, slots: Integers) -> Integers:
        attempts = np.empty(len(slots), np.int64)
        for place, slot in enumerate(slots):
            attempts[place] = self._attempts[slot]
            self._attempts[slot] += 1
        if attempts.max() >= self._plan.attempts:
            raise SioDataError(f"no seeds are left for further draws{self._missing()}. {self._explain()}")
        return self._plan.seeds(self._samples[slots], attempts)

    def _take(self, image: Pixels, seed: int, slot: int, label: int) -> bool:
        """Give an image to the sample it was drawn for, or to the first open one of its class."""
        waiting = self._open.get(label)
        if not waiting or (self._generator.conditional and slot not in waiting):
            return False
        taken = slot if slot in waiting else waiting[0]
        waiting.remove(taken)
        self._images[taken], self._seeds[taken] = image, seed
        return True

    def _missing(self) -> str:
        names = {self._generator.class_names[label] for label, slots in self._open.items() if slots}
        return f" for {', '.join(sorted(names)[:5])}"

    def _explain(self) -> str:
        return self._generator.explain()


def drawing_job(folder: Path, plan: Plan, generator: Generator) -> ShardJob:
    """Give the job of a set whose shards a generator draws."""
    drawer = Drawer(plan, generator)
    return ShardJob(folder, plan, lambda index: drawer.draw(plan[index]))


def channels_last(images: torch.Tensor) -> Pixels:
    """Turn uint8 [B, 3, H, W] on any device into uint8 [B, H, W, 3]."""
    pixels: Pixels = images.permute(0, 2, 3, 1).contiguous().cpu().numpy()
    return pixels
