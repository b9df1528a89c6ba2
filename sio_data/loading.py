"""`load`: any source as a `datasets.Dataset` with the columns `image` and `label`."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from sio_data.embedded import EMBEDDED, load_embedded
from sio_data.errors import InputError, UnknownNameError
from sio_data.foreign import find_columns
from sio_data.image_set import ImageSet
from sio_data.source_names import SourceName, choose_split
from sio_data.splits import open_splits

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
        streaming: Give rows as they are read, without a copy in the cache of `datasets`. Of a set only the sizes of the
            shards are compared to the manifest then, and not their hashes.

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


def _open(source: SourceName, streaming: bool) -> Mapping[str, Any]:
    """Open all splits of a source, by name."""
    if not source.hub and source.path in EMBEDDED:
        splits = {split: _as_dataset(load_embedded(source.path, split)) for split in EMBEDDED[source.path]}
        return {split: rows.to_iterable_dataset() if streaming else rows for split, rows in splits.items()}
    return open_splits(source, streaming=streaming)


def _as_dataset(images: ImageSet) -> Any:
    import datasets

    names = list(images.require_labels().class_names)
    features = datasets.Features({"image": datasets.Image(), "label": datasets.ClassLabel(names=names)})
    pictures = list(images.images.permute(0, 2, 3, 1).numpy())
    return datasets.Dataset.from_dict({"image": pictures, "label": images.labels.tolist()}, features=features)


def _with_our_columns(rows: Any, source: SourceName) -> Any:
    if rows.features is None:
        raise InputError(f"{source} does not say what its columns are, which streaming needs: load it without.")
    image, label = find_columns(rows.features, source)
    names = {image: "image", label: "label"} | {old: new for old, new in _ALSO_KEPT.items() if old in rows.features}
    renamed = {old: new for old, new in names.items() if old != new}
    chosen = rows.select_columns(list(names))
    return chosen.rename_columns(renamed) if renamed else chosen
