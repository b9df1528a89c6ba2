"""What to generate, as frozen data. Its hash names the result."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from functools import cached_property
from types import MappingProxyType
from typing import Any

from sio_data.errors import InputError
from sio_data.files import sha256_json
from sio_data.images import IMAGE_FORMATS

MAX_IMAGE_SIZE = 4096
MAX_SHARDS = 10**6  # their names have six digits
MAX_SAMPLES = 10**9  # keys have nine digits, and every sample needs a seed of its own out of 2**32

Option = str | int | float | bool


def check_class_names(names: Sequence[str]) -> None:
    """Refuse class names that no class map can have.

    Raises:
        InputError: There is none, two are alike, or one cannot be written as UTF-8.
    """
    if not names or len(set(names)) != len(names):
        raise InputError(f"class names must be there and differ: {', '.join(names) or 'none given'}.")
    for name in names:
        if not name.isprintable() and any("\ud800" <= sign <= "\udfff" for sign in name):
            raise InputError(f"class name {name!r} holds half a character; nothing can write it.")


@dataclass(frozen=True)
class Recipe:
    """All that decides what a synthetic set holds, and nothing else.

    Two recipes are the same if their hashes are. Where the weights lie, where the set goes, on which device and
    by how many workers it is made are no part of it.

    Attributes:
        generator: Name of the back end.
        revision: The weights: SHA-256 of local files, or the commit on the Hub.
        class_names: The class map of the set; a label is an index into it.
        per_class: Images of each class.
        image_size: Height and width in pixels.
        sampling: The back end's own options, resolved.
        seed: What all seeds of samples are derived from, from 0 to 2**63 - 1.
        image_format: `png`, `webp` (both lossless) or `jpg`.
        shard_size: Samples in a shard; the last one may hold fewer.
        batch_size: Samples made at once. It is part of the recipe because the last bit of a float may depend on it.

    Raises:
        InputError: A field is out of its range.
    """

    generator: str
    revision: str
    class_names: tuple[str, ...]
    per_class: int
    image_size: int
    sampling: Mapping[str, Option] = field(default_factory=dict)
    seed: int = 0
    image_format: str = "png"
    shard_size: int = 1000
    batch_size: int = 100

    def __post_init__(self) -> None:
        object.__setattr__(self, "class_names", tuple(self.class_names))
        object.__setattr__(self, "sampling", MappingProxyType(dict(self.sampling)))
        for name in ("per_class", "image_size", "shard_size", "batch_size"):
            if getattr(self, name) < 1:
                raise InputError(f"{name} must be at least 1, not {getattr(self, name)}.")
        if self.image_size > MAX_IMAGE_SIZE:
            raise InputError(f"image_size must be at most {MAX_IMAGE_SIZE}, not {self.image_size}.")
        if not all(
            isinstance(value, str | int) or (isinstance(value, float) and math.isfinite(value))
            for value in self.sampling.values()
        ):
            raise InputError(f"sampling options must be texts or numbers, not {dict(self.sampling)}.")
        if not 0 <= self.seed < 2**63:
            raise InputError(f"seed must be from 0 to 2**63 - 1, not {self.seed}.")
        check_class_names(self.class_names)
        if self.samples > MAX_SAMPLES:
            raise InputError(f"{self.samples:,} samples are more than the {MAX_SAMPLES:,} that one set can hold.")
        if self.shards > MAX_SHARDS:
            raise InputError(f"{self.shards:,} shards are more than {MAX_SHARDS:,}; give a larger shard_size.")
        if self.image_format not in IMAGE_FORMATS:
            raise InputError(f"image format {self.image_format!r} is none of {', '.join(IMAGE_FORMATS)}.")

    @property
    def samples(self) -> int:
        """How many samples the set holds."""
        return self.per_class * len(self.class_names)

    @property
    def counts(self) -> tuple[int, ...]:
        """Images of each class."""
        return (self.per_class,) * len(self.class_names)

    @property
    def shards(self) -> int:
        """In how many shards they lie."""
        return -(-self.samples // self.shard_size)

    @cached_property
    def hash(self) -> str:
        """SHA-256 of the canonical JSON."""
        return sha256_json(self.to_json())

    def to_json(self) -> dict[str, Any]:
        """Give the recipe as a JSON object."""
        return {
            **{item.name: getattr(self, item.name) for item in fields(self)},
            "class_names": list(self.class_names),
            "sampling": dict(self.sampling),
        }

    @classmethod
    def from_json(cls, value: object) -> "Recipe":
        """Read a recipe from a JSON object.

        Raises:
            InputError: It is not a recipe.
        """
        if not isinstance(value, dict):
            raise InputError("the recipe is not a JSON object.")
        types: dict[str, type | tuple[type, ...]] = {
            "generator": str,
            "revision": str,
            "class_names": list,
            "per_class": int,
            "image_size": int,
            "sampling": dict,
            "seed": int,
            "image_format": str,
            "shard_size": int,
            "batch_size": int,
        }
        if strange := {*types} ^ {*value}:
            raise InputError(f"the recipe lacks or does not know the field(s) {', '.join(sorted(strange))}.")
        for name, kind in types.items():
            if not isinstance(value[name], kind) or isinstance(value[name], bool):
                raise InputError(f"the recipe's {name} has the wrong type: {value[name]!r}.")
        if not all(isinstance(name, str) for name in value["class_names"]):
            raise InputError("the recipe's class names are not all text.")
        return cls(**value)
