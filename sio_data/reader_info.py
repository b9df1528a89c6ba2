"""`_info.json`: what timm's reader and others must know of a set: its shards and their lengths."""

from pathlib import Path
from typing import Any

from sio_data.compilation import SetRecipe
from sio_data.errors import InputError
from sio_data.files import read_json, write_json
from sio_data.layout import Layout

INFO = "_info.json"


def write_info(folder: Path, recipe: SetRecipe) -> None:
    """Write `_info.json` into a set. It is a function of the recipe, so that it can be checked and written again."""
    write_json(folder / INFO, _info(recipe))


def info_fits(folder: Path, recipe: SetRecipe) -> bool:
    """Tell whether a set has an `_info.json` that names its shards."""
    try:
        return read_json(folder / INFO) == _info(recipe)
    except InputError:
        return False


def _info(recipe: SetRecipe) -> dict[str, Any]:
    """Give the object; paths are relative to the set."""
    layout = Layout(recipe)
    train = {
        "name": "train",
        "num_samples": recipe.samples,
        "filenames": layout.paths(),
        "shard_lengths": [layout.size(index) for index in range(len(layout))],
    }
    return {"splits": {"train": train}}
