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
LOG = "log.csv"
DETECTOR = "detector.safetensors"
FORMAT = "sio-data/checkpoint/1"
"""What the record of a training of ours says it is."""

_RUN_NAME = re.compile(r"seed-\d+")
_UNFINISHED_NAME = re.compile(rf"\.({_RUN_NAME.pattern})\.unfinished")


def read_record(folder: Path) -> dict[str, Any]:
    """Read the record of a training; an empty one where there is none that can be read."""
    try:
        return read_json(folder / RECORD)
    except InputError:
        return {}


def is_run(entry: Path) -> bool:
    """Tell whether a folder is a run of ours."""
    return bool(_RUN_NAME.fullmatch(entry.name)) and read_record(entry).get("format") == FORMAT


def unfinished_place(run: Path) -> Path:
    """Give the folder that a run lies in until it is finished."""
    return run.with_name(f".{run.name}.unfinished")


def is_unfinished(entry: Path) -> bool:
    """Tell whether a folder is that of an unfinished run, by its name."""
    return bool(_UNFINISHED_NAME.fullmatch(entry.name))


def find_unfinished(folder: str | Path) -> list[Path]:
    """List the unfinished runs of a folder: itself, or those in it in the order of the seeds."""
    folder = as_folder(folder)
    places = [folder] if is_unfinished(folder) else [path for path in folder.glob(".seed-*") if is_unfinished(path)]
    found = [place for place in places if read_record(place).get("format") == FORMAT]
    return sorted(found, key=lambda place: int(place.name.removeprefix(".seed-").removesuffix(".unfinished")))


def find_runs(folder: str | Path) -> list[Path]:
    """List the checkpoints of a folder: itself, or its `seed-*` folders in the order of the seeds.

    Raises:
        InputError: There is none.
    """
    folder = as_folder(folder)
    if (folder / CONFIG).is_file():
        return [folder]
    runs = [path.parent for path in folder.glob(f"seed-*/{CONFIG}") if _RUN_NAME.fullmatch(path.parent.name)]
    runs.sort(key=lambda run: int(run.name.removeprefix("seed-")))
    if not runs:
        raise InputError(f"{folder} holds no checkpoint. Train one with: sio-data train.")
    return runs
