"""Write, read and check one shard: a WebDataset tar that is the same to the byte whenever it is made again.

A sample is three adjacent members, in this order: `<key>.png`, `<key>.cls` (the label in ASCII) and `<key>.json`
(index, label, class and recipe, and the seed or, of a compiled sample, its source). The key is the sample's index in
the set with nine digits; it holds no dot, because WebDataset cuts a name at the first one.
"""

import hashlib
import json
import tarfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from sio_data.compilation import Compilation, SetRecipe, generated_recipe
from sio_data.errors import DamagedFileError, InputError
from sio_data.files import atomic_path, canonical_json, sha256_file
from sio_data.images import Pixels, decode, encode
from sio_data.layout import Layout
from sio_data.manifest import ShardRecord
from sio_data.plan import Integers, Plan
from sio_data.recipe import Recipe

_MAX_METADATA_BYTES = 1 << 16
_CHANGED = "was changed after it was made"
_NAME_BYTES, _SIZE_FIELD = 100, slice(124, 135)
_REST_OF_HEADER = b"0" + bytes(100) + b"ustar\x0000" + bytes(247)
_SUM_WITHOUT_NAME_AND_SIZE = sum(b"0000644" + b"0000000" * 2 + b"0" * 11 + b" " * 8 + _REST_OF_HEADER)


@dataclass(frozen=True)
class Sample:
    """One image of a set.

    Attributes:
        index: Its place in the set.
        label: Index into the class names.
        image: uint8 [H, W, 3], RGB.
        data: The file that the image was decoded from.
        metadata: Its JSON: index, label, class and recipe, and either `seed`, what all its noise comes from, or
            `source`, an object that says where a compiled sample was.
    """

    index: int
    label: int
    image: Pixels
    data: bytes
    metadata: Mapping[str, Any]

    @property
    def key(self) -> str:
        """What its files are named by."""
        return sample_key(self.index)


def sample_key(index: int) -> str:
    """Give what a sample's files are named by."""
    return f"{index:09d}"


@dataclass(frozen=True)
class Batch:
    """Consecutive samples of a shard, on their way into it.

    Attributes:
        images: uint8 [B, H, W, 3], RGB.
        labels: int64 [B].
        details: What the metadata of each says of where it comes from: `seed` or `source`.
        draws: How many images were drawn to get them.
    """

    images: Pixels
    labels: Integers
    details: Sequence[Mapping[str, Any]]
    draws: int

    def __len__(self) -> int:
        return len(self.images)


def write_shard(folder: Path, layout: Layout[SetRecipe], index: int, batches: Iterable[Batch]) -> ShardRecord:
    """Write a shard into a set.

    Args:
        folder: The set's folder; `data/` is there.
        layout: How the set is cut in shards.
        index: Which shard.
        batches: All its samples, in order.

    Returns:
        The record of the finished file.
    """
    digest, size, count, draws = hashlib.sha256(), 0, 0, 0
    path, start = layout.path(index), layout.start(index)
    with atomic_path(folder / path) as temporary, temporary.open("wb") as file:
        for batch in batches:
            data = b"".join(_members(layout.recipe, start + count, batch))
            digest.update(data)
            file.write(data)
            size, count, draws = size + len(data), count + len(batch), draws + batch.draws
        end = bytes(2 * tarfile.BLOCKSIZE + -(size + 2 * tarfile.BLOCKSIZE) % tarfile.RECORDSIZE)
        digest.update(end)
        file.write(end)
    return ShardRecord(path, digest.hexdigest(), size + len(end), layout.size(index), draws)


def shard_bytes(recipe: SetRecipe, batches: Iterable[Batch]) -> int:
    """Give how many bytes the samples take in a shard."""
    return sum(len(data) for batch in batches for data in _members(recipe, 0, batch))


