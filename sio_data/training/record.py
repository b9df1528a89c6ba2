"""training.json: what a checkpoint was trained on, how, and what came of it."""

import shlex
from pathlib import Path
from typing import Any

from sio_data.errors import InputError
from sio_data.files import json_text, read_json
from sio_data.runs import FORMAT, RECORD

SOURCES = ("real", "synthetic", "outliers", "val")
"""The entries that name data."""


def check_record(folder: Path) -> dict[str, Any]:
    """Read the record of a training for what it says to others.

    Raises:
        InputError: It is not what `train` writes.
    """
    record = read_json(folder / RECORD)
    texts = [record.get(name) or "" for name in SOURCES]
    texts += [record.get(name) or "" for name in ("synthetic_licence", "command")]
    sound = (
        record.get("format") == FORMAT
        and all(isinstance(text, str) for text in texts)
        and isinstance(record.get("settings"), dict)
        and {"epochs", "alpha"} <= {*record["settings"]}
        and all(isinstance(record.get(name), int | float) for name in ("seed", "epoch", "val_accuracy"))
        and _can_be_written(record)
    )
    if not sound:
        raise InputError(f"{folder / RECORD} is not what sio-data train wrote.")
    return record


def _can_be_written(record: dict[str, Any]) -> bool:
    """Tell whether a record holds no NaN, no broken sign, and a command that a shell could read."""
    try:
        json_text(record).encode()
        shlex.split(record.get("command") or "")
    except ValueError:
        return False
    return True
