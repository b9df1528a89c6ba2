"""The page of a gallery. All texts of a set are hostile: none is HTML, and only our own script and style may run."""

import json
import shlex
from collections.abc import Mapping, Sequence
from typing import Any

from markupsafe import Markup

from sio_data.compilation import generated_recipe
from sio_data.files import is_url
from sio_data.gallery.sheets import COLUMNS, IMAGES_PER_SHEET, Taken
from sio_data.rendering import render_standalone
from sio_data.sets import SyntheticSet

MARK = '<meta name="generator" content="sio-data gallery">'
_ON_THE_PAGE_ANYWAY = ("index", "label", "class", "recipe")


def render_page(synthetic: SyntheticSet, taken: Taken, sheets: Sequence[Sequence[str]]) -> bytes:
    """Render the page.

    Args:
        synthetic: The set.
        taken: The samples to show.
        sheets: For each class the names of its files in `thumbnails/`.

    Returns:
        HTML in UTF-8.
    """
    manifest = synthetic.manifest
    recipe = manifest.recipe
    page = render_standalone(
        "sio_data.gallery",
        "gallery",
        mark=Markup(MARK),  # noqa: S704  a constant
        name=_name(synthetic),
        recipe=recipe,
        origin=manifest.origin,
        digest=manifest.digest,
        versions=manifest.versions,
        recipe_json=json.dumps(recipe.to_json(), indent=2, ensure_ascii=False),
        data=_script_safe(_data(synthetic, taken, sheets)),
    )
    return page.encode("utf-8", "replace")  # JSON can name half a character, which no file can hold


def _data(synthetic: SyntheticSet, taken: Taken, sheets: Sequence[Sequence[str]]) -> dict[str, Any]:
    recipe = synthetic.manifest.recipe
    return {
        "recipe": recipe.hash,
        "side": taken.side,
        "size": recipe.image_size,
        "samples": recipe.samples,
        "columns": COLUMNS,
        "perSheet": IMAGES_PER_SHEET,
        "command": _command(synthetic),
        "classes": [
            {"name": name, "count": count, "sheets": names, "samples": [_sample(one) for one in samples]}
            for name, count, names, samples in zip(
                recipe.class_names, recipe.counts, sheets, taken.metadata, strict=True
            )
        ],
    }


def _sample(metadata: Mapping[str, Any]) -> tuple[int, str]:
    """Give a sample's index and the lines of its JSON that it shares with no other, as text: numbers stay exact."""
    own = {name: value for name, value in metadata.items() if name not in _ON_THE_PAGE_ANYWAY}
    return metadata["index"], json.dumps(own, indent=2, sort_keys=True)[2:-2]


def _command(synthetic: SyntheticSet) -> list[str] | None:
    """Give the pieces, between which its key stands, of the command that makes a sample again; None if imported."""
    if generated_recipe(synthetic.manifest.recipe) is None:
        return None
    weights = synthetic.manifest.origin.weights
    where = ["--weights", weights.replace("…", "path/to", 1)] if weights.startswith("…/") else []
    return [
        f"{shlex.join(['sio-data', 'regenerate', _name(synthetic)])} ",
        f" {shlex.join([*where, '--out'])} ",
        ".png",
    ]


def _name(synthetic: SyntheticSet) -> str:
    folder = synthetic.folder if is_url(synthetic.folder) else synthetic.folder.resolve()
    return folder.name or "set"


def _script_safe(value: object) -> Markup:
    """Write JSON that can stand in a `script` element: nothing in it ends the element or begins a comment."""
    text = json.dumps(value, separators=(",", ":"))
    return Markup(text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026"))  # noqa: S704
