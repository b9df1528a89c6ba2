import dataclasses

import pytest

from sio_data.errors import InputError
from sio_data.recipe import Recipe


def test_json_round_trip_keeps_the_hash(recipe: Recipe) -> None:
    again = Recipe.from_json(recipe.to_json())
    assert again == recipe
    assert again.hash == recipe.hash


def test_hash_of_a_recipe_never_changes() -> None:
    recipe = Recipe("unet", "abc", ("cat", "dog"), per_class=2, image_size=8, sampling={"steps": 20})
    assert recipe.hash == "4d606960cdb284e037a3440362f8e6df6737d5046f17357106fd47403dc73034"


@pytest.mark.parametrize(
    "change",
    [
        {"generator": "biggan"},
        {"revision": "abd"},
        {"class_names": ("cat", "owl", "dog")},
        {"per_class": 6},
        {"image_size": 8},
        {"sampling": {"steps": 1}},
        {"seed": 1},
        {"image_format": "webp"},
        {"shard_size": 5},
        {"batch_size": 4},
    ],
)
def test_every_field_changes_the_hash(recipe: Recipe, change: dict[str, object]) -> None:
    assert dataclasses.replace(recipe, **change).hash != recipe.hash


def test_order_of_sampling_options_does_not_matter(recipe: Recipe) -> None:
    first = dataclasses.replace(recipe, sampling={"a": 1, "b": 2})
    second = dataclasses.replace(recipe, sampling={"b": 2, "a": 1})
    assert first.hash == second.hash


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"per_class": 0}, "per_class must be at least 1"),
        ({"image_size": 0}, "image_size"),
        ({"shard_size": 0}, "shard_size"),
        ({"batch_size": -1}, "batch_size"),
        ({"seed": -1}, "seed"),
        ({"seed": 2**63}, "seed"),
        ({"class_names": ()}, "class names"),
        ({"class_names": ("cat", "cat")}, "class names"),
        ({"image_format": "gif"}, "gif"),
        ({"per_class": 10**9}, "more than"),
        ({"per_class": 10**6, "shard_size": 1}, "give a larger shard_size"),
        ({"image_size": 10**6}, "image_size must be at most"),
        ({"sampling": {"x": float("nan")}}, "sampling options"),
        ({"sampling": {"x": [1]}}, "sampling options"),
    ],
)
def test_values_out_of_range_are_refused(recipe: Recipe, change: dict[str, object], message: str) -> None:
    with pytest.raises(InputError, match=message):
        dataclasses.replace(recipe, **change)


@pytest.mark.parametrize(
    "damage",
    [
        None,
        [],
        {},
        {"per_class": "5"},
        {"per_class": True},
        {"class_names": [1]},
        {"strange": 1},
    ],
)
def test_damaged_json_is_refused(recipe: Recipe, damage: object) -> None:
    value = {**recipe.to_json(), **damage} if isinstance(damage, dict) and damage else damage
    with pytest.raises(InputError):
        Recipe.from_json(value)
