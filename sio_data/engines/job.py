"""What every engine runs: make one shard, from (recipe, index) alone."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import torch

from sio_data.errors import IncompleteError, SioDataError
from sio_data.files import read_json, write_json
from sio_data.generator import Generator
from sio_data.images import Pixels
from sio_data.manifest import ShardRecord
from sio_data.plan import Plan, ShardPlan
from sio_data.shards import write_shard

RECORDS = ".records"


@dataclass(frozen=True)
class ShardJob:
    """Makes the shards of one set.

    While a set is incomplete, the record of each finished shard lies in `.records/`, one file a shard, so that any
    number of workers can enter theirs without a lock. A shard without a record does not count.

    Attributes:
        folder: The set's folder.
        plan: What each shard holds.
        generator: Makes the images.
    """

    folder: Path
    plan: Plan
    generator: Generator

    def make(self, index: int, advance: Callable[[int, str], None]) -> ShardRecord:
        """Make one shard, then enter its record.

        Args:
            index: Which shard.
            advance: Told after each batch how many samples it held.
        """
        shard = self.plan[index]
        record = write_shard(self.folder, shard, self.plan.recipe, self._images(shard, advance))
        self.enter([record])
        return record

    def enter(self, records: Iterable[ShardRecord]) -> None:
        """Enter the records of finished shards."""
        for record in records:
            write_json(self._record_path(record.path), vars(record))

    def record(self, index: int) -> ShardRecord | None:
        """Give the record of a shard that is finished and still there, otherwise None."""
        shard = self.plan[index].path
        path = self._record_path(shard)
        if not path.is_file() or not (self.folder / shard).is_file():
            return None
        return ShardRecord.from_json(read_json(path))

    def require_record(self, index: int) -> ShardRecord:
        """Give the record of a shard that must be finished.

        Raises:
            IncompleteError: It is not.
        """
        record = self.record(index)
        if record is None:
            raise IncompleteError(f"{self.folder / self.plan[index].path} is missing; run the same command again.")
        return record

    def _record_path(self, shard: str) -> Path:
        return self.folder / RECORDS / f"{Path(shard).stem}.json"

    def _images(self, shard: ShardPlan, advance: Callable[[int, str], None]) -> Iterator[Pixels]:
        recipe, generator = self.plan.recipe, self.generator
        own_index = torch.tensor([generator.class_names.index(name) for name in recipe.class_names])
        for batch in shard.batches(recipe.batch_size):
            labels = own_index[torch.from_numpy(shard.labels[batch])]
            images = generator.sample(labels, shard.seeds[batch].tolist())
            expected = (len(labels), 3, recipe.image_size, recipe.image_size)
            if images.dtype != torch.uint8 or tuple(images.shape) != expected:
                raise SioDataError(
                    f"generator {recipe.generator!r} gave {images.dtype} {tuple(images.shape)} "
                    f"where uint8 {expected} was due."
                )
            yield from images.permute(0, 2, 3, 1).contiguous().cpu().numpy()
            advance(len(labels), "")
