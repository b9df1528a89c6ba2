"""Make samples of a set again, from their metadata alone."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path

import numpy as np

from sio_data.engines.drawing import Drawer, channels_last
from sio_data.errors import InputError
from sio_data.generator import Generator
from sio_data.images import Pixels, decode, encode
from sio_data.manifest import Manifest
from sio_data.plan import Plan
from sio_data.progress import progress
from sio_data.recipe import Recipe
from sio_data.request import Request
from sio_data.sets import SyntheticSet, open_set
from sio_data.shards import Sample, read_shard

_LARGEST_MEAN_DIFFERENCE = 1.0
_MAX_DIGITS = 100  # of a key; int() refuses thousands


@dataclass(frozen=True)
class Comparison:
    """How samples that were made again compare to the stored ones.

    Attributes:
        samples: How many were made.
        identical: How many are the same in every value.
        largest: The largest difference of a value, from 0 to 255.
        different: Keys of those whose values differ by more than 1 on average: other pictures.
    """

    samples: int
    identical: int
    largest: int
    different: tuple[str, ...]


@dataclass(frozen=True)
class Regenerated:
    """One sample, stored and made again.

    Attributes:
        sample: As it is stored.
        class_name: Of the sample.
        image: As it was made now, uint8 [H, W, 3].
    """

    sample: Sample
    class_name: str
    image: Pixels

    @property
    def difference(self) -> Pixels:
        """How far each value is from the stored one."""
        difference: Pixels = np.abs(self.sample.image.astype(np.int16) - self.image).astype(np.uint8)
        return difference


def generated_recipe(manifest: Manifest) -> Recipe:
    """Give the recipe of a set that was generated.

    Raises:
        InputError: The set was compiled: no generator can make its samples again.
    """
    if isinstance(manifest.recipe, Recipe):
        return manifest.recipe
    raise InputError(
        f"no generator makes these samples again: they came from {manifest.origin.weights}. Delete what is damaged and "
        f"run this again, with the same --out: {manifest.origin.command}"
    )


def reopen_generator(
    manifest: Manifest, weights: str | None, sampling: Mapping[str, str] | None, device: str | None
) -> Generator:
    """Open the generator that made a set.

    Args:
        manifest: Of the set.
        weights: Where its weights are now; None takes what the set says.
        sampling: Options whose recorded value is no longer what the back end takes.
        device: Where to run.

    Raises:
        InputError: The weights are not found, or are not those that made the set.
    """
    recipe = generated_recipe(manifest)
    if weights is None and manifest.origin.weights.startswith("…/"):
        raise InputError(f"the set was made with {manifest.origin.weights}. Say where it is with --weights.")
    request = Request(
        generator=recipe.generator,
        weights=weights or manifest.origin.weights,
        per_class=recipe.per_class,
        classes=recipe.class_names,
        image_size=recipe.image_size,
        sampling={name: str(value) for name, value in recipe.sampling.items()} | dict(sampling or {}),
        seed=recipe.seed,
        image_format=recipe.image_format,
        shard_size=recipe.shard_size,
        batch_size=recipe.batch_size,
    )
    return request.open_same(recipe, device)


def regenerate(
    folder: str | Path,
    key: str | int,
    *,
    weights: str | None = None,
    sampling: Mapping[str, str] | None = None,
    device: str | None = None,
) -> Regenerated:
    """Make one sample of a set again.

    Args:
        folder: The set's folder or URL.
        key: Of the sample: its index, with or without leading zeros.
        weights: Where the generator's weights are; None takes what the set says.
        sampling: Options of the back end whose recorded value is no longer what it takes, like a classifier's folder.
        device: Where to run.

    Raises:
        InputError: There is no such sample, or the generator cannot be opened.
        CorruptSetError: The sample's shard is damaged.
    """
    synthetic = open_set(folder)
    total = synthetic.manifest.recipe.samples
    if not str(key).isdecimal() or len(str(key)) > _MAX_DIGITS or int(key) >= total:
        raise InputError(f"{folder} has no sample {key!r}: its keys go from 0 to {total - 1}.")
    generator = reopen_generator(synthetic.manifest, weights, sampling, device)
    return next(_make_again(synthetic, generator, [int(key)]))


def compare_samples(
    synthetic: SyntheticSet,
    count: int,
    weights: str | None,
    sampling: Mapping[str, str] | None,
    device: str | None,
) -> Comparison:
    """Make samples again that are spread evenly over a set, and compare them to the stored ones.

    Raises:
        InputError: The generator cannot be opened.
    """
    total = synthetic.manifest.recipe.samples
    generator = reopen_generator(synthetic.manifest, weights, sampling, device)
    count = min(count, total)
    indices = [place * total // count for place in range(count)]
    made = []
    with progress("making again", len(indices)) as advance:
        for one in _make_again(synthetic, generator, indices):
            made.append(one)
            advance(1, "")
    return Comparison(
        samples=len(made),
        identical=sum(not one.difference.any() for one in made),
        largest=max(int(one.difference.max()) for one in made),
        different=tuple(one.sample.key for one in made if one.difference.mean() > _LARGEST_MEAN_DIFFERENCE),
    )


def _make_again(synthetic: SyntheticSet, generator: Generator, indices: Sequence[int]) -> Iterator[Regenerated]:
    """Make samples again, one by one; each shard is read once. The indices ascend."""
    recipe = generated_recipe(synthetic.manifest)
    drawer = Drawer(Plan(recipe), generator)
    for shard, wanted in groupby(indices, lambda index: index // recipe.shard_size):
        chosen = {*wanted}
        for sample in read_shard(synthetic.folder, synthetic.manifest.shards[shard], recipe):
            if sample.index in chosen:
                own_label = drawer.own_labels(np.array([sample.index]))
                drawn = channels_last(drawer.sample(own_label, np.array([sample.metadata["seed"]])))
                image = decode(encode(drawn, recipe.image_format)[0], recipe.image_size)
                yield Regenerated(sample, recipe.class_names[sample.label], image)
