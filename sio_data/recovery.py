"""Get a set's manifest back after it was edited: from its own sound parts, the card's copy, and the shards."""

import json
import re
import tarfile
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from sio_data.errors import CorruptSetError, InputError
from sio_data.files import read_json, sha256_file
from sio_data.manifest import MANIFEST, Manifest, Origin, ShardRecord
from sio_data.plan import Plan
from sio_data.recipe import Recipe

_CARD = "README.md"
_COPY = re.compile(r"```json\n(\{.*?\})\n```", re.DOTALL)
_DIGEST = re.compile(r"^ +description: sha256:([0-9a-f]{64})$", re.MULTILINE)
_SHA256 = re.compile(r'"recipe":"([0-9a-f]{64})"')


def copy_for_card(manifest: Manifest) -> str:
    """Write what the card keeps of a manifest: all but the list of shards, as JSON on one line."""
    value = {"recipe": manifest.recipe.to_json(), "generator": asdict(manifest.origin)}
    text = json.dumps(value, sort_keys=True)
    return "".join(f"\\u{ord(sign):04x}" if sign in "`<>&(" else sign for sign in text)  # no end of the code block


def recover_manifest(folder: Path) -> Manifest:
    """Rebuild a manifest that cannot be trusted.

    Every sample carries the hash of the set's recipe, so that the true recipe can be told from an edited one. If the
    shards are those that the card's digest stands for, their records are made from the files; otherwise the records
    are taken as they stand: one that was edited does not fit its shard any more.

    Raises:
        CorruptSetError: No copy of the recipe fits the shards.
    """
    stated = _read_or_nothing(folder / MANIFEST)
    true_hash = _hash_in_shards(folder)
    for copy in (_card_copy(folder), stated):
        try:
            recipe, origin = Recipe.from_json(copy.get("recipe")), Origin(**copy["generator"])
        except (InputError, KeyError, TypeError, OverflowError, ValueError):
            continue
        if recipe.hash == true_hash:
            found = Manifest(recipe, origin, complete=True, shards=_records_of_files(folder, recipe))
            return found if found.digest == card_digest(folder) else replace(found, shards=_stated(stated, recipe))
    raise CorruptSetError(
        f"{folder} cannot be mended: neither {MANIFEST} nor {_CARD} holds the recipe that its shards name "
        f"({true_hash or 'none can be read'}). Make it anew with: sio-data generate"
    )


def _read_or_nothing(path: Path) -> dict[str, Any]:
    try:
        return read_json(path)
    except InputError:
        return {}


def _card_copy(folder: Path) -> dict[str, Any]:
    try:
        found = _COPY.search((folder / _CARD).read_text(encoding="utf-8"))
        value = json.loads(found[1]) if found else {}
    except (OSError, ValueError, RecursionError):
        return {}
    return value if isinstance(value, dict) else {}


def _records_of_files(folder: Path, recipe: Recipe) -> tuple[ShardRecord, ...]:
    """Record the shards as they lie there; the card's digest tells whether they are those that were made."""
    return tuple(
        ShardRecord(shard.path, sha256_file(path), path.stat().st_size, len(shard), len(shard))
        for shard in Plan(recipe)
        if (path := folder / shard.path).is_file()
    )


def _stated(stated: dict[str, Any], recipe: Recipe) -> tuple[ShardRecord, ...]:
    """Read what is sound of an edited list of shards."""
    planned = {shard.path for shard in Plan(recipe)}
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


def card_digest(folder: Path) -> str | None:
    """Read the data's digest from a card's metadata; None if it names none."""
    try:
        found = _DIGEST.search((folder / _CARD).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return found[1] if found else None


def _hash_in_shards(folder: Path) -> str | None:
    """Give the recipe's hash that the first sample of most shards names."""
    votes: dict[str, int] = {}
    for path in sorted((folder / "data").glob("train-*.tar")):
        try:
            with path.open("rb") as file, tarfile.open(fileobj=file, mode="r:") as tar:
                found = _SHA256.search(_first_metadata(tar))
        except (OSError, tarfile.TarError, ValueError):
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
