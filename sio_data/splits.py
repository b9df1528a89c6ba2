"""The splits of a source as `datasets` reads them; sets of ours are checked before."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sio_data.errors import DamagedFileError
from sio_data.foreign import cache_named, open_dataset, open_folder
from sio_data.hub.names import HubName
from sio_data.manifest import MANIFEST
from sio_data.progress import progress
from sio_data.recovery import CARD
from sio_data.set_card import CARD_UNFIT, card_fits
from sio_data.sets import SyntheticSet, open_set
from sio_data.shards import check_shard, check_size
from sio_data.source_names import SourceName

if TYPE_CHECKING:
    from sio_data.hub.finding import HubSets


def open_splits(source: SourceName, *, streaming: bool = False) -> Mapping[str, Any]:
    """Open the splits of a folder or of a data set on the Hub.

    Args:
        source: A folder, or a data set on the Hub.
        streaming: Whether to leave its data where they are, and read them as they are asked for.

    Returns:
        A `Dataset` for each split, or an `IterableDataset` if streaming. Sets of ours on the Hub are opened, and
        checked, when they are asked for.

    Raises:
        UnknownNameError: There is no such folder.
        InputError: It cannot be read.
        IncompleteError: It is a set that is not finished.
        CorruptSetError: It is a set with a shard or a card that is not as it was made.
    """
    if source.hub:
        from sio_data.hub.finding import find_hub_sets

        sets = find_hub_sets(HubName(source.path, source.revision), source.config)
        if sets is not None:
            return _HubSplits(sets, replace(source, revision=sets.name.revision), streaming)
    elif (Path(source.path) / MANIFEST).is_file():
        return _open_local(open_set(source.path), streaming)
    splits: Mapping[str, Any] = open_dataset(source, streaming=streaming)
    return splits


@dataclass(frozen=True)
class _HubSplits(Mapping[str, Any]):
    """Sets of ours on the Hub; `source` names the commit."""

    sets: "HubSets"
    source: SourceName
    streaming: bool

    def __getitem__(self, split: str) -> Any:
        if self.streaming:
            self.sets.check_remote(split)
            return open_dataset(self.source, streaming=True)[split]
        return _open_checked(open_set(self.sets.fetch(split)), streaming=False)["train"]

    def __iter__(self) -> Iterator[str]:
        return iter(self.sets.places)

    def __len__(self) -> int:
        return len(self.sets.places)


def _open_local(synthetic: SyntheticSet, streaming: bool) -> Mapping[str, Any]:
    folder, manifest = synthetic.folder, synthetic.manifest
    with progress(f"checking {folder}", len(manifest.shards)) as advance:
        for record in manifest.shards:
            (check_size if streaming else check_shard)(folder, record)
            advance(1, "")
    return _open_checked(synthetic, streaming)


def _open_checked(synthetic: SyntheticSet, streaming: bool) -> Mapping[str, Any]:
    """Open a set that lies here, after a look at its card, which `load_dataset` takes as it is.

    It gets a cache of its own, by the digest of the data: the one that everybody's `load_dataset` shares may hold rows
    of a shard that was cut off when it was read.
    """
    if not card_fits(synthetic.folder, synthetic.manifest):
        raise DamagedFileError(synthetic.folder, CARD, CARD_UNFIT)
    cache = cache_named(synthetic.manifest.digest)
    splits: Mapping[str, Any] = open_folder(synthetic.folder, cache, streaming=streaming)
    return splits
