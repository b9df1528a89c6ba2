"""What the user asked `train` for: names of data, a recipe, seeds."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from typing import Any, Literal, get_args

import yaml

from sio_data.commands import command_line
from sio_data.errors import InputError, UnknownNameError
from sio_data.mixing import real_images_per_batch
from sio_data.presets import load_preset
from sio_data.recipe import MAX_IMAGE_SIZE
from sio_data.training.methods import make_method
from sio_data.training.settings import TrainingSettings

Storage = Literal["memory", "mapped", "stream"]

_DEFAULT_SEEDS = (0, 1, 2)
_SETTINGS = tuple(field.name for field in fields(TrainingSettings))


@dataclass(frozen=True)
class TrainingRequest:
    """A training as it was asked for, resolved: presets and defaults filled in.

    Attributes:
        real: Labelled real images; see `sio_data.sources`.
        synthetic: A synthetic set or any other source; None trains the baseline, and so does alpha 1.
        outliers: Images of no known class, for methods that need them.
        val: Source of the validation images; None means the validation split of `real`.
        image_size: Pixels that all images are resized to; None keeps their size.
        storage: Where the training images are held; see `train`.
        seeds: One run each.
        settings: The recipe.
        given: The options that were given, by name, without those that say where.

    Raises:
        InputError: The options do not fit together.
    """

    real: str
    synthetic: str | None
    outliers: str | None
    val: str | None
    image_size: int | None
    storage: Storage
    seeds: tuple[int, ...]
    settings: TrainingSettings
    given: Mapping[str, Any]

    def __post_init__(self) -> None:
        seeds, size = self.seeds, self.image_size
        sound = all(type(seed) is int and 0 <= seed < 2**31 for seed in seeds)
        if not seeds or not sound or len(set(seeds)) != len(seeds):
            raise InputError(f"seeds must be there, differ, and be from 0 to 2**31 - 1, not {list(seeds)}.")
        if size is not None and (type(size) is not int or not 1 <= size <= MAX_IMAGE_SIZE):
            raise InputError(f"image_size must be from 1 to {MAX_IMAGE_SIZE}, not {size!r}.")
        if self.storage not in get_args(Storage):
            raise InputError(f"storage must be one of {', '.join(get_args(Storage))}, not {self.storage!r}.")
        needed = make_method(self.settings.method).needs_outliers
        if needed and self.outliers is None:
            raise InputError(f"the method {self.settings.method} trains on outliers, too: name them (--outliers).")
        if self.outliers is not None and not needed:
            raise InputError(f"the method {self.settings.method} takes no outliers.")

    def command(self, out: str) -> str:
        """Write the command that repeats this."""
        data = {"real": self.real, "synthetic": self.synthetic, "outliers": self.outliers, "val": self.val}
        alpha = self.settings.alpha if self.synthetic else None
        rest = {name: value for name, value in self.given.items() if name != "alpha"}
        return command_line("train", **data, alpha=alpha, out=out, **rest)

    def to_yaml(self) -> str:
        """Write the whole recipe for people; a file of its last part can be given as a preset."""
        data = {"real": self.real, "synthetic": self.synthetic, "outliers": self.outliers, "val": self.val}
        recipe: dict[str, object] = {"image_size": self.image_size, "storage": self.storage, "seeds": list(self.seeds)}
        recipe |= {name: _plain(value) for name, value in asdict(self.settings).items()}
        if self.synthetic is None:
            del recipe["alpha"]  # 1 for want of synthetic images, and no part of the recipe
        return (
            f"# {self._composition()}\n"
            + yaml.safe_dump({name: value for name, value in data.items() if value}, sort_keys=False)
            + yaml.safe_dump(recipe, sort_keys=False, default_flow_style=None)
        )

    def _composition(self) -> str:
        settings = self.settings
        if self.synthetic is None:
            return f"each batch: {settings.batch_size} real images"
        real = real_images_per_batch(settings.batch_size, settings.real_share or settings.alpha)
        return f"each batch: {real} real images + {settings.batch_size - real} synthetic ones"


def resolve_request(
    real: str,
    *,
    synthetic: str | None = None,
    outliers: str | None = None,
    val: str | None = None,
    preset: str | None = None,
    image_size: int | None = None,
    storage: Storage | None = None,
    seeds: Sequence[int] | None = None,
    **settings: Any,
) -> TrainingRequest:
    """Fill in presets and defaults; what is None was not given.

    Raises:
        UnknownNameError: No such preset or setting.
        InputError: A value is out of range, or the options do not fit together.
    """
    if strange := next((name for name in settings if name not in _SETTINGS), None):
        raise UnknownNameError("training setting", strange, _SETTINGS)
    given: dict[str, Any] = {
        "preset": preset, "image_size": image_size, "storage": storage, "seeds": _listed(seeds), **settings,
    }  # fmt: skip
    given = {name: value for name, value in given.items() if value is not None}
    preset_values = load_preset(preset) if preset else {}
    chosen = {name: value for name, value in preset_values.items() if value is not None}
    chosen |= {name: given[name] for name in given if name != "preset"}
    alpha = _resolve_alpha(synthetic, given.get("alpha"), chosen.get("alpha"))
    recipe = {name: value for name, value in chosen.items() if name in _SETTINGS} | {"alpha": alpha}
    checked = TrainingSettings(**recipe)
    return TrainingRequest(
        real,
        synthetic if checked.alpha < 1 else None,
        outliers,
        val,
        chosen.get("image_size"),
        chosen.get("storage", "memory"),
        tuple(_listed(chosen.get("seeds", _DEFAULT_SEEDS))),
        checked,
        given,
    )


def _resolve_alpha(synthetic: str | None, given: float | None, preset: float | None) -> float:
    """Give the weight of the real loss: 1 without a synthetic set, whatever the preset says of one."""
    if synthetic is not None and given is None and preset == 1:
        raise InputError("the preset's alpha is 1, which leaves the synthetic images unused: give another (--alpha).")
    if synthetic is not None:
        return next((value for value in (given, preset) if value is not None), TrainingSettings.alpha)
    if given not in (None, 1):
        raise InputError(f"alpha {given} needs a synthetic set (--synthetic).")
    return 1.0


def _listed(seeds: Any) -> Any:
    """Give seeds as a list, and what is none as the only one of it, for the check to refuse."""
    if seeds is None:
        return None
    return list(seeds) if isinstance(seeds, Iterable) and not isinstance(seeds, str) else [seeds]


def _plain(value: object) -> object:
    return list(value) if isinstance(value, tuple) else value
