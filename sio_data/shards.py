"""Write, read and check one shard: a WebDataset tar that is the same to the byte whenever it is made again.

A sample is three adjacent members, in this order: `<key>.png`, `<key>.cls` (the label in ASCII) and `<key>.json`
(index, label, class, seed, recipe). The key is the sample's index in the set with nine digits; it holds no dot,
because WebDataset cuts a name at the first one.
"""

import io
import json
import tarfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from sio_data.errors import CorruptSetError, InputError
from sio_data.files import atomic_path, canonical_json, sha256_file
from sio_data.images import Pixels, decode, encode
from sio_data.manifest import ShardRecord
from sio_data.plan import Plan, ShardPlan
from sio_data.recipe import Recipe

_MAX_METADATA_BYTES = 1 << 16


@dataclass(frozen=True)
class Sample:
    """One synthetic image.

    Attributes:
        index: Its place in the set.
        label: Index into the recipe's class names.
        seed: What all its noise comes from.
        image: uint8 [H, W, 3], RGB.
    """

    index: int
    label: int
    seed: int
    image: Pixels


def write_shard(folder: Path, shard: ShardPlan, recipe: Recipe, images: Iterable[Pixels]) -> ShardRecord:
    """Write a shard into a set.

    Args:
        folder: The set's folder; `data/` is there.
        shard: Labels and seeds.
        recipe: The recipe they come from.
        images: One uint8 [H, W, 3] for each label, in order.

    Returns:
        The record of the finished file.
    """
    target = folder / shard.path
    with atomic_path(target) as temporary:
        with tarfile.open(temporary, "w", format=tarfile.USTAR_FORMAT) as tar:
            for offset, image in enumerate(images):
                index = shard.start + offset
                for extension, data in _members(shard, offset, recipe, image):
                    _add(tar, f"{index:09d}.{extension}", data)
        return ShardRecord(shard.path, sha256_file(temporary), temporary.stat().st_size, len(shard))


def _members(shard: ShardPlan, offset: int, recipe: Recipe, image: Pixels) -> Iterator[tuple[str, bytes]]:
    label = int(shard.labels[offset])
    metadata = {
        "index": shard.start + offset,
        "label": label,
        "class": recipe.class_names[label],
        "seed": int(shard.seeds[offset]),
        "recipe": recipe.hash,
    }
    yield recipe.image_format, encode(image, recipe.image_format)
    yield "cls", str(label).encode()
    yield "json", canonical_json(metadata).encode()


def _add(tar: tarfile.TarFile, name: str, data: bytes) -> None:
    member = tarfile.TarInfo(name)  # its defaults: mtime 0, uid and gid 0, no user name, mode 0644
    member.size = len(data)
    tar.addfile(member, io.BytesIO(data))


def check_shard(folder: Path, record: ShardRecord) -> None:
    """Compare a shard's size and hash to its record. Only this finds a truncated tar: readers end early in silence.

    Raises:
        CorruptSetError: The file is missing or differs.
    """
    path = folder / record.path
    if not path.is_file():
        raise CorruptSetError(f"{path} is missing. Run the command that made the set again: it makes missing shards.")
    size = path.stat().st_size
    if size != record.bytes or sha256_file(path) != record.sha256:
        what = f"{size:,} of {record.bytes:,} bytes" if size != record.bytes else "other bytes than recorded"
        raise CorruptSetError(
            f"{path} was changed after it was made ({what}). "
            "Delete that file and run the command that made the set again: it makes missing shards."
        )


def read_shard(folder: Path, record: ShardRecord, recipe: Recipe) -> Iterator[Sample]:
    """Check a shard's hash, then read its samples.

    Raises:
        CorruptSetError: The shard differs from its record, or holds anything but what the recipe asks for.
    """
    check_shard(folder, record)
    path = folder / record.path
    plan = Plan(recipe)
    count = 0
    try:
        with tarfile.open(path, "r:") as tar:
            for members in _triples(tar, recipe.image_format, record.bytes):
                yield _sample(*members, plan)
                count += 1
    except (tarfile.TarError, InputError, OverflowError, ValueError) as error:
        raise CorruptSetError(f"{path}, sample {count}: {error}") from error
    if count != record.samples:
        raise CorruptSetError(f"{path} holds {count} samples, its record says {record.samples}.")


def _triples(tar: tarfile.TarFile, image_format: str, most_bytes: int) -> Iterator[tuple[str, bytes, bytes, bytes]]:
    members = iter(tar)
    for first in members:
        key = first.name.partition(".")[0]
        trio = [first, next(members, None), next(members, None)]
        data = []
        for member, extension in zip(trio, (image_format, "cls", "json"), strict=True):
            if member is None or member.type != tarfile.REGTYPE or member.name != f"{key}.{extension}":
                raise InputError(f"expected {key}.{extension}, found {member.name if member else 'the end'}.")
            if member.size > (most_bytes if extension == image_format else _MAX_METADATA_BYTES):
                raise InputError(f"{member.name} is too large ({member.size:,} bytes).")
            file = tar.extractfile(member)
            data.append(file.read() if file else b"")
        yield key, data[0], data[1], data[2]


def _sample(key: str, image: bytes, label: bytes, metadata: bytes, plan: Plan) -> Sample:
    recipe = plan.recipe
    try:
        value = json.loads(metadata)
        index, number, seed = int(key), int(label), int(value["seed"])
    except (KeyError, OverflowError, RecursionError, TypeError, ValueError) as error:
        raise InputError(f"{key}: its label or metadata cannot be read ({error}).") from error
    if not 0 <= number < len(recipe.class_names):
        raise InputError(f"{key}: label {number} is outside the class map of {len(recipe.class_names)} classes.")
    if value.get("label") != number or value.get("index") != index or value.get("recipe") != recipe.hash:
        raise InputError(f"{key}: its metadata does not fit its label, its key or the recipe.")
    if not 0 <= index < recipe.samples or (number, seed) != (plan.labels(index), plan.seeds(index)):
        raise InputError(f"{key}: label {number} and seed {seed} are not those that the recipe plans for it.")
    return Sample(index, number, seed, decode(image, recipe.image_size))
