"""Write, read and check one shard: a WebDataset tar that is the same to the byte whenever it is made again.

A sample is three adjacent members, in this order: `<key>.png`, `<key>.cls` (the label in ASCII) and `<key>.json`
(index, label, class, seed, recipe). The key is the sample's index in the set with nine digits; it holds no dot,
because WebDataset cuts a name at the first one.
"""

import hashlib
import json
import tarfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from sio_data.errors import DamagedFileError, InputError
from sio_data.files import atomic_path, canonical_json, sha256_file
from sio_data.images import Pixels, decode, encode
from sio_data.manifest import ShardRecord
from sio_data.plan import Integers, Plan, ShardPlan
from sio_data.recipe import Recipe

_MAX_METADATA_BYTES = 1 << 16
_REST_OF_HEADER = b"0" + bytes(100) + b"ustar\x0000" + bytes(247)
_SUM_WITHOUT_NAME_AND_SIZE = sum(b"0000644" + b"0000000" * 2 + b"0" * 11 + b" " * 8 + _REST_OF_HEADER)


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


@dataclass(frozen=True)
class Batch:
    """Consecutive samples of a shard, as they were drawn.

    Attributes:
        images: uint8 [B, H, W, 3], RGB.
        seeds: int64 [B], those that made the images.
        draws: How many images were drawn to get them.
    """

    images: Pixels
    seeds: Integers
    draws: int


def write_shard(folder: Path, shard: ShardPlan, recipe: Recipe, batches: Iterable[Batch]) -> ShardRecord:
    """Write a shard into a set.

    Args:
        folder: The set's folder; `data/` is there.
        shard: Its labels.
        recipe: The recipe they come from.
        batches: All its samples, in order.

    Returns:
        The record of the finished file.
    """
    digest, size, count, draws = hashlib.sha256(), 0, 0, 0
    with atomic_path(folder / shard.path) as temporary, temporary.open("wb") as file:
        for batch in batches:
            data = b"".join(_members(shard, count, recipe, batch))
            digest.update(data)
            file.write(data)
            size, count, draws = size + len(data), count + len(batch.seeds), draws + batch.draws
        end = bytes(2 * tarfile.BLOCKSIZE + -(size + 2 * tarfile.BLOCKSIZE) % tarfile.RECORDSIZE)
        digest.update(end)
        file.write(end)
    return ShardRecord(shard.path, digest.hexdigest(), size + len(end), len(shard), draws)


def shard_bytes(shard: ShardPlan, recipe: Recipe, batches: Iterable[Batch]) -> int:
    """Give how many bytes the samples take in a shard."""
    return sum(len(data) for batch in batches for data in _members(shard, 0, recipe, batch))


def _members(shard: ShardPlan, first: int, recipe: Recipe, batch: Batch) -> Iterator[bytes]:
    """Give the members of a batch whose first sample is number `first` of the shard."""
    files = encode(batch.images, recipe.image_format)
    for offset, (image, seed) in enumerate(zip(files, batch.seeds.tolist(), strict=True), start=first):
        index, label = shard.start + offset, int(shard.labels[offset])
        yield from _member(f"{index:09d}.{recipe.image_format}", image)
        yield from _member(f"{index:09d}.cls", str(label).encode())
        yield from _member(f"{index:09d}.json", _metadata(recipe, index, label, seed))


def _metadata(recipe: Recipe, index: int, label: int, seed: int) -> bytes:
    value = {"index": index, "label": label, "class": recipe.class_names[label], "seed": seed, "recipe": recipe.hash}
    return canonical_json(value).encode()


def _member(name: str, data: bytes) -> tuple[bytes, bytes, bytes]:
    """Give a file's USTAR header (POSIX.1-1988), its data and the padding to whole blocks.

    The same bytes as `tarfile` writes for a TarInfo with nothing but a name and a size (mode 0644, all else zero), at
    a tenth of the time.
    """
    size = b"%011o" % len(data)
    checksum = _SUM_WITHOUT_NAME_AND_SIZE + sum(name.encode()) + sum(size)
    header = b"".join((
        name.encode().ljust(100, b"\0"), b"0000644\0", b"0000000\0" * 2, size, b"\0", b"0" * 11, b"\0",
        b"%06o\0 " % checksum, _REST_OF_HEADER,
    ))  # fmt: skip
    return header, data, bytes(-len(data) % tarfile.BLOCKSIZE)


