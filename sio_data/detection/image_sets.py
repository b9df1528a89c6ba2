"""The images that an evaluation is made on: of a benchmark, or of sources named one by one."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch

from sio_data.class_lists import GROUP_NAMES, expand_classes
from sio_data.detection.benchmarks import GROUPS, OOD_VAL, Benchmark, OODPlace, Place, id_places, is_set_name
from sio_data.embedded import split_indices
from sio_data.errors import ClassMapError, InputError, UnknownNameError
from sio_data.files import sha256_bytes
from sio_data.image_lists import ImageList, is_image_list, rows_without
from sio_data.image_set import UNLABELLED, ImageSet
from sio_data.mapped import map_images
from sio_data.quality.duplicates import Digests, pixel_digests
from sio_data.source_names import SourceName, Split
from sio_data.sources import STORAGES, Storage, load_source

_LISTS = "benchmark_imglist"


@dataclass(frozen=True)
class OODSet:
    """An OOD set by name.

    Attributes:
        group: `near` or `far`.
        name: What to call it.
        source: See `sio_data.sources`.
    """

    group: str
    name: str
    source: str

    @classmethod
    def parse(cls, text: str) -> "OODSet":
        """Read `near:name=source` or `far:name=source`.

        Raises:
            InputError: It is not of that form, or the name is blank or `ood_val`.
        """
        group, _, rest = text.partition(":")
        name, _, source = rest.partition("=")
        if group not in GROUPS or not name.strip() or not source.strip():
            raise InputError(f"OOD set {text!r} is not of the form near:NAME=SOURCE or far:NAME=SOURCE.")
        if not is_set_name(name):
            raise InputError(f"OOD set {text!r}: {name!r} stands for the validation images; give another name.")
        return cls(group, name, source)


@dataclass(frozen=True)
class MissingSet:
    """An OOD set that could not be loaded.

    Attributes:
        name: Its name; `ood_val` is the one for choosing parameters.
        group: `near`, `far` or `val`.
        reason: What was looked for, what was wrong, and what to do.
    """

    name: str
    group: str
    reason: str


@dataclass(frozen=True, eq=False)
class EvaluationImages:
    """Images of an evaluation.

    Attributes:
        train: ID images to fit detectors on, with the class map of `test`, as `val` is.
        val: ID images for choosing parameters.
        test: ID images to judge by, each with a label.
        ood: OOD images to judge by, without labels, by name.
        ood_val: OOD images for choosing parameters, none of them in `ood`; None if there are none.
        id_sources: Where the ID images came from, by split.
        sets: Group and source of each OOD set in `ood`, near before far.
        ood_val_source: Where `ood_val` came from; empty if there is none.
        missing: OOD sets that could not be loaded.
        removed: For each OOD set, and for `ood_val` if there is one, how many images were dropped because the same
            pixels are an ID image, or for `ood_val` an image of an OOD set.
    """

    train: ImageSet
    val: ImageSet
    test: ImageSet
    ood: dict[str, ImageSet]
    ood_val: ImageSet | None
    id_sources: dict[Split, str]
    sets: tuple[OODSet, ...]
    ood_val_source: str
    missing: tuple[MissingSet, ...]
    removed: dict[str, int]


def name_sets(id: str, ood: Sequence[OODSet], ood_val: str | None = None) -> Benchmark:
    """Make a benchmark of sources named one by one, all of which must be there.

    Args:
        id: The in-distribution source, with splits for training, validation and test.
        ood: OOD sets; their test split is used.
        ood_val: A source of OOD images for choosing parameters, of which the validation split is used.

    Raises:
        InputError: `id` names one split that is not for testing.
    """
    places = tuple(OODPlace(one.group, one.name, Place(one.source)) for one in ood)
    return Benchmark(id, id_places(id), places, Place(ood_val) if ood_val else None, needs_all=True)


def load_images(
    benchmark: Benchmark,
    image_size: int,
    *,
    data: str | Path | None = None,
    class_names: Sequence[str] | None = None,
    storage: Storage = "memory",
) -> EvaluationImages:
    """Load the images of a benchmark.

    An OOD image whose pixels, at the size loaded, are those of an ID image is dropped. One class of images may have two
    names, such as ImageNet's words and WordNet ids: lists are read by those that the checkpoint knows.

    Args:
        benchmark: See `sio_data.detection.benchmarks.load_benchmark` and `name_sets`.
        image_size: In pixels.
        data: A folder of OpenOOD's layout, with `benchmark_imglist/` and the folders of pictures. None takes what is on
            the Hub.
        class_names: Of the checkpoint.
        storage: See `load_source`.

    Raises:
        InputError: The ID images, or all OOD sets, cannot be loaded; or one of them, where `benchmark.needs_all`.
        UnknownNameError: There is no such storage.
        ClassMapError: An ID image has no label, or the classes of the ID splits do not fit together.
    """
    if storage not in STORAGES:
        raise UnknownNameError("storage", storage, STORAGES)
    loader = _Loader(benchmark, image_size, _check_folder(data), class_names, storage)
    test = loader.load_id("test")
    train, val = (loader.load_id(split).with_class_names(test.class_names) for split in ("train", "val"))
    known = np.concatenate([_digest(images) for images in (train, val, test)])
    found = {one: images for one in benchmark.ood if (images := loader.load_ood(one, "test", known)) is not None}
    if not found:
        reasons = " ".join(f"{one.name}: {one.reason}" for one in loader.missing)
        raise InputError(f"{benchmark.name}: no OOD set can be loaded. {reasons}")
    ood_val = None
    if benchmark.ood_val:
        known = np.concatenate([known, *map(_digest, found.values())])
        ood_val = loader.load_ood(OODPlace("val", OOD_VAL, benchmark.ood_val), "val", known)
    return EvaluationImages(
        train=train,
        val=val,
        test=test,
        ood={one.name: images for one, images in found.items()},
        ood_val=ood_val,
        id_sources={split: loader.locate(place) for split, place in benchmark.id.items()},
        sets=tuple(OODSet(one.group, one.name, loader.locate(one.place)) for one in found),
        ood_val_source=loader.locate(benchmark.ood_val) if benchmark.ood_val and ood_val is not None else "",
        missing=tuple(loader.missing),
        removed=loader.removed,
    )


@dataclass
class _Loader:
    """Loads the places of a benchmark, and notes what is missing and what was dropped."""

    benchmark: Benchmark
    image_size: int
    data: Path | None
    class_names: Sequence[str] | None
    storage: Storage
    missing: list[MissingSet] = field(default_factory=list)
    removed: dict[str, int] = field(default_factory=dict)

    def load_id(self, split: Split) -> ImageSet:
        """Load a split of the ID images."""
        place = self.benchmark.id[split]
        try:
            hold_out = self.benchmark.id["train"].source == self.benchmark.id["val"].source != ""
            return self._load(place, split, labelled=True, hold_out=hold_out).require_labels()
        except InputError as error:
            if self.benchmark.needs_all:
                raise
            kind = ClassMapError if isinstance(error, ClassMapError) else InputError
            raise kind(f"{self.benchmark.name}: the ID {split} images cannot be loaded: {error}") from error

    def load_ood(self, one: OODPlace, split: Split, known: Digests) -> ImageSet | None:
        """Load an OOD set without the images that are known already; None if it is missing."""
        try:
            images = self._load(one.place, split, labelled=False)
            digests = _digest(images)
            kept = ~np.isin(digests, known)
            if not kept.any():
                raise InputError(f"{images.name}: each of its {len(images)} images is in another set, too.")
        except InputError as error:
            if self.benchmark.needs_all:
                raise
            self.missing.append(MissingSet(one.name, one.group, str(error)))
            return None
        self.removed[one.name] = int((~kept).sum())
        if kept.all():
            return images
        rows = torch.from_numpy(np.flatnonzero(kept))
        return images.select(rows) if self.storage == "memory" else _map_rows(images, rows, digests[kept])

    def locate(self, place: Place) -> str:
        """Give the source that a place stands for.

        Raises:
            InputError: There is none.
        """
        if place.source:
            return place.source
        if self.data and place.list:
            return str(self.data / _LISTS / place.list)
        if place.hub:
            return f"hub:{place.hub}"
        raise InputError(
            f"it is not on the Hub. Name a folder of OpenOOD's layout (--data) that has {_LISTS}/{place.list}."
        )

    def _load(self, place: Place, split: Split, *, labelled: bool, hold_out: bool = False) -> ImageSet:
        source, out = self.locate(place), expand_classes(place.exclude_classes)
        name = SourceName.parse(source)
        needs_labels = labelled or bool(out or place.first or place.after)
        if not name.hub and not name.split and is_image_list(name.path):
            names = self._spell(place.classes) if place.classes else None
            listed = ImageList.read(name.path, names, labelled=needs_labels)
            listed = listed.select(rows_without(listed, out)) if out else listed
            images = listed.load(self.image_size, mapped=self.storage == "mapped")
        else:
            images = load_source(
                source,
                split,
                image_size=self.image_size,
                labelled=needs_labels,
                hold_out=hold_out,
                storage=self.storage,
            )
            images = images.select(rows_without(images, out)) if out else images
        if (place.first or place.after) and not (self.data and place.list):
            images = _cut(images, place)
        return images if labelled else images.without_labels()

    def _spell(self, classes: Sequence[str]) -> tuple[str, ...]:
        """Give class names as the checkpoint has them, where a group of them has two spellings."""
        names = expand_classes(classes)
        others = expand_classes([f"{one}:wnid" if f"{one}:wnid" in GROUP_NAMES else one for one in classes])
        return others if self.class_names is not None and {*others} == {*self.class_names} else names


def _check_folder(data: str | Path | None) -> Path | None:
    if data is None or (Path(data) / _LISTS).is_dir():
        return None if data is None else Path(data)
    raise InputError(f"{data} is no folder of OpenOOD's layout: it has no {_LISTS}/.")


def _cut(images: ImageSet, place: Place) -> ImageSet:
    """Take the first images of each class, in proportion, or what is left after them."""
    count = place.first or place.after
    if count >= len(images):
        raise InputError(f"{images.name} has {len(images)} images, too few to cut {count} off.")
    parts = split_indices(images.labels, {"first": count / len(images), "after": 1 - count / len(images)}, "benchmark")
    rows = parts["first" if place.first else "after"]
    if not rows:
        key, other = ("first", "after") if place.first else ("after", "first")
        raise InputError(
            f"{images.name}: {other}: {count} takes all of its {len(images)} images, class by class, and leaves "
            f"none for {key}: {count}."
        )
    return images.select(rows)


def _map_rows(images: ImageSet, rows: torch.Tensor, digests: Digests) -> ImageSet:
    """Give some images of a mapped set without labels, mapped, too: they may not fit into memory."""
    key = ["pixels", images.image_size, sha256_bytes(digests.tobytes())]
    samples = ((images.images[row].permute(1, 2, 0).numpy(), UNLABELLED) for row in rows)
    return map_images(key, lambda: samples, (), images.name)


def _digest(images: ImageSet) -> Digests:
    return np.concatenate([pixel_digests(part) for part in images.parts("comparing")])
