"""What is left of a damaged shard."""

import io
import tarfile
from collections.abc import Iterator

from sio_data.compilation import SetRecipe
from sio_data.errors import InputError
from sio_data.manifest import ShardRecord
from sio_data.shards import Sample, SampleCheck, first_index, read_triples, sample_key


def salvage(data: bytes, record: ShardRecord, recipe: SetRecipe) -> Iterator[Sample | InputError]:
    """Read a shard whose bytes are not those that were recorded.

    Each sample is looked for by its name and compared in all it says to what the recipe asks for.

    Yields:
        Each sample in its turn, or what is wrong with it.
    """
    check, start = SampleCheck(recipe), first_index(record, recipe)
    file, place = io.BytesIO(data), 0
    for index in range(start, start + record.samples):
        found = _find(data, f"{sample_key(index)}.{recipe.image_format}", place)
        try:
            if found is None:
                raise InputError("it is missing.")
            file.seek(found)
            yield check.check(index, *next(read_triples(file, recipe.image_format, record.bytes)))
            place = file.tell()
        except (InputError, OverflowError, ValueError) as error:
            yield InputError(str(error))


def _find(data: bytes, name: str, place: int) -> int | None:
    """Find the header of a file, from a place on; None if there is none."""
    wanted = name.encode() + b"\0"
    place = data.find(wanted, place)
    while place % tarfile.BLOCKSIZE and place != -1:
        place = data.find(wanted, place + 1)
    return None if place == -1 else place
