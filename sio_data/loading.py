"""`load`: any source as a `datasets.Dataset` with the columns `image` and `label`."""

from pathlib import Path
from typing import Any

from sio_data.embedded import EMBEDDED, load_embedded
from sio_data.errors import DamagedFileError, InputError, UnknownNameError
from sio_data.foreign import cache_named, find_columns, open_dataset, open_folder
from sio_data.image_set import ImageSet
from sio_data.manifest import MANIFEST
from sio_data.progress import progress
from sio_data.recovery import CARD
from sio_data.set_card import CARD_UNFIT, card_fits
from sio_data.sets import SyntheticSet, open_set
from sio_data.shards import check_shard, check_size
from sio_data.source_names import SourceName, choose_split

_ALSO_KEPT = {"json": "json", "__key__": "key"}


def load(name: str | Path, split: str = "train", *, streaming: bool = False) -> Any:
    """Load a split of a source for `datasets`: nothing is held in memory.

    A set that this package made is refused if it is incomplete, or if a shard is not what the manifest says: readers
    of tars, `load_dataset` among them, take one that was cut off for a short one, and say nothing.

    Args:
        name: A folder, a data set on the Hub, or an embedded source; see `sio_data.sources`. A `#split` in it goes
            before `split`.
        split: Name of a split, or what it means: `val` is also called `validation`. Nothing is held out of a training
            split, unlike in `load_source`.
        streaming: Give rows as they are read, without a copy in the cache of `datasets`. Of a local set only the sizes
            of the shards are compared to the manifest then, and not their hashes.

    Returns:
        A `datasets.Dataset`, or an `IterableDataset` if streaming, with the columns `image` (`Image`) and `label`
        (`ClassLabel` with the class names). Where a data set has them, as every set of this package does, `json` (where
        a sample comes from) and `key` (what its files are named by) stay; other columns are left out.

    Raises:
        UnknownNameError: There is no such source or split.
        InputError: It cannot be read, is a URL that is not `file://`, or has no images or no named labels.
        IncompleteError: It is a set that is not finished.
        CorruptSetError: It is a set with a shard or a card that is not as it was made.
    """
    source = SourceName.parse(name)
    whole = _open(source, streaming)
    chosen = choose_split(source, list(whole), split)
    if chosen is None:
        raise UnknownNameError(f"split of {source}", split, list(whole))
    return _with_our_columns(whole[chosen], source)


def _open(source: SourceName, streaming: bool) -> Any:
    """Open all splits of a source, by name."""
    if not source.hub and source.path in EMBEDDED:
        splits = {split: _as_dataset(load_embedded(source.path, split)) for split in EMBEDDED[source.path]}
        return {split: rows.to_iterable_dataset() if streaming else rows for split, rows in splits.items()}
    if not source.hub and (Path(source.path) / MANIFEST).is_file():
        return _open_ours(open_set(source.path), streaming)
    return open_dataset(source, streaming=streaming)


def _as_dataset(images: ImageSet) -> Any:
    import datasets

    names = list(images.require_labels().class_names)
    features = datasets.Features({"image": datasets.Image(), "label": datasets.ClassLabel(names=names)})
    pictures = list(images.images.permute(0, 2, 3, 1).numpy())
    return datasets.Dataset.from_dict({"image": pictures, "label": images.labels.tolist()}, features=features)


def _open_ours(synthetic: SyntheticSet, streaming: bool) -> Any:
    """Open a set of ours that lies here, after a look at what `load_dataset` takes as it is.

    It gets a cache of its own, by the digest of the data: the one that everybody's `load_dataset` shares may hold rows
    of a shard that was cut off when it was read.
    """
    folder, manifest = synthetic.folder, synthetic.manifest
    if not card_fits(folder, manifest):
        raise DamagedFileError(folder, CARD, CARD_UNFIT)
    with progress(f"checking {folder}", len(manifest.shards)) as advance:
        for record in manifest.shards:
            (check_size if streaming else check_shard)(folder, record)
            advance(1, "")
    return open_folder(folder, cache_named(manifest.digest), streaming=streaming)


def _with_our_columns(rows: Any, source: SourceName) -> Any:
    if rows.features is None:
        raise InputError(f"{source} does not say what its columns are, which streaming needs: load it without.")
    image, label = find_columns(rows.features, source)
    names = {image: "image", label: "label"} | {old: new for old, new in _ALSO_KEPT.items() if old in rows.features}
    renamed = {old: new for old, new in names.items() if old != new}
    chosen = rows.select_columns(list(names))
    return chosen.rename_columns(renamed) if renamed else chosen
