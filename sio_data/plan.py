"""Recipe -> the label and the seed of every sample, cut in shards. A pure function of the recipe."""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import overload

import numpy as np
import numpy.typing as npt

from sio_data.layout import Layout
from sio_data.recipe import Recipe

Integers = npt.NDArray[np.int64]


@dataclass(frozen=True)
class ShardPlan:
    """What one shard holds.

    Attributes:
        index: Which shard it is, from 0.
        start: Index of its first sample in the whole set.
        labels: int64 [n], indices into the recipe's class names.
        seeds: int64 [n], each in [0, 2**32), no two alike in the whole set.
    """

    index: int
    start: int
    labels: Integers
    seeds: Integers

    def __len__(self) -> int:
        return len(self.labels)

    def first(self, count: int) -> "ShardPlan":
        """Give a plan of its first samples alone."""
        return replace(self, labels=self.labels[:count], seeds=self.seeds[:count])

    def batches(self, size: int) -> Iterator[slice]:
        """Cut the shard in batches of `size`; the last one may be smaller."""
        for start in range(0, len(self), size):
            yield slice(start, start + size)


class Plan(Layout[Recipe]):
    """All shards of a recipe; each is worked out when it is asked for, from (recipe, index) alone.

    Sample i has class i modulo the number of classes, so that every shard is balanced to within one image and any
    prefix of the shards is a usable set.
    """

    def __init__(self, recipe: Recipe) -> None:
        super().__init__(recipe)
        self._offset, self._stride = _seed_sequence(recipe.seed)

    def __iter__(self) -> Iterator[ShardPlan]:
        return (self[index] for index in range(len(self)))

    def __getitem__(self, index: int) -> ShardPlan:
        if not 0 <= index < len(self):
            raise IndexError(f"shard {index} of {len(self)}")
        start = self.start(index)
        samples = np.arange(start, start + self.size(index), dtype=np.int64)
        return ShardPlan(index, start, self.labels(samples), self.seeds(samples))

    @overload
    def labels(self, samples: int) -> int: ...
    @overload
    def labels(self, samples: Integers) -> Integers: ...
    def labels(self, samples: int | Integers) -> int | Integers:
        """Give the labels of samples, by their index in the set."""
        return samples % len(self.recipe.class_names)

    @overload
    def seeds(self, samples: int, attempt: int = 0) -> int: ...
    @overload
    def seeds(self, samples: Integers, attempt: int | Integers = 0) -> Integers: ...
    def seeds(self, samples: int | Integers, attempt: int | Integers = 0) -> int | Integers:
        """Give the seeds of samples, by their index in the set.

        torch's CPU generator uses only the lower 32 bits of a seed: seeds drawn at random from 2**63 would give
        about 100 pairs of identical noise in a million samples. An odd stride modulo 2**32 visits each value once.

        Args:
            samples: Their indices.
            attempt: How many draws of the sample were refused before; below `attempts`.
        """
        return (self._offset + (samples + attempt * self.recipe.samples) * self._stride) % 2**32

    @property
    def attempts(self) -> int:
        """How many seeds each sample has for itself alone."""
        return int(2**32 // self.recipe.samples)

    def sample_of(self, seed: int) -> int | None:
        """Give the index of the sample that a seed belongs to, or None if it belongs to none."""
        place = (seed - self._offset) * pow(self._stride, -1, 2**32) % 2**32
        return place % self.recipe.samples if place < self.attempts * self.recipe.samples else None


def _seed_sequence(seed: int) -> tuple[int, int]:
    digest = hashlib.sha256(f"sio-data/{seed}".encode()).digest()
    return int.from_bytes(digest[:4], "big"), int.from_bytes(digest[4:8], "big") | 1
