"""A set that is read from its shards while it is used."""

from collections.abc import Generator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import torch

from sio_data.class_maps import match_classes
from sio_data.errors import InputError
from sio_data.files import sha256_json
from sio_data.manifest import Manifest
from sio_data.plan import Integers
from sio_data.streaming.bad_samples import BadSamples
from sio_data.streaming.decoding import Decoded, decode_samples
from sio_data.streaming.held_shards import HeldShard
from sio_data.streaming.kept_shards import KeptShards
from sio_data.streaming.order import StreamOrder
from sio_data.streaming.reading import read_batches


@dataclass(frozen=True, eq=False)
class StreamedSet:
    """A set that is read from its shards while it is used; see `open_stream`.

    Attributes:
        name: What to call the set in messages.
        class_names: The class map.
        image_size: Height and width in pixels of the images that `read` gives.
        manifest: What the set holds and where it came from.
    """

    name: str
    class_names: tuple[str, ...]
    image_size: int
    manifest: Manifest
    _shards: KeptShards
    _workers: int
    _bad: BadSamples

    def __len__(self) -> int:
        return self.manifest.recipe.samples

    @property
    def digest(self) -> str:
        """SHA-256 that stands for all bytes of the set, and for the size of the images if it is not the set's own."""
        own = self.manifest.digest
        return own if self.image_size == self.manifest.recipe.image_size else sha256_json([own, self.image_size])

    @property
    def skipped(self) -> int:
        """How many different samples were found to be bad so far; others took their places."""
        return len(self._bad)

    def require_labels(self) -> "StreamedSet":
        """Give this set: each of its images has a label."""
        return self

    def with_class_names(self, class_names: Sequence[str]) -> "StreamedSet":
        """Give the same set with labels that are indices into another class map, matched by name.

        Args:
            class_names: The class map wanted; it may hold more classes than this set's.

        Raises:
            ClassMapError: This set has a class that is not in the map wanted.
        """
        match_classes(self.class_names, class_names, self.name)
        return replace(self, class_names=tuple(class_names))

    def read(self, places: Sequence[torch.Tensor], seed: int) -> Generator[Decoded]:
        """Read samples by their positions in an endless shuffled order: one permutation of the set after another.

        The order depends on the seed and on the list of shards alone. Shards are shuffled anew in each pass and fetched
        whole, in windows of up to 10,000 samples or 256 MiB (or one shard, if it is larger), and the samples of a
        window are shuffled. Only shards that hold a sample asked for are fetched, so that a start anywhere costs no
        more than the first window. At most two windows are in memory, as files, and a few decoded batches.

        The shards of a set of up to 256 MiB are fetched once and stay in memory, as files, as long as this object does;
        those of a larger set are fetched anew in every pass and by every call.

        Each shard's hash is checked. A bad sample is skipped: the next sound one of its shard takes its place, so that
        all other samples stay where they are.

        Args:
            places: int64 [n] each, ascending all through: the positions of the samples of each batch, from 0.
            seed: Same seed, same order.

        Returns:
            The batches: images, uint8 [n, 3, H, H], and labels, int64 [n]. They do not depend on the number of workers.
            When the iterator is used up, closed or dropped, its threads have ended.

        Raises:
            InputError: A position is negative, or smaller than one before it.
            CorruptSetError: While reading: a shard is missing, or more than `max_bad` samples are bad.
            SioDataError: While reading: a shard cannot be read, tried several times.
        """
        positions = torch.cat([torch.as_tensor([], dtype=torch.int64), *places]).numpy()
        _check_ascending(positions)
        runs = StreamOrder(self.manifest.shards, seed).runs(positions)
        return read_batches(runs, [len(batch) for batch in places], self._shards.load, self._decode, self._workers)

    def _decode(self, picked: Sequence[tuple[HeldShard, int]]) -> Decoded:
        recipe = self.manifest.recipe
        images, labels = decode_samples(picked, recipe.image_size, self.image_size)
        return images, self._lookup[labels]

    @cached_property
    def _lookup(self) -> torch.Tensor:
        """For each label in the shards, the one in the class map."""
        return torch.tensor(match_classes(self.manifest.recipe.class_names, self.class_names, self.name))


def _check_ascending(positions: Integers) -> None:
    if len(positions) and (positions[0] < 0 or (np.diff(positions) < 0).any()):
        raise InputError("the places to read must ascend, from 0 on.")