def _members(recipe: SetRecipe, first: int, batch: Batch) -> Iterator[bytes]:
    """Give the members of a batch whose first sample has the index `first` in the set."""
    files = encode(batch.images, recipe.image_format)
    samples = zip(files, batch.labels.tolist(), batch.details, strict=True)
    for index, (image, label, details) in enumerate(samples, start=first):
        yield from _member(f"{index:09d}.{recipe.image_format}", image)
        yield from _member(f"{index:09d}.cls", str(label).encode())
        yield from _member(f"{index:09d}.json", _metadata(recipe, index, label, details))


def _metadata(recipe: SetRecipe, index: int, label: int, details: Mapping[str, Any]) -> bytes:
    value = {"index": index, "label": label, "class": recipe.class_names[label], "recipe": recipe.hash, **details}
    return canonical_json(value).encode()


def _member(name: str, data: bytes) -> tuple[bytes, bytes, bytes]:
    """Give a file's header, its data and the padding to whole blocks."""
    return _header(name.encode(), len(data)), data, bytes(-len(data) % tarfile.BLOCKSIZE)


def _header(name: bytes, size: int) -> bytes:
    """Give the USTAR header (POSIX.1-1988) of a file.

    The same bytes as `tarfile` writes for a TarInfo with nothing but a name and a size (mode 0644, all else zero), at
    a tenth of the time.
    """
    digits = b"%011o" % size
    checksum = _SUM_WITHOUT_NAME_AND_SIZE + sum(name) + sum(digits)
    return b"".join((
        name.ljust(_NAME_BYTES, b"\0"), b"0000644\0", b"0000000\0" * 2, digits, b"\0", b"0" * 11, b"\0",
        b"%06o\0 " % checksum, _REST_OF_HEADER,
    ))  # fmt: skip


def check_shard(folder: Path, record: ShardRecord) -> None:
    """Compare a shard's size and hash to its record. Only this finds a truncated tar: readers end early in silence.

    Raises:
        DamagedFileError: The file is missing or differs.
    """
    check_size(folder, record)
    if sha256_file(folder / record.path) != record.sha256:
        raise DamagedFileError(folder, record.path, f"{_CHANGED} (other bytes than recorded)")


def check_size(folder: Path, record: ShardRecord) -> None:
    """Compare a shard's size to its record: cheap, and enough to find a truncated tar.

    Raises:
        DamagedFileError: The file is missing or of another size.
    """
    path = folder / record.path
    if not path.is_file():
        raise DamagedFileError(folder, record.path, "is missing")
    size = path.stat().st_size
    if size != record.bytes:
        raise DamagedFileError(folder, record.path, f"{_CHANGED} ({size:,} of {record.bytes:,} bytes)")


def read_shard(folder: Path, record: ShardRecord, recipe: SetRecipe) -> Iterator[Sample]:
    """Check a shard's hash, then read its samples.

    Raises:
        DamagedFileError: The shard differs from its record, or holds anything but what the recipe asks for.
    """
    check_shard(folder, record)
    path = folder / record.path
    expected, start = SampleCheck(recipe), first_index(record, recipe)
    count = 0
    try:
        with path.open("rb") as file:
            for members in read_triples(file, recipe.image_format, record.bytes):
                yield expected.check(start + count, *members)
                count += 1
    except (InputError, OverflowError, ValueError) as error:
        what = f"has a wrong sample, number {count}: {str(error).rstrip('.')}"
        raise DamagedFileError(folder, record.path, what) from error
    if count != record.samples:
        raise DamagedFileError(folder, record.path, f"holds {count} samples, its record says {record.samples}")


def first_index(record: ShardRecord, recipe: SetRecipe) -> int:
    """Give the index, in the set, of a shard's first sample."""
    return int(record.path[-10:-4]) * recipe.shard_size


def read_triples(file: BinaryIO, image_format: str, most_bytes: int) -> Iterator[tuple[str, bytes, bytes, bytes]]:
    """Give key, image, label and metadata of each sample. Only the headers that `_header` writes are taken."""
    while any(header := file.read(tarfile.BLOCKSIZE)):
        key = header.partition(b".")[0].decode("ascii", "replace")
        image = _read_member(file, header, f"{key}.{image_format}", most_bytes)
        label, metadata = (
            _read_member(file, file.read(tarfile.BLOCKSIZE), f"{key}.{extension}", _MAX_METADATA_BYTES)
            for extension in ("cls", "json")
        )
        yield key, image, label, metadata


