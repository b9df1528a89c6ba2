"""The images of a shard in memory, one by one."""

from itertools import chain
from mmap import mmap
from tarfile import BLOCKSIZE
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

_SIZE_START, _SIZE_END = 124, 135  # of the field in a header

_File = tuple[bytes, int]  # an image's file, and its label


class HeldShard:
    """The images of a shard in memory, as files.

    Args:
        data: The whole shard.
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
        self._keep(files or self._salvage(data, record, recipe))

    def open(self, sample: int) -> tuple[bytes | Pixels, int]:
        """Give a sample by its place in the shard; if it is bad, the next sound one, after the last one the first.

        Returns:
            Its image, as rows for `unfilter_png` or as uint8 [H, H, 3], and its label.

        Raises:
            CorruptSetError: Too many samples are bad, or all of this shard.
        """
        for place in chain(range(sample, len(self._places)), range(sample)):
            found = self._places[place]
            if found is None:
                continue
            file, label = self._memory[found[0] : found[1]], found[2]
            try:
                rows = unpack_png(file, self._size)
                return decode(file, self._size) if rows is None else rows, label
            except InputError as error:
                self._places[place] = None
                self._skip(place, error)
        raise CorruptSetError(f"{self._path} holds no sample that can be read.")

    def _keep(self, files: list[_File | None]) -> None:
        """Copy the files into memory of their own, which goes back to the system as soon as the shard is let go.

        What several threads take from the allocator and let go in turn leaves holes: after some windows, half as much
        again would be in use.
        """
        self._memory = mmap(-1, 1 + sum(len(file[0]) for file in files if file))
        self._places: list[tuple[int, int, int] | None] = []
        for file in files:
            start = self._memory.tell()
            self._places.append((start, start + self._memory.write(file[0]), file[1]) if file else None)

    def _salvage(self, data: bytes, record: ShardRecord, recipe: SetRecipe) -> list[_File | None]:
        files: list[_File | None] = []
        for place, sample in enumerate(salvage(data, record, recipe)):
            if isinstance(sample, InputError):
                self._skip(place, sample)
                files.append(None)
            else:
                files.append((sample.data, sample.label))
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
    """Find the images of a shard that has the right hash; None if its samples are not where they must be."""
    files: list[_File | None] = []
    place, start, classes = 0, first_index(record, recipe), len(recipe.class_names)
    ends = (f"{recipe.image_format}\0".encode(), b"cls\0", b"json\0")
    try:
        for index in range(start, start + record.samples):
            key, members = b"%09d." % index, []
            for end in ends:
                size = int(data[place + _SIZE_START : place + _SIZE_END], 8)
                if size < 0 or not data.startswith(key + end, place):
                    return None
                place += BLOCKSIZE
                members.append(data[place : place + size])
                place += size + -size % BLOCKSIZE
            label = int(members[1])
            if not 0 <= label < classes:
                return None
            files.append((members[0], label))
    except ValueError:
        return None
    return files if place <= len(data) else None
