"""Training recipes by name: the settings of the paper's experiments (arXiv 2303.14531), as YAML files."""

import re
from importlib.resources import files
from pathlib import Path
from typing import Any

import yaml

from sio_data.errors import InputError, UnknownNameError, first_line

PRESETS = ("cifar10", "cifar100", "imagenet-10", "imagenet-dogs")

SETTINGS = frozenset(
    {"method", "network", "alpha", "mix", "real_share", "every_real", "epochs", "batch_size", "outlier_batch_size"}
    | {"learning_rate", "last_rate", "momentum", "nesterov", "weight_decay", "augmentation", "crop_size"}
    | {"label_smoothing", "clip_norm", "ema", "precision", "channels_last", "compile", "keep", "mean", "std"}
    | {"image_size", "storage", "seeds"}
)
"""What a preset may set: the arguments of `train` of these names."""

_ENDINGS = (".yaml", ".yml")
_LARGEST_FILE = 100_000  # bytes
_EXPONENT = re.compile(r"[-+]?\d+[eE][-+]?\d+")  # like 5e-4, which YAML 1.1 takes for a text and YAML 1.2 for a number


def load_preset(name: str) -> dict[str, Any]:
    """Read the settings of a preset.

    Args:
        name: One of `PRESETS`, or a YAML file of one's own, whose name ends in `.yaml` or `.yml`.

    Returns:
        Settings by name: texts, numbers, true, false, None, and lists of numbers. Whether a value is in range, the
        training says.

    Raises:
        UnknownNameError: There is no preset of that name, or a file sets what is no setting.
        InputError: There is no such file, or it is not a mapping of settings to plain values.
    """
    if name in PRESETS:
        return _parse(files(__name__).joinpath(f"{name}.yaml").read_text(encoding="utf-8"), name)
    if not name.endswith(_ENDINGS):
        raise UnknownNameError("preset", name, PRESETS, "Or name a .yaml file of your own.")
    return _parse(_read(Path(name)), name)


def _read(path: Path) -> str:
    try:
        if path.stat().st_size > _LARGEST_FILE:
            raise InputError(f"preset {path} is larger than {_LARGEST_FILE:,} bytes; it is no file of settings.")
        return path.read_text(encoding="utf-8")
    except FileNotFoundError as error:
        raise InputError(f"preset {path}: no such file.") from error
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"preset {path} cannot be read: {first_line(error)}") from error


def _parse(text: str, name: str) -> dict[str, Any]:
    try:
        settings = yaml.safe_load(text)
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise InputError(f"preset {name} is no sound YAML: {' '.join(str(error).split())}") from error
    if not isinstance(settings, dict):
        raise InputError(f"preset {name} must be a mapping, such as `epochs: 200`, not {type(settings).__name__}.")
    if unknown := next((str(key) for key in settings if key not in SETTINGS), None):
        raise UnknownNameError(f"setting in preset {name}", unknown, sorted(SETTINGS))
    return {key: _plain(value, f"preset {name}: {key}") for key, value in settings.items()}


def _plain(value: object, where: str) -> object:
    """Give a value as it is meant; refuse what is no plain one."""
    if isinstance(value, str) and _EXPONENT.fullmatch(value):
        return float(value)
    if value is None or isinstance(value, str | int | float):
        return value
    if isinstance(value, list) and all(isinstance(part, int | float) for part in value):
        return value
    raise InputError(f"{where} must be a text, a number, true, false, null or a list of numbers.")
