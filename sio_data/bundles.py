"""Bundles: several sets in one folder or repository, each a configuration of `load_dataset`, or a split of one."""

import re
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Any

from sio_data.errors import InputError, UnknownNameError
from sio_data.files import as_folder, sha256_json
from sio_data.manifest import MANIFEST, find_sets
from sio_data.recovery import card_metadata
from sio_data.sets import SyntheticSet, open_set

_CONFIG = re.compile(r"\w[\w.-]*", re.ASCII)
_SPLIT = re.compile(r"\w+(\.\w+)*", re.ASCII)
_PART = rf"{_CONFIG.pattern}(/{_SPLIT.pattern})?"
_LISTED = re.compile(rf"({_PART})/data/train-\*\.tar", re.ASCII)
_MANIFEST_OF_PART = re.compile(rf"({_PART})/{re.escape(MANIFEST)}", re.ASCII)
_ALL_SPLITS = "all"  # what load_dataset calls all of them together
_FIRST_SPLITS = ("train", "validation", "test")


@dataclass(frozen=True)
class Part:
    """One set of a bundle.

    Attributes:
        config: The configuration that it belongs to.
        split: Which split of it.
        set: The set.
        path: Of its folder in the bundle, with forward slashes: `config` or `config/split`.
    """

    config: str
    split: str
    set: SyntheticSet
    path: str


@dataclass(frozen=True)
class Bundle:
    """Several sets in one folder.

    Attributes:
        folder: Where it lies.
        parts: Its sets, by configuration and split.
        default: The configuration that `load_dataset` takes if none is named.
    """

    folder: Path
    parts: tuple[Part, ...]
    default: str

    def configs(self) -> Iterator[tuple[str, list[Part]]]:
        """Give the configurations with their parts, one for each split."""
        for config, parts in groupby(self.parts, key=lambda part: part.config):
            yield config, list(parts)

    @property
    def samples(self) -> int:
        """How many samples all sets hold."""
        return sum(part.set.manifest.recipe.samples for part in self.parts)

    @property
    def licences(self) -> tuple[str, ...]:
        """Those of the parts, each once."""
        return tuple(dict.fromkeys(part.set.manifest.origin.licence for part in self.parts))


def parts_digest(parts: list[Part]) -> str:
    """Give the SHA-256 that stands for all bytes of a configuration's data."""
    return sha256_json([[part.split, part.set.manifest.digest] for part in parts])


def is_bundle(folder: Path) -> bool:
    """Tell whether a folder holds sets and is none itself."""
    return not (folder / MANIFEST).exists() and bool(find_sets(folder))


def find_parts(paths: Collection[str]) -> list[str]:
    """List the folders of a bundle's sets among the files of a repository; none if it is a set or something else.

    Args:
        paths: Of all its files, with forward slashes.
    """
    if MANIFEST in paths:
        return []
    found = {match[1] for path in paths if (match := _MANIFEST_OF_PART.fullmatch(path))}
    return sorted(path for path in found if path.partition("/")[0] not in found - {path})


def open_bundle(folder: str | Path, default: str | None = None) -> Bundle:
    """Open a folder of sets: `folder/CONFIG/` is a set, or each `folder/CONFIG/SPLIT/` is one.

    Args:
        folder: The folder or a URL.
        default: Name of the default configuration; None takes the card's, or else the first.

    Raises:
        InputError: It holds no sets, or some that cannot be in one bundle.
        UnknownNameError: There is no configuration `default`.
        IncompleteError: One of the sets is not finished.
        CorruptSetError: One of the sets is damaged.
    """
    folder = as_folder(folder)
    if not is_bundle(folder):
        raise InputError(
            f"{folder} holds no sets: a bundle has a set in each folder CONFIGURATION/, or CONFIGURATION/SPLIT/."
        )
    parts = tuple(sorted((_open_part(folder, place) for place in find_sets(folder)), key=_order))
    names = list(dict.fromkeys(part.config for part in parts))
    if default is not None and default not in names:
        raise UnknownNameError("configuration", default, names)
    bundle = Bundle(folder, parts, default or _card_default(folder, names))
    for config, members in bundle.configs():
        _check_config(config, members)
    return bundle


def _open_part(folder: Path, place: Path) -> Part:
    config, *rest = place.relative_to(folder).parts
    split = rest[0] if rest else "train"
    if not _CONFIG.fullmatch(config):
        raise InputError(f"{folder / config}: a configuration is called by letters, digits, '_', '.' and '-'.")
    if not _SPLIT.fullmatch(split) or split == _ALL_SPLITS:
        raise InputError(f"{place}: a split is called by letters, digits, '_' and '.', and not {_ALL_SPLITS!r}.")
    return Part(config, split, open_set(place), "/".join((config, *rest)))


def _order(part: Part) -> tuple[str, int, str]:
    place = _FIRST_SPLITS.index(part.split) if part.split in _FIRST_SPLITS else len(_FIRST_SPLITS)
    return part.config, place, part.split


def listed_parts(folder: Path) -> dict[str, dict[str, str]]:
    """List the sets that a bundle's card names, whether or not they are there.

    Returns:
        Of each configuration, the default one first, the paths of its sets by split.
    """
    entries = sorted(_card_configs(folder), key=lambda entry: entry.get("default") is not True)
    named = {str(entry.get("config_name")): _listed_splits(entry.get("data_files")) for entry in entries}
    return {config: splits for config, splits in named.items() if splits}


def _listed_splits(files: object) -> dict[str, str]:
    listed = [file for file in files if isinstance(file, dict)] if isinstance(files, list) else []
    found = {str(file.get("split")): _LISTED.fullmatch(str(file.get("path"))) for file in listed}
    return {split: match[1] for split, match in found.items() if match}


def listed_sets(folder: Path) -> list[Path]:
    """List the folders of the sets that a bundle's card names, whether or not they are there."""
    return [folder / path for splits in listed_parts(folder).values() for path in splits.values()]


def _card_default(folder: Path, names: list[str]) -> str:
    stated = [entry.get("config_name") for entry in _card_configs(folder) if entry.get("default") is True]
    return next((name for name in names if name in stated), names[0])


def _card_configs(folder: Path) -> list[dict[str, Any]]:
    configs = card_metadata(folder).get("configs")
    return [entry for entry in configs if isinstance(entry, dict)] if isinstance(configs, list) else []


def _check_config(config: str, parts: list[Part]) -> None:
    """Refuse splits that are not of one kind: `load_dataset` has one list of columns for all of them."""
    first = parts[0].set.manifest.recipe
    for part in parts[1:]:
        recipe = part.set.manifest.recipe
        for what in ("class_names", "image_size", "image_format"):
            if getattr(recipe, what) != getattr(first, what):
                raise InputError(
                    f"the splits {parts[0].split} and {part.split} of {config} differ in {what.replace('_', ' ')}; "
                    "make them configurations of their own."
                )
