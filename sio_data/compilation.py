"""What a set holds that was not generated but compiled: imported from files, or chosen from another set."""

import math
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from functools import cached_property
from types import MappingProxyType
from typing import Any, Literal, TypeAlias, cast

from sio_data.errors import InputError
from sio_data.files import sha256_json
from sio_data.images import IMAGE_FORMATS
from sio_data.recipe import MAX_IMAGE_SIZE, MAX_SAMPLES, MAX_SHARDS, Option, Recipe, check_class_names

Kind = Literal["import", "filter"]

DROPPED = "dropped.csv"
"""What a filtered set calls its list of what was dropped; the rule holds its SHA-256 under this name."""

_KINDS = ("import", "filter")
_SHA256 = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True)
class SourceFile:
    """Something that a set was compiled from.

    Attributes:
        name: Of a file, without the folder it lay in; or of another set.
        sha256: Of the file; of a set, its digest.
    """

    name: str
    sha256: str


@dataclass(frozen=True)
class Compilation:
    """All that decides what a compiled set holds; it takes the place of a recipe.

    Attributes:
        kind: The command that compiled it.
        sources: What it was compiled from.
        rule: How the sources were read, put in order and chosen from.
        order: SHA-256 of the chosen places in the sources, in the order of the set.
        class_names: The class map; a label is an index into it.
        counts: Images of each class.
        image_size: Height and width in pixels.
        image_format: `png`, `webp` (both lossless) or `jpg`.
        shard_size: Samples in a shard; the last one may hold fewer.
        parent: What the set that it was chosen from holds; None if it was imported.

    Raises:
        InputError: A field is out of its range.
    """

    kind: Kind
    sources: tuple[SourceFile, ...]
    rule: Mapping[str, Option]
    order: str
    class_names: tuple[str, ...]
    counts: tuple[int, ...]
    image_size: int
    image_format: str = "png"
    shard_size: int = 1000
    parent: "SetRecipe | None" = None

    def __post_init__(self) -> None:
        for name in ("sources", "class_names", "counts"):
            object.__setattr__(self, name, tuple(getattr(self, name)))
        object.__setattr__(self, "rule", MappingProxyType(dict(self.rule)))
        if self.kind not in _KINDS:
            raise InputError(f"kind {self.kind!r} is none of {', '.join(_KINDS)}.")
        if (self.kind == "filter") != (self.parent is not None):
            raise InputError("a set has a parent if it was chosen from one, and only then.")
        if not self.sources or not all(_SHA256.fullmatch(source.sha256) for source in self.sources):
            raise InputError("a compiled set needs sources, each with its SHA-256.")
        if not _SHA256.fullmatch(self.order):
            raise InputError(f"order must be a SHA-256, not {self.order!r}.")
        if not all(isinstance(value, str | int) or math.isfinite(value) for value in self.rule.values()):
            raise InputError(f"rules must be texts or finite numbers, not {dict(self.rule)}.")
        check_class_names(self.class_names)
        if len(self.counts) != len(self.class_names) or min(self.counts) < 0 or not self.samples:
            raise InputError("each class needs a count of images, from 0 on, and not all may be 0.")
        if not 1 <= self.image_size <= MAX_IMAGE_SIZE:
            raise InputError(f"image_size must be from 1 to {MAX_IMAGE_SIZE}, not {self.image_size}.")
        if self.shard_size < 1 or self.shards > MAX_SHARDS:
            raise InputError(f"shard_size {self.shard_size} is below 1, or makes more than {MAX_SHARDS:,} shards.")
        if self.samples > MAX_SAMPLES:
            raise InputError(f"{self.samples:,} samples are more than the {MAX_SAMPLES:,} that one set can hold.")
        if self.image_format not in IMAGE_FORMATS:
            raise InputError(f"image format {self.image_format!r} is none of {', '.join(IMAGE_FORMATS)}.")

    @property
    def samples(self) -> int:
        """How many samples the set holds."""
        return sum(self.counts)

    @property
    def shards(self) -> int:
        """In how many shards they lie."""
        return -(-self.samples // self.shard_size)

    @cached_property
    def hash(self) -> str:
        """SHA-256 of the canonical JSON."""
        return sha256_json(self.to_json())

    def to_json(self) -> dict[str, Any]:
        """Give the compilation as a JSON object."""
        return {
            **{item.name: getattr(self, item.name) for item in fields(self)},
            "sources": [asdict(source) for source in self.sources],
            "rule": dict(self.rule),
            "class_names": list(self.class_names),
            "counts": list(self.counts),
            "parent": self.parent and self.parent.to_json(),
        }

    @classmethod
    def from_json(cls, value: object) -> "Compilation":
        """Read a compilation from a JSON object.

        Raises:
            InputError: It is not one.
        """
        if not isinstance(value, dict) or {*value} != {item.name for item in fields(cls)}:
            raise InputError("what the set was compiled from is not a JSON object with the fields that are due.")
        texts = [value["kind"], value["order"], value["image_format"]]
        lists: list[Any] = [value["sources"], value["class_names"], value["counts"]]
        sound = (
            all(isinstance(item, str) for item in texts)
            and all(isinstance(item, list) for item in lists)
            and all(isinstance(name, str) for name in value["class_names"])
            and all(type(number) is int for number in [*value["counts"], value["image_size"], value["shard_size"]])
            and isinstance(value["rule"], dict)
            and all(isinstance(option, str | int | float) for option in value["rule"].values())
            and all(
                isinstance(source, dict)
                and {*source} == {"name", "sha256"}
                and all(isinstance(text, str) for text in source.values())
                for source in value["sources"]
            )
        )
        if not sound:
            raise InputError("a field of what the set was compiled from has the wrong type.")
        sources = tuple(SourceFile(**source) for source in value["sources"])
        parent = None if value["parent"] is None else read_set_recipe(value["parent"])
        return cls(**{**value, "sources": sources, "parent": parent})


SetRecipe: TypeAlias = Recipe | Compilation
"""What a set holds: generated, or compiled."""


def generated_recipe(recipe: SetRecipe) -> Recipe | None:
    """Give the recipe that samples were generated by: their set's own, or that of the set they were chosen from.

    Returns:
        None if they were imported.
    """
    found: SetRecipe | None = recipe
    while isinstance(found, Compilation):
        found = found.parent
    return found


def read_set_recipe(value: object) -> SetRecipe:
    """Read a recipe or a compilation from a JSON object.

    Raises:
        InputError: It is neither.
    """
    if isinstance(value, dict) and "kind" in value:
        return Compilation.from_json(cast("dict[str, Any]", value))
    return Recipe.from_json(value)
