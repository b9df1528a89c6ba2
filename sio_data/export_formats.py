"""The forms that `export` writes a set in."""

import re
import unicodedata
from collections.abc import Iterable, Sequence
from itertools import count
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import numpy.typing as npt
from datasets import ClassLabel, Features, Image, Json, Value

from sio_data.files import canonical_json, write_json, write_text
from sio_data.licences import is_known_licence, licence_metadata
from sio_data.manifest import Manifest
from sio_data.parquet_tables import ParquetTable
from sio_data.progress import Advance
from sio_data.recovery import CARD
from sio_data.rendering import render_card
from sio_data.sets import SyntheticSet
from sio_data.shards import Sample, read_shard

_CLASSES, _METADATA = "classes.json", "metadata.parquet"
_LONGEST_NAME = 100  # bytes
_UNSAFE = re.compile(r"[^\w ,.'+()-]")
_SAFE = re.compile(r"\w([\w ,.'+()-]*[\w')])?")
_BYTES_PER_FILE = 500_000_000  # of parquet


def write_arrays(folder: Path, synthetic: SyntheticSet, advance: Advance) -> None:
    """Write `images.npy` (uint8 [N, H, W, 3], RGB), `labels.npy` (int64 [N]) and `class_names.json`."""
    recipe = synthetic.manifest.recipe
    shape = (recipe.samples, recipe.image_size, recipe.image_size, 3)
    with (folder / "images.npy").open("wb") as images, (folder / "labels.npy").open("wb") as labels:
        _write_header(images, np.dtype("u1"), shape)
        _write_header(labels, np.dtype("<i8"), shape[:1])
        for sample in synthetic.samples():
            images.write(sample.image.tobytes())
            labels.write(sample.label.to_bytes(8, "little"))
            advance(1, "")
    write_json(folder / "class_names.json", list(recipe.class_names))
    _write_card(folder, synthetic.manifest, "npy", {})


def _write_header(file: BinaryIO, kind: npt.DTypeLike, shape: tuple[int, ...]) -> None:
    """Begin a `.npy` file whose values are written one after the other: a memory map crashes on a full disk."""
    header = {"descr": np.lib.format.dtype_to_descr(np.dtype(kind)), "fortran_order": False, "shape": shape}
    np.lib.format.write_array_header_1_0(file, header)


def write_class_folders(folder: Path, synthetic: SyntheticSet, advance: Advance) -> None:
    """Write a folder for each class, `classes.json`, and `metadata.parquet`, by which `load_dataset` knows the labels.

    Without the latter it would number the classes in the order of the folders, and leave out one without images.
    """
    recipe = synthetic.manifest.recipe
    folders = folder_names(recipe.class_names)
    for name in folders:
        (folder / name).mkdir()
    rows = zip(count(), recipe.class_names, folders, recipe.counts, strict=False)
    classes = [dict(zip(("label", "name", "folder", "images"), row, strict=True)) for row in rows]
    features = _features(recipe.class_names, {"file_name": Value("string")})
    with ParquetTable(folder / _METADATA, features) as table:
        for sample in synthetic.samples():
            path = f"{folders[sample.label]}/{sample.key}.{recipe.image_format}"
            (folder / path).write_bytes(sample.data)
            table.add({"file_name": path, **_row(sample)}, size=1000)
            advance(1, "")
    write_json(folder / _CLASSES, classes)
    files = [{"split": "train", "path": [_METADATA, f"*/*.{recipe.image_format}"]}]
    _write_card(folder, synthetic.manifest, "folder", {"data_files": files})


def folder_names(class_names: Sequence[str]) -> list[str]:
    """Give each class a folder's name: its own, or with its label in front and signs replaced that are not safe.

    The second for all of them as soon as one is not safe (a path, a hidden file), two are the same on some file
    system, or their order is not that of the labels: readers of such trees number the classes in that order.
    """
    alike = {unicodedata.normalize("NFKC", name).casefold() for name in (*class_names, _CLASSES, _METADATA, CARD)}
    plain = (
        all(_SAFE.fullmatch(name) and len(name.encode()) <= _LONGEST_NAME for name in class_names)
        and len(alike) == len(class_names) + 3
        and sorted(class_names) == list(class_names)
    )
    if plain:
        return list(class_names)
    width = len(str(len(class_names) - 1))
    return [f"{label:0{width}d}_{_safe(name)}".rstrip(" .") for label, name in enumerate(class_names)]


def _safe(name: str) -> str:
    replaced = _UNSAFE.sub("_", unicodedata.normalize("NFC", name))
    return replaced.encode()[:_LONGEST_NAME].decode(errors="ignore")


def write_parquet(folder: Path, synthetic: SyntheticSet, advance: Advance) -> None:
    """Write `data/train-00000-of-0000N.parquet`, each of whole shards."""
    manifest = synthetic.manifest
    recipe, shards = manifest.recipe, manifest.shards
    files = min(len(shards), -(-sum(shard.bytes for shard in shards) // _BYTES_PER_FILE))
    features = _features(recipe.class_names, {"image": Image(), "key": Value("string")})
    (folder / "data").mkdir()
    for number in range(files):
        path = folder / f"data/train-{number:05d}-of-{files:05d}.parquet"
        with ParquetTable(path, features) as table:
            for shard in shards[number * len(shards) // files : (number + 1) * len(shards) // files]:
                for sample in read_shard(synthetic.folder, shard, recipe):
                    image = {"bytes": sample.data, "path": f"{sample.key}.{recipe.image_format}"}
                    table.add({"image": image, "key": sample.key, **_row(sample)}, size=len(sample.data))
                    advance(1, "")
    _write_card(folder, manifest, "parquet", {"data_files": [{"split": "train", "path": "data/train-*.parquet"}]})


def _features(class_names: Iterable[str], others: dict[str, Any]) -> Features:
    return Features({**others, "label": ClassLabel(names=list(class_names)), "json": Json()})


def _row(sample: Sample) -> dict[str, Any]:
    return {"label": sample.label, "json": canonical_json(dict(sample.metadata))}


def _write_card(folder: Path, manifest: Manifest, form: str, config: dict[str, Any]) -> None:
    """Write the README.md; the digest in it keeps `load_dataset` from serving another folder's rows."""
    described = {"config_name": "default", "description": f"sha256:{manifest.digest}", **config}
    metadata = {**licence_metadata(manifest.origin.licence), **({"configs": [described]} if config else {})}
    origin = manifest.origin
    text = render_card(
        "export",
        metadata,
        form=form,
        samples=manifest.recipe.samples,
        image_size=manifest.recipe.image_size,
        class_names=manifest.recipe.class_names,
        digest=manifest.digest,
        recipe_hash=manifest.recipe.hash,
        licence=origin.licence if is_known_licence(origin.licence) else "unknown",
        weights=origin.weights,
        citation=origin.citation,
    )
    write_text(folder / CARD, text)
