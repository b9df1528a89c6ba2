"""Training recipes by name: the settings of the paper's experiments (arXiv 2303.14531), as YAML files."""

import re
from typing import Any

from sio_data.errors import InputError, UnknownNameError
from sio_data.named_yaml import load_named

PRESETS = ("cifar10", "cifar100", "imagenet-10", "imagenet-dogs")

SETTINGS = frozenset(
    {"method", "network", "alpha", "mix", "real_share", "every_real", "epochs", "batch_size", "outlier_batch_size"}
    | {"learning_rate", "last_rate", "momentum", "nesterov", "weight_decay", "augmentation", "crop_size"}
    | {"label_smoothing", "clip_norm", "ema", "precision", "channels_last", "compile", "keep", "mean", "std"}
    | {"image_size", "storage", "seeds"}
)
"""What a preset may set: the arguments of `train` of these names."""

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
    settings = load_named("preset", name, PRESETS, __name__, "such as `epochs: 200`")
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