def check_shard(folder: Path, record: ShardRecord) -> None:
    """Compare a shard's size and hash to its record. Only this finds a truncated tar: readers end early in silence.

    Raises:
        DamagedFileError: The file is missing or differs.
    """
    path = folder / record.path
    if not path.is_file():
        raise DamagedFileError(folder, record.path, "is missing")
    if not is_sound(folder, record):
        size = path.stat().st_size
        what = f"{size:,} of {record.bytes:,} bytes" if size != record.bytes else "other bytes than recorded"
        raise DamagedFileError(folder, record.path, f"was changed after it was made ({what})")


def is_sound(folder: Path, record: ShardRecord) -> bool:
    """Tell whether a shard is what its record says, by size and hash."""
    path = folder / record.path
    return path.is_file() and path.stat().st_size == record.bytes and sha256_file(path) == record.sha256


def read_shard(folder: Path, record: ShardRecord, recipe: Recipe) -> Iterator[Sample]:
    """Check a shard's hash, then read its samples.

    Raises:
        DamagedFileError: The shard differs from its record, or holds anything but what the recipe asks for.
    """
    check_shard(folder, record)
    path = folder / record.path
    expected = _Expected(record, Plan(recipe))
    count = 0
    try:
        with path.open("rb") as file, tarfile.open(fileobj=file, mode="r:") as tar:
            for members in _triples(tar, recipe.image_format, record.bytes):
                yield expected.check(*members)
                count += 1
    except (tarfile.TarError, InputError, OverflowError, ValueError) as error:
        what = f"has a wrong sample, number {count}: {str(error).rstrip('.')}"
        raise DamagedFileError(folder, record.path, what) from error
    if count != record.samples:
        raise DamagedFileError(folder, record.path, f"holds {count} samples, its record says {record.samples}")


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


class _Expected:
    """Compares the samples of a shard, one after the other, to what the recipe plans for it."""

    def __init__(self, record: ShardRecord, plan: Plan) -> None:
        self._plan, self._recipe = plan, plan.recipe
        self._next = int(record.path[-10:-4]) * plan.recipe.shard_size
        self._seeds: set[int] = set()

    def check(self, key: str, image: bytes, label: bytes, metadata: bytes) -> Sample:
        """Read one sample.

        Raises:
            InputError: It is not what is due here.
        """
        try:
            value = json.loads(metadata)
            index, number, seed = int(key), int(label), int(value["seed"])
        except (KeyError, OverflowError, RecursionError, TypeError, ValueError) as error:
            raise InputError(f"{key}: its label or metadata cannot be read ({error}).") from error
        if not 0 <= number < len(self._recipe.class_names):
            raise InputError(f"{key}: label {number} is outside the class map of {len(self._recipe.class_names)}.")
        if metadata != _metadata(self._recipe, index, number, seed):
            raise InputError(f"{key}: its metadata does not fit its label, its key or the recipe.")
        if index != self._next or index >= self._recipe.samples:
            raise InputError(f"{key}: sample {self._next} is due here.")
        if number != self._plan.labels(index) or not self._seed_fits(index, seed):
            raise InputError(f"{key}: label {number} and seed {seed} are not those that the recipe plans for it.")
        self._next += 1
        self._seeds.add(seed)
        return Sample(index, number, seed, decode(image, self._recipe.image_size))

    def _seed_fits(self, index: int, seed: int) -> bool:
        """Tell whether the seed is the sample's first, or another of its shard's, which serve redraws."""
        if seed == self._plan.seeds(index):
            return True
        owner = self._plan.sample_of(seed)
        size = self._recipe.shard_size
        return owner is not None and owner // size == index // size and seed not in self._seeds
