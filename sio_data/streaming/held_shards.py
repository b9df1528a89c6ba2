"""Shards in memory, and their samples one by one."""

import tarfile
from itertools import chain
from threading import Event

from sio_data.compilation import SetRecipe
from sio_data.errors import CorruptSetError, InputError
from sio_data.files import sha256_bytes
from sio_data.images import Pixels, decode
from sio_data.manifest import ShardRecord
from sio_data.png import unpack_png
from sio_data.shards import first_index, sample_key
from sio_data.streaming.bad_samples import BadSamples
from sio_data.streaming.salvage import salvage
from sio_data.streaming.stores import Store

_SIZE_FIELD = slice(124, 135)

_File = tuple[memoryview, int]  # the image's file, and the label


class HeldShard:
    """A shard in memory.

    Args:
        data: The whole file.
        sound: Whether it has the hash that was recorded.
        record: What it should be.
        recipe: What the set holds.
        bad: Counts the samples that cannot be used.

    Raises:
        CorruptSetError: Too many samples are bad.
    """

    def __init__(self, data: bytes, sound: bool, record: ShardRecord, recipe: SetRecipe, bad: BadSamples) -> None:
        self._path = record.path
        self._start = first_index(record, recipe)
        self._size = recipe.image_size
        self._bad = bad
        files = _find_files(data, record, recipe) if sound else None
        self._files = self._salvage(data, record, recipe) if files is None else files

    def open(self, sample: int) -> tuple[bytes | Pixels, int]:
        """Give a sample by its place in the shard; if it is bad, the next sound one, after the last one the first.

        Returns:
            Its image, as rows for `unfilter_png` or as uint8 [H, H, 3], and its label.

        Raises:
            CorruptSetError: Too many samples are bad, or all of this shard.
        """
        for place in chain(range(sample, len(self._files)), range(sample)):
            found = self._files[place]
            if found is None:
                continue
            file, label = found
            try:
                rows = unpack_png(file, self._size)
                return decode(bytes(file), self._size) if rows is None else rows, label
            except InputError as error:
                self._files[place] = None
                self._skip(place, error)
        raise CorruptSetError(f"{self._path} holds no sample that can be read.")

    def _salvage(self, data: bytes, record: ShardRecord, recipe: SetRecipe) -> list[_File | None]:
        files: list[_File | None] = []
        for place, sample in enumerate(salvage(data, record, recipe)):
            if isinstance(sample, InputError):
                self._skip(place, sample)
                files.append(None)
            else:
                files.append((memoryview(sample.data), sample.label))
        return files

    def _skip(self, place: int, error: InputError) -> None:
        self._bad.add(self._path, sample_key(self._start + place), str(error).rstrip("."))


def load_shard(store: Store, record: ShardRecord, recipe: SetRecipe, bad: BadSamples, stop: Event) -> HeldShard:
    """Bring a shard into memory; one that arrives with other bytes than recorded is fetched once more.

    Raises:
        CorruptSetError: It is missing, or too many samples are bad.
        SioDataError: It cannot be read.
    """
    data = store.read(record.path, record.bytes + 1, stop)
    sound = sha256_bytes(data) == record.sha256
    if not sound:
        data = store.read(record.path, record.bytes + 1, stop)
        sound = sha256_bytes(data) == record.sha256
    return HeldShard(data, sound, record, recipe, bad)


def _find_files(data: bytes, record: ShardRecord, recipe: SetRecipe) -> list[_File | None] | None:
    """Find the samples of a shard with the right hash by their sizes; None if they are not where they must be."""
    files: list[_File | None] = []
    view, place, start = memoryview(data), 0, first_index(record, recipe)
    image_end, classes = f"{recipe.image_format}\0".encode(), len(recipe.class_names)
    try:
        for index in range(start, start + record.samples):
            key = b"%09d." % index
            image, place = _find_member(data, place, key + image_end)
            text, place = _find_member(data, place, key + b"cls\0")
            _, place = _find_member(data, place, key + b"json\0")
            label = int(data[text])
            if not 0 <= label < classes:
                return None
            files.append((view[image], label))
    except ValueError:
        return None
    return files


def _find_member(data: bytes, place: int, name: bytes) -> tuple[slice, int]:
    """Give where the content of the member whose header is at a place lies, and where the next header is."""
    size = int(data[place + _SIZE_FIELD.start : place + _SIZE_FIELD.stop], 8)
    start = place + tarfile.BLOCKSIZE
    if size < 0 or start + size > len(data) or not data.startswith(name, place):
        raise ValueError(name)
    return slice(start, start + size), start + size + -size % tarfile.BLOCKSIZE
