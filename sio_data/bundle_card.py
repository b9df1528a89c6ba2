"""The card of a bundle: its README.md, whose metadata make each set a configuration or a split of `load_dataset`."""

from collections.abc import Sequence
from typing import Any

from sio_data.bundles import Bundle, Part, parts_digest
from sio_data.licences import is_known_licence, licence_metadata
from sio_data.recovery import card_metadata
from sio_data.rendering import Verbatim, render_card
from sio_data.set_card import (
    NOTES_MARK,
    features_metadata,
    general_metadata,
    split_metadata,
)


def render_bundle_card(
    bundle: Bundle,
    *,
    notes: str = "",
    repository: str | None = None,
    tag: str | None = None,
    models: Sequence[str] = (),
) -> str:
    """Write the card of a bundle.

    Args:
        bundle: The sets.
        notes: What its owner wrote below the card's last line.
        repository: Where it is published, `owner/name`.
        tag: Under which readers are to load it.
        models: Repositories of classifiers that were trained on it.
    """
    return render_card(
        "bundle",
        _metadata(bundle),
        title=_title(bundle),
        samples=bundle.samples,
        rows=[_row(part) for part in bundle.parts],
        default=bundle.default,
        several=len({part.config for part in bundle.parts}) > 1,
        first=bundle.parts[0],
        repository=repository,
        tag=tag,
        models=models,
        citations=[text for text in dict.fromkeys(part.set.manifest.origin.citation for part in bundle.parts) if text],
        licences=[licence if is_known_licence(licence) else "unknown" for licence in bundle.licences],
        notes=Verbatim(f"{NOTES_MARK}\n{notes}"),
    )


def bundle_card_fits(bundle: Bundle) -> bool:
    """Tell whether a bundle's card says what `load_dataset` must know; the rest is anybody's to edit."""
    expected, metadata = _metadata(bundle), card_metadata(bundle.folder)
    return all(metadata.get(name) == expected[name] for name in ("configs", "dataset_info"))


def _title(bundle: Bundle) -> str:
    return f"Synthetic images: {', '.join(config for config, _ in bundle.configs())}"


def _row(part: Part) -> dict[str, Any]:
    recipe, origin = part.set.manifest.recipe, part.set.manifest.origin
    return {
        "path": part.path,
        "config": part.config,
        "split": part.split,
        "source": f"{recipe.generator}, {origin.weights}" if hasattr(recipe, "generator") else origin.weights,
        "samples": recipe.samples,
        "classes": len(recipe.class_names),
        "image_size": recipe.image_size,
        "licence": origin.licence if is_known_licence(origin.licence) else "unknown",
    }


def _metadata(bundle: Bundle) -> dict[str, Any]:
    """Give the metadata; the digests in it are what the cache of `load_dataset` knows a configuration's data by."""
    info = [
        {
            "config_name": config,
            "features": features_metadata(parts[0].set.manifest.recipe),
            "splits": [split_metadata(part.split, part.set.manifest) for part in parts],
        }
        for config, parts in bundle.configs()
    ]
    return {
        **general_metadata(_title(bundle), _licence(bundle), bundle.samples),
        "configs": [_config(config, parts, bundle.default) for config, parts in bundle.configs()],
        "dataset_info": info if len(info) > 1 else info[0],
    }


def _config(config: str, parts: list[Part], default: str) -> dict[str, Any]:
    return {
        "config_name": config,
        **({"default": True} if config == default else {}),
        "description": f"sha256:{parts_digest(parts)}",
        "data_files": [{"split": part.split, "path": f"{part.path}/data/train-*.tar"} for part in parts],
    }


def _licence(bundle: Bundle) -> dict[str, str]:
    licences = bundle.licences
    return licence_metadata(licences[0]) if len(licences) == 1 else {"license": "other", "license_name": "several"}
