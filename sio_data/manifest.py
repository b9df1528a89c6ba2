"""sio.json: what a set holds and where it came from."""

import re
import reprlib
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from sio_data.compilation import SetRecipe, read_set_recipe
from sio_data.errors import CorruptSetError, DamagedFileError, InputError
from sio_data.files import parse_json, read_json, sha256_json, write_json
from sio_data.layout import Layout

MANIFEST = "sio.json"
_FORMAT = "sio-data/set/1"
_SHARD_PATH = re.compile(r"data/[a-z]+-\d{6}\.tar")
_SHA256 = re.compile(r"[0-9a-f]{64}")


def is_manifest(value: Mapping[str, object]) -> bool:
    """Tell whether a JSON object is meant as a `sio.json`, of this version or another one, sound or not."""
    return str(value.get("format", "")).startswith(_FORMAT.rpartition("/")[0])


@dataclass(frozen=True)
class ShardRecord:
    """One finished shard.

    Attributes:
        path: Relative to the set, with forward slashes.
        sha256: Of the whole file.
        bytes: Size of the file.
        samples: How many samples it holds.
        draws: How many images were drawn for them; more than `samples` if some were refused.
    """

    path: str
    sha256: str
    bytes: int
    samples: int
    draws: int

    @classmethod
    def from_json(cls, value: object) -> "ShardRecord":
        """Read a record, trusting nothing: a path cannot lead out of the set.

        Raises:
            CorruptSetError: It is not a record.
        """
        try:
            record = cls(**value)  # type: ignore[arg-type]
            sound = (
                _SHARD_PATH.fullmatch(record.path)
                and _SHA256.fullmatch(record.sha256)
                and all(type(number) is int and number > 0 for number in (record.bytes, record.samples, record.draws))
                and record.draws >= record.samples
            )
        except TypeError:
            sound = None
        if not sound:
            raise CorruptSetError(f"not a shard record: {reprlib.repr(value)}.")
        return record


@dataclass(frozen=True)
class Origin:
    """Where the images come from.

    Attributes:
        weights: The generator's weights as they were named; of an absolute path only the last part, after `…/`.
        licence: Licence of the weights.
        citation: How to cite the generator; may be empty.
        command: The command that makes the set, without `--out`.
    """

    weights: str
    licence: str
    citation: str
    command: str

    def __post_init__(self) -> None:
        if not all(isinstance(value, str) for value in vars(self).values()):
            raise InputError("the generator's provenance is not all text.")


@dataclass(frozen=True)
class Manifest:
    """What a set holds and where it came from.

    Attributes:
        recipe: What it holds.
        origin: The generator's provenance.
        complete: Whether every shard is there.
        shards: The finished shards, in order; empty while the set is incomplete.
        versions: The packages that made it, by name.
    """

    recipe: SetRecipe
    origin: Origin
    complete: bool = False
    shards: tuple[ShardRecord, ...] = ()
    versions: Mapping[str, str] = field(default_factory=dict)

    @property
    def draws(self) -> int:
        """How many images were drawn; more than there are samples if the generator refused some."""
        return sum(shard.draws for shard in self.shards)

    @property
    def digest(self) -> str:
        """SHA-256 of the list of shards, which holds their hashes: it stands for all bytes of the data."""
        return sha256_json([asdict(shard) for shard in self.shards])

    def _fits_plan(self) -> bool:
        layout = Layout(self.recipe)
        return len(self.shards) == len(layout) and all(
            (shard.path, shard.samples) == (layout.path(index), layout.size(index))
            for index, shard in enumerate(self.shards)
        )

    def to_json(self) -> dict[str, Any]:
        """Give the manifest as a JSON object, with a checksum of its own."""
        value: dict[str, Any] = {
            "format": _FORMAT,
            "complete": self.complete,
            "recipe_hash": self.recipe.hash,
            "recipe": self.recipe.to_json(),
            "generator": asdict(self.origin),
            "versions": dict(self.versions),
            "samples": sum(shard.samples for shard in self.shards),
            "digest": self.digest,
            "shards": [asdict(shard) for shard in self.shards],
        }
        return {**value, "checksum": sha256_json(value)}

    def write(self, folder: Path) -> None:
        """Write `sio.json` into a set."""
        write_json(folder / MANIFEST, self.to_json())

    @classmethod
    def read(cls, folder: Path, data: bytes | None = None) -> "Manifest":
        """Read `sio.json` of a set and check it in itself; the shards are not looked at.

        Args:
            folder: The set.
            data: The content of the file, if it was read before.

        Raises:
            DamagedFileError: It is not a sound manifest.
        """
        path = folder / MANIFEST
        try:
            value = read_json(path) if data is None else parse_json(data, path)
            if value.get("format") != _FORMAT:
                raise InputError(f"format {value.get('format')!r} is not {_FORMAT!r}.")
            manifest = cls(
                recipe=read_set_recipe(value.get("recipe")),
                origin=Origin(**value["generator"]),
                complete=value["complete"] is True,
                shards=tuple(map(ShardRecord.from_json, value["shards"])),
                versions=dict(value["versions"]),
            )
            checksum = sha256_json({key: item for key, item in value.items() if key != "checksum"})
        except (InputError, KeyError, OverflowError, RecursionError, TypeError, ValueError) as error:
            what = f"is not a sound manifest: {str(error).removeprefix(f'{path}: ').rstrip('.')}"
            raise DamagedFileError(folder, MANIFEST, what) from error
        if value.get("checksum") != checksum:
            raise DamagedFileError(folder, MANIFEST, "was edited: its checksum does not fit what it says")
        if manifest.complete and not manifest._fits_plan():
            what = "says complete, but its shards are not those that its recipe asks for"
            raise DamagedFileError(folder, MANIFEST, what)
        return manifest


def find_sets(folder: Path) -> list[Path]:
    """List the sets that lie in a folder, or in a folder of it; hidden ones do not count."""
    found = {path.parent for pattern in ("*", "*/*") for path in folder.glob(f"{pattern}/{MANIFEST}")}
    visible = [path for path in found if not any(part.startswith(".") for part in path.relative_to(folder).parts)]
    return sorted((path for path in visible if path.parent not in found), key=str)