def _read_member(file: BinaryIO, header: bytes, name: str, most_bytes: int) -> bytes:
    digits = header[_SIZE_FIELD]
    size = int(digits, 8) if digits.isdigit() else 0
    if header != _header(name.encode(), size):
        found = header[:_NAME_BYTES].rstrip(b"\0").decode("ascii", "replace")
        found = "one of that name with another header" if found == name else found
        raise InputError(f"expected {name}, found {found or 'the end'}.")
    if size > most_bytes:
        raise InputError(f"{name} is too large ({size:,} bytes).")
    data = file.read(size + -size % tarfile.BLOCKSIZE)
    if len(data) < size:
        raise InputError(f"{name} is cut off.")
    return data[:size]


class SampleCheck:
    """Compares the samples of a shard to what is due there."""

    def __init__(self, recipe: SetRecipe) -> None:
        self._recipe = recipe
        generated = generated_recipe(recipe)
        self._plan = Plan(generated) if generated else None
        self._seeds: set[int] = set()

    def check(self, due: int, key: str, image: bytes, label: bytes, metadata: bytes) -> Sample:
        """Read one sample, where that of index `due` must be.

        Raises:
            InputError: It is not what is due here.
        """
        try:
            value = json.loads(metadata)
            index, number = int(key), int(label)
            origin = "seed" if isinstance(self._recipe, Recipe) else "source"
            details = {origin: value[origin]}
            sound = 0 <= number < len(self._recipe.class_names)
            fitting = sound and metadata == _metadata(self._recipe, index, number, details)
        except (KeyError, OverflowError, RecursionError, TypeError, ValueError) as error:
            raise InputError(f"{key}: its label or metadata cannot be read ({error}).") from error
        if not sound:
            raise InputError(f"{key}: label {number} is outside the class map of {len(self._recipe.class_names)}.")
        if not fitting:
            raise InputError(f"{key}: its metadata does not fit its label, its key or the recipe.")
        if index != due or index >= self._recipe.samples:
            raise InputError(f"{key}: sample {due} is due here.")
        self._check_origin(key, number, details)
        return Sample(index, number, decode(image, self._recipe.image_size), image, value)

    def _check_origin(self, key: str, label: int, details: Mapping[str, Any]) -> None:
        """Follow a sample through the sets it was chosen from to the plan it was generated by, if it was."""
        recipe: SetRecipe | None = self._recipe
        origin = key
        try:
            while isinstance(recipe, Compilation):
                details, recipe = details["source"], recipe.parent
                if recipe is not None:
                    origin = details["key"]
                    if origin != sample_key(int(origin)) or details["recipe"] != recipe.hash:
                        raise InputError(f"{key}: its source is no sample of the set it was chosen from.")
            if self._plan and not self._is_planned(self._plan, int(origin), label, details["seed"]):
                raise InputError(
                    f"{key}: label {label} and seed {details['seed']} are not those that the recipe plans."
                )
        except (KeyError, OverflowError, TypeError, ValueError) as error:
            raise InputError(f"{key}: its metadata do not say where it comes from ({error}).") from error

    def _is_planned(self, plan: Plan, index: int, label: int, seed: object) -> bool:
        """Check label and seed: the sample's first seed, or another of its shard's, which serve redraws."""
        if type(seed) is not int or not 0 <= seed < 2**32 or not 0 <= index < plan.recipe.samples:
            return False
        owner, size = plan.sample_of(seed), plan.recipe.shard_size
        redrawn = owner is not None and owner // size == index // size
        fits = label == plan.labels(index) and (seed == plan.seeds(index) or redrawn) and seed not in self._seeds
        self._seeds.add(seed)
        return fits
