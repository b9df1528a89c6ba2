"""Get a set's manifest back after it was edited: from its own sound parts, the card's copy, and the shards."""

import json
import re
import tarfile
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import yaml

from sio_data.compilation import SetRecipe, read_set_recipe
from sio_data.errors import CorruptSetError, InputError
from sio_data.files import read_json, sha256_file
from sio_data.layout import Layout
from sio_data.manifest import MANIFEST, Manifest, Origin, ShardRecord
from sio_data.records import RECORDS

CARD = "README.md"
_COPY = re.compile(r"```json\n(\{.*?\})\n```", re.DOTALL)
_SHA256 = re.compile(r'"recipe":"([0-9a-f]{64})"')


def manifest_copy(manifest: Manifest) -> dict[str, Any]:
    """Give what the card keeps of a manifest: all of its shards but what can be read off the files."""
    copy: dict[str, Any] = {"recipe": manifest.recipe.to_json(), "generator": asdict(manifest.origin)}
    if manifest.draws > sum(record.samples for record in manifest.shards):
        copy["draws"] = [record.draws for record in manifest.shards]
    return copy


def copy_for_card(manifest: Manifest) -> str:
    """Write that copy as JSON on one line."""
    text = json.dumps(manifest_copy(manifest))
    return "".join(f"\\u{ord(sign):04x}" if sign in "`<>&(" else sign for sign in text)  # no end of the code block


def is_of_another_set(folder: Path, manifest: Manifest) -> bool:
    """Tell whether card and shards agree that a manifest, however sound, belongs to another recipe."""
    copy = _read_copy(card_copy(folder))
    return copy is not None and copy[0].hash != manifest.recipe.hash and copy[0].hash == _hash_in_shards(folder)


def recover_manifest(folder: Path) -> Manifest:
    """Rebuild a manifest that cannot be trusted.

    The recipe is the one that two of three witnesses name: the card, the edited manifest, and the shards, every
    sample of which carries the recipe's hash. If the shards are those that the card's digest stands for, their records
    are made from the files; otherwise the records are taken as they stand: one that was edited does not fit its shard
    any more.

    Raises:
        CorruptSetError: No two witnesses agree.
    """
    stated = _read_or_nothing(folder / MANIFEST)
    copies = [copy for copy in (_read_copy(card_copy(folder)), _read_copy(stated)) if copy]
    in_shards = _hash_in_shards(folder)
    named = [*(recipe.hash for recipe, _ in copies), in_shards]
    for recipe, origin in copies:
        if named.count(recipe.hash) > 1:
            return _with_records(folder, Manifest(recipe, origin, complete=True), stated)
    raise CorruptSetError(
        f"{folder} cannot be mended: no two of {MANIFEST}, {CARD} and the shards name the same recipe "
        f"(the shards name {in_shards or 'none'}). Make it anew."
    )


def _with_records(folder: Path, manifest: Manifest, stated: dict[str, Any]) -> Manifest:
    whole = replace(manifest, shards=_records_of_files(folder, manifest.recipe, card_copy(folder).get("draws")))
    if whole.digest == card_digest(folder):
        return whole
    records = _stated(stated, manifest.recipe)
    return replace(manifest, complete=bool(records) or not (folder / RECORDS).is_dir(), shards=records)


def _read_copy(copy: dict[str, Any]) -> tuple[SetRecipe, Origin] | None:
    try:
        return read_set_recipe(copy.get("recipe")), Origin(**copy["generator"])
    except (InputError, KeyError, TypeError, OverflowError, ValueError):
        return None


def _read_or_nothing(path: Path) -> dict[str, Any]:
    try:
        return read_json(path)
    except InputError:
        return {}


def card_copy(folder: Path) -> dict[str, Any]:
    """Read the copy that a card keeps; nothing if it keeps none."""
    try:
        found = _COPY.search((folder / CARD).read_text(encoding="utf-8"))
        value = json.loads(found[1]) if found else {}
    except (OSError, ValueError, RecursionError):
        return {}
    return value if isinstance(value, dict) else {}


def _records_of_files(folder: Path, recipe: SetRecipe, draws: object) -> tuple[ShardRecord, ...]:
    """Record the shards as they lie there; the card's digest tells whether they are those that were made."""
    layout = Layout(recipe)
    sizes = [layout.size(index) for index in range(len(layout))]
    draws = draws if isinstance(draws, list) and len(draws) == len(layout) else sizes
    return tuple(
        ShardRecord(layout.path(index), sha256_file(path), path.stat().st_size, sizes[index], draws[index])
        for index in range(len(layout))
        if (path := folder / layout.path(index)).is_file()
    )


def _stated(stated: dict[str, Any], recipe: SetRecipe) -> tuple[ShardRecord, ...]:
    """Read what is sound of an edited list of shards."""
    planned = {*Layout(recipe).paths()}
    records: dict[str, ShardRecord] = {}
    shards = stated.get("shards")
    for value in shards if isinstance(shards, list) else []:
        try:
            record = ShardRecord.from_json(value)
        except CorruptSetError:
            continue
        if record.path in planned:
            records.setdefault(record.path, record)
    return tuple(records.values())


def card_metadata(folder: Path) -> dict[str, Any]:
    """Read a card's metadata; nothing if there is none that can be read."""
    try:
        text = (folder / CARD).read_text(encoding="utf-8")
        metadata = yaml.safe_load(text.removeprefix("---\n").partition("\n---\n")[0])
    except (OSError, ValueError, RecursionError, yaml.YAMLError):
        return {}
    return metadata if isinstance(metadata, dict) else {}


def card_digest(folder: Path) -> str | None:
    """Read the data's digest from a card's metadata; None if it names none."""
    try:
        return str(card_metadata(folder)["configs"][0]["description"]).removeprefix("sha256:")
    except (KeyError, IndexError, TypeError):
        return None


def _hash_in_shards(folder: Path) -> str | None:
    """Give the recipe's hash that the first sample of most shards names."""
    votes: dict[str, int] = {}
    for path in sorted((folder / "data").glob("train-*.tar")):
        try:
            with path.open("rb") as file, tarfile.open(fileobj=file, mode="r:") as tar:
                found = _SHA256.search(_first_metadata(tar))
        except (OSError, OverflowError, tarfile.TarError, ValueError):
            continue
        if found:
            votes[found[1]] = votes.get(found[1], 0) + 1
    return max(votes, key=lambda name: votes[name]) if votes else None


def _first_metadata(tar: tarfile.TarFile) -> str:
    for member in tar:
        if member.name.endswith(".json") and member.size < 1 << 16:
            file = tar.extractfile(member)
            return file.read().decode() if file else ""
    return ""
