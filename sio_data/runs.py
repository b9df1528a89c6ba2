"""The checkpoints of a training as they lie in their folders; `info` reads this, so it needs no torch."""

import re
from pathlib import Path
from typing import Any

from sio_data.errors import InputError
from sio_data.files import as_folder, read_json

CONFIG = "config.json"
WEIGHTS = "model.safetensors"
RECORD = "training.json"
CARD = "README.md"
RUN_NAME = re.compile(r"seed-\d+")


def read_record(folder: Path) -> dict[str, Any]:
    """Read the record of a training; an empty one where there is none that can be read."""
    try:
        return read_json(folder / RECORD)
    except InputError:
        return {}


def find_runs(folder: str | Path) -> list[Path]:
    """List the checkpoints of a folder: itself, or its `seed-*` folders in the order of the seeds.

    Raises:
        InputError: There is none.
    """
    folder = as_folder(folder)
    if (folder / CONFIG).is_file():
        return [folder]
    runs = [path.parent for path in folder.glob(f"seed-*/{CONFIG}") if RUN_NAME.fullmatch(path.parent.name)]
    runs.sort(key=lambda run: int(run.name.removeprefix("seed-")))
    if not runs:
        raise InputError(f"{folder} holds no checkpoint. Train one with: sio-data train.")
    return runs
