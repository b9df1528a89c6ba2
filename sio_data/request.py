"""What a user asks `generate` for, before the generator is opened; also as a YAML file."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any

import yaml

from sio_data.class_lists import expand_classes
from sio_data.commands import changed, command_line, shown_place
from sio_data.errors import InputError, SettingsMismatchError, UnknownNameError
from sio_data.generator import Generator, open_generator
from sio_data.manifest import Origin
from sio_data.recipe import Recipe


@dataclass(frozen=True)
class Request:
    """What to generate, in the user's words. With the generator opened it becomes a `Recipe`.

    Attributes:
        generator: Name of a back end.
        weights: A local folder or file, or a name on the Hub.
        per_class: Images of each class.
        classes: The set's class map, by name and in this order, or groups like `imagenet-10`; None means all classes
            of the generator.
        image_size: Height and width in pixels; None means the generator's own.
        sampling: Options of the back end, as text.
        seed: From 0 to 2**63 - 1.
        image_format: `png`, `webp` or `jpg`.
        shard_size: Samples in a shard.
        batch_size: Samples made at once.
    """

    generator: str
    weights: str
    per_class: int
    classes: Sequence[str] | None = None
    image_size: int | None = None
    sampling: Mapping[str, str] = field(default_factory=dict)
    seed: int = 0
    image_format: str = "png"
    shard_size: int = 1000
    batch_size: int = 100

    def open(self, device: str | None = None) -> tuple[Generator, Recipe]:
        """Open the generator and resolve everything that it decides.

        Args:
            device: Where it shall run; None means the best device at hand.

        Raises:
            UnknownNameError: No such generator or class.
            InputError: A value is out of range, or the generator cannot do what is asked.
        """
        classes = None if self.classes is None else expand_classes(self.classes)
        generator = open_generator(
            self.generator,
            self.weights,
            classes=classes,
            image_size=self.image_size,
            sampling=self.sampling,
            device=device,
        )
        for name in classes or ():
            if name not in generator.class_names:
                raise UnknownNameError("class", name, dict.fromkeys(generator.class_names))
        recipe = Recipe(
            generator=self.generator,
            revision=generator.revision,
            class_names=tuple(dict.fromkeys(generator.class_names)) if classes is None else classes,
            per_class=self.per_class,
            image_size=generator.image_size,
            sampling=generator.sampling,
            seed=self.seed,
            image_format=self.image_format,
            shard_size=self.shard_size,
            batch_size=self.batch_size,
        )
        return generator, recipe

    def open_same(self, recipe: Recipe, device: str | None = None) -> Generator:
        """Open the generator of a recipe that was resolved elsewhere.

        Raises:
            SettingsMismatchError: Here it resolves to another one: the weights are not the same, or an option is not.
        """
        generator, here = self.open(device)
        if here.revision != recipe.revision:
            raise SettingsMismatchError(f"weights {self.weights!r} are not those that the set was begun with.")
        other = [item.name for item in fields(Recipe) if getattr(here, item.name) != getattr(recipe, item.name)]
        if other:
            raise SettingsMismatchError(f"the set was begun with another {' and '.join(other)}.")
        return generator

    def with_absolute_weights(self) -> "Request":
        """Give the request for a process that may run in another folder."""
        path = Path(self.weights)
        return replace(self, weights=str(path.resolve())) if path.exists() else self

    def origin(self, generator: Generator) -> Origin:
        """Give the provenance that the set records; of an absolute path only the last part is shown."""
        shown = shown_place(self.weights)
        options = {name: getattr(self, name) for name in ("seed", "image_format", "shard_size", "batch_size")}
        command = command_line(
            "generate",
            generator=self.generator,
            weights=shown,
            per_class=self.per_class,
            **{"class": self.classes},
            image_size=self.image_size,
            sampling=self.sampling or None,
            **changed(Request, **options),
        )
        return Origin(shown, generator.licence, generator.citation, command)


def read_recipe_file(path: Path) -> dict[str, Any]:
    """Read the arguments of `generate` from a YAML file, whose keys are the attributes of `Request`.

    Every value is taken as the text that stands there, as on the command line: a class `no` is no boolean.

    Raises:
        InputError: The file cannot be read, or has unknown keys or values of the wrong kind; all are named at once.
    """
    try:
        root = yaml.compose(path.read_text(encoding="utf-8"), Loader=yaml.SafeLoader)
    except (OSError, ValueError, RecursionError, yaml.YAMLError) as error:
        raise InputError(f"{path}: not a readable YAML file ({' '.join(str(error).split())}).") from error
    if not isinstance(root, yaml.MappingNode):
        raise InputError(f"{path}: expected lines like `per_class: 500`.")
    known = [item.name for item in fields(Request)]
    values: dict[str, Any] = {}
    faults = []
    for key, node in ((key.value, node) for key, node in root.value):
        if key not in known:
            faults.append(f"unknown key {key!r}")
        elif key in values:
            faults.append(f"{key} comes twice")
        else:
            read, kind = _KINDS.get(key, (_text, "a text"))
            try:
                values[key] = read(node)
            except ValueError:
                faults.append(f"{key} must be {kind}")
    if faults:
        raise InputError(f"{path}: {'; '.join(faults)}. Known keys: {', '.join(known)}.")
    return values


def _text(node: yaml.Node) -> str:
    if not isinstance(node, yaml.ScalarNode) or not node.value:
        raise ValueError
    return str(node.value)


def _number(node: yaml.Node) -> int:
    return int(_text(node))


def _texts(node: yaml.Node) -> list[str]:
    if not isinstance(node, yaml.SequenceNode):
        raise ValueError
    return [_text(item) for item in node.value]


def _pairs(node: yaml.Node) -> dict[str, str]:
    if not isinstance(node, yaml.MappingNode):
        raise ValueError
    pairs = {_text(key): _text(value) for key, value in node.value}
    if len(pairs) < len(node.value):
        raise ValueError
    return pairs


_KINDS: dict[str, tuple[Callable[[yaml.Node], object], str]] = {
    **dict.fromkeys(("per_class", "image_size", "seed", "shard_size", "batch_size"), (_number, "a whole number")),
    "classes": (_texts, "a list of texts"),
    "sampling": (_pairs, "a mapping like {steps: 20}, each name once"),
}
