import dataclasses

import numpy as np
import torch

from sio_data.plan import Plan
from sio_data.recipe import Recipe


def test_every_class_comes_as_often_as_asked(recipe: Recipe) -> None:
    labels = np.concatenate([shard.labels for shard in Plan(recipe)])
    assert np.bincount(labels).tolist() == [5, 5, 5]


def test_any_prefix_of_shards_is_balanced_to_within_one_image(recipe: Recipe) -> None:
    plan = Plan(dataclasses.replace(recipe, per_class=20))
    for end in range(1, len(plan) + 1):
        counts = np.bincount(np.concatenate([plan[index].labels for index in range(end)]), minlength=3)
        assert counts.max() - counts.min() <= 1


def test_shards_join_without_gap_or_overlap(recipe: Recipe) -> None:
    plan = Plan(recipe)
    shards = list(plan)
    assert [shard.start for shard in shards] == [0, 4, 8, 12]
    assert [len(shard) for shard in shards] == [4, 4, 4, 3]
    assert plan.paths()[:2] == ["data/train-000000.tar", "data/train-000001.tar"]


def test_labels_and_seeds_do_not_depend_on_the_cut_in_shards(recipe: Recipe) -> None:
    other = Plan(dataclasses.replace(recipe, shard_size=7, batch_size=2))
    for name in ("labels", "seeds"):
        one = np.concatenate([getattr(shard, name) for shard in Plan(recipe)])
        two = np.concatenate([getattr(shard, name) for shard in other])
        assert np.array_equal(one, two)


def test_seeds_differ_in_the_32_bits_that_torch_uses(recipe: Recipe) -> None:
    plan = Plan(dataclasses.replace(recipe, per_class=10**6))
    seeds = plan.seeds(np.arange(3 * 10**6))
    assert len(np.unique(seeds % 2**32)) == 3 * 10**6
    assert seeds.min() >= 0
    low, high = (torch.Generator().manual_seed(seed).initial_seed() for seed in (7, 7 + 2**32))
    assert low != high
    noise = [torch.randn(4, generator=torch.Generator().manual_seed(seed)) for seed in (7, 7 + 2**32)]
    assert torch.equal(*noise)  # the reason for all this; if it fails, torch has begun to use 64 bits


def test_every_seed_has_an_odd_stride_so_that_no_value_comes_twice(recipe: Recipe) -> None:
    for seed in range(20):
        first, second = Plan(dataclasses.replace(recipe, seed=seed)).seeds(np.arange(2))
        assert (second - first) % 2 == 1


def test_another_seed_gives_other_seeds(recipe: Recipe) -> None:
    one, two = (Plan(dataclasses.replace(recipe, seed=seed)).seeds(np.arange(1000)) for seed in (0, 1))
    assert len(np.intersect1d(one, two)) < 5


def test_a_shard_is_a_function_of_recipe_and_index(recipe: Recipe) -> None:
    assert np.array_equal(Plan(recipe)[2].seeds, list(Plan(recipe))[2].seeds)
    assert Plan(recipe)[0].seeds.tolist() == [int(Plan(recipe).seeds(index)) for index in range(4)]
