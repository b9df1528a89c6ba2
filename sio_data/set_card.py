"""The card of a synthetic set: its README.md, whose metadata `load_dataset` heeds."""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from sio_data.compilation import SetRecipe
from sio_data.licences import is_known_licence, licence_metadata
from sio_data.manifest import Manifest
from sio_data.recovery import CARD, card_copy, card_metadata, copy_for_card, manifest_copy
from sio_data.rendering import Verbatim, render_card

CARD_UNFIT = "does not fit the data: load_dataset could give other rows or class names"
NOTES_MARK = "<!-- Your notes go below this line: they are kept when the card is written anew. -->"
_MEASURES = re.compile("<!-- measures -->\n.*?<!-- end of measures -->\n", re.DOTALL)
_LATIN_1 = {0xDC00 + byte: byte for byte in range(0x80, 0x100)}  # of what "surrogateescape" makes of such a byte
_SIZE_CATEGORIES = {1_000: "n<1K", 10_000: "1K<n<10K", 100_000: "10K<n<100K", 1_000_000: "100K<n<1M"}


def render_set_card(
    manifest: Manifest,
    *,
    measures: Sequence[tuple[str, str]] = (),
    notes: str = "",
    repository: str | None = None,
    tag: str | None = None,
    models: Sequence[str] = (),
) -> str:
    """Write the card of a complete set.

    Args:
        manifest: Of the set.
        measures: Of its quality: names and values.
        notes: What its owner wrote below the card's last line.
        repository: Where it is published, `owner/name`.
        tag: Under which readers are to load it.
        models: Repositories of classifiers that were trained on it.
    """
    recipe, origin = manifest.recipe, manifest.origin
    return render_card(
        "set",
        _metadata(manifest),
        title=_title(manifest),
        samples=recipe.samples,
        refused=manifest.draws - recipe.samples,
        source=Verbatim(f"hub:{repository}{f'@{tag}' if tag else ''}" if repository else "path/to/this/folder"),
        repository=repository,
        tag=tag,
        models=models,
        measures=measures,
        licence_known=is_known_licence(origin.licence),
        copy=Verbatim(copy_for_card(manifest)),
        notes=Verbatim(f"{NOTES_MARK}\n{notes}"),
        recipe_hash=recipe.hash,
        **recipe.to_json(),
        **vars(origin),
    )


def read_notes(folder: Path) -> str:
    """Read what a set's owner wrote below the card's last line; nothing if there is no card.

    A byte that is no UTF-8, which would keep `load_dataset` from reading the card, is taken for Latin-1.
    """
    card = folder / CARD
    text = card.read_text(encoding="utf-8", errors="surrogateescape") if card.is_file() else ""
    return text.partition(f"{NOTES_MARK}\n")[2].translate(_LATIN_1)


def replace_measures(card: str, fresh: str) -> str:
    """Put the measures of a fresh card into one that its owner may have edited, and leave the rest of it as it is.

    A card whose owner took out the lines that say where measures go gets none.
    """
    found = _MEASURES.search(fresh)
    return _MEASURES.sub(lambda _: found[0], card, count=1) if found else card


def _title(manifest: Manifest) -> str:
    names = manifest.recipe.class_names
    return f"Synthetic images of {', '.join(names[:6])}{', …' if len(names) > 6 else ''}"


def card_fits(folder: Path, manifest: Manifest) -> bool:
    """Tell whether a set's card says what `load_dataset` and `repair` must know.

    The rest is anybody's to edit, and `measure` leaves it as it is. Only when the data change is the card written anew,
    with the notes below its last line.
    """
    expected = _metadata(manifest)
    metadata = card_metadata(folder)
    return card_copy(folder) == manifest_copy(manifest) and all(
        metadata.get(name) == expected[name] for name in ("configs", "dataset_info")
    )


def render_incomplete_card(manifest: Manifest, notes: str = "") -> str:
    """Write the card of a set that is not finished: it makes `load_dataset` find nothing, on purpose."""
    nothing = {"configs": [{"config_name": "incomplete", "data_files": "this-set-is-incomplete"}]}
    return render_card(
        "incomplete",
        nothing,
        samples=manifest.recipe.samples,
        copy=Verbatim(copy_for_card(manifest)),
        notes=Verbatim(f"{NOTES_MARK}\n{notes}"),
    )


def _metadata(manifest: Manifest) -> dict[str, Any]:
    """Give the card's metadata: what makes `load_dataset` give an Image and a named ClassLabel.

    The features are stated because none is inferred as ClassLabel. The digest of the data stands in the
    configuration's description because `load_dataset` caches a local folder by its name and this YAML alone: without
    it, rewritten shards would give the old rows.
    """
    return {
        **general_metadata(_title(manifest), licence_metadata(manifest.origin.licence), manifest.recipe.samples),
        "configs": [
            {
                "config_name": "default",
                "description": f"sha256:{manifest.digest}",
                "data_files": [{"split": "train", "path": "data/train-*.tar"}],
            }
        ],
        "dataset_info": {
            "features": features_metadata(manifest.recipe),
            "splits": [split_metadata("train", manifest)],
        },
    }


def general_metadata(title: str, licence: dict[str, str], samples: int) -> dict[str, Any]:
    """Give the metadata that the Hub shows and searches."""
    category = next((name for bound, name in _SIZE_CATEGORIES.items() if samples < bound), "n>1M")
    return {
        "pretty_name": title,
        **licence,
        "task_categories": ["image-classification"],
        "annotations_creators": ["machine-generated"],
        "tags": ["synthetic", "webdataset", "sio", "out-of-distribution-detection"],
        "size_categories": [category],
    }


def features_metadata(recipe: SetRecipe) -> list[dict[str, Any]]:
    """Give the columns that `load_dataset` finds in the shards; they are called like the members of a sample."""
    names = {str(label): name for label, name in enumerate(recipe.class_names)}
    return [
        {"name": recipe.image_format, "dtype": "image"},
        {"name": "cls", "dtype": {"class_label": {"names": names}}},
        {"name": "json", "dtype": "json"},
        {"name": "__key__", "dtype": "string"},
    ]


def split_metadata(name: str, manifest: Manifest) -> dict[str, Any]:
    """Give the size of a split; `load_dataset` refuses another number of rows."""
    data_bytes = sum(shard.bytes for shard in manifest.shards)
    return {"name": name, "num_bytes": data_bytes, "num_examples": manifest.recipe.samples}
