"""`import_set`: somebody's files -> labels and an order -> shards -> a complete set."""

import hashlib
import shlex
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from sio_data.class_lists import expand_classes
from sio_data.commands import changed, command_line, shown_place
from sio_data.compilation import Compilation, SetRecipe, SourceFile
from sio_data.completion import write_card
from sio_data.engines.job import ShardJob
from sio_data.errors import ClassMapError, InputError, UnknownNameError
from sio_data.files import as_folder, check_output_folder, check_same_settings, is_url
from sio_data.importing.archive import Archive, Places
from sio_data.importing.formats import open_archive
from sio_data.importing.order import spread_evenly
from sio_data.layout import Layout
from sio_data.licences import check_licence, is_known_licence
from sio_data.making import begin, finish, is_settled
from sio_data.manifest import MANIFEST, Manifest, Origin
from sio_data.recipe import MAX_IMAGE_SIZE
from sio_data.sets import SyntheticSet, open_set
from sio_data.shards import Batch

_BATCH_BYTES = 1 << 22
_MAX_CLASSES = 10_000
_FROM_SOURCE = ("sources", "order", "counts")
_UNKNOWN = SourceFile("", "0" * 64)


@dataclass(frozen=True)
class Imported:
    """What a call of `import_set` did.

    Attributes:
        folder: The set's folder.
        compilation: What the set holds.
        made: How many samples were missing and are there now; 0 if there was nothing to do.
        named: Whether the classes have names: those of the source or those that were given; otherwise they are called
            `0`, `1`, …
        corrected: Whether the licence or the citation was another one, and was replaced.
    """

    folder: Path
    compilation: Compilation
    made: int
    named: bool
    corrected: bool

    @property
    def set(self) -> SyntheticSet:
        """The set."""
        return open_set(self.folder)


def import_set(
    sources: str | Path | Sequence[str | Path],
    out: str | Path,
    *,
    classes: Sequence[str] | None = None,
    image_size: int | None = None,
    label_key: str | None = None,
    licence: str = "unknown",
    citation: str = "",
    seed: int = 0,
    image_format: str = "png",
    shard_size: int = 1000,
) -> Imported:
    """Turn images that somebody has into a set, or go on with one that was begun.

    The source is one of

    - a folder with `images.npy` (uint8 [N, H, W, 3]) and `labels.npy`, or two `.npy` files;
    - a `.npz` archive, several that are parts of one, or a folder of them, with `image` and `label`, `images` and
      `labels`, or `arr_0` and `arr_1`;
    - a folder of class folders with pictures (PNG, JPEG, WebP, BMP);
    - WebDataset `.tar` files, or a folder of them: `<key>.png`, `<key>.cls`, and perhaps `<key>.json`, which is kept.

    Everything is checked before anything is written, and nothing is unpickled. The set has its images in an order in
    which classes are spread evenly. Archives of arrays take the same memory whatever their size. A call that was
    killed at any moment, and is made again, ends in the same bytes.

    Pictures, and what is compressed, are unpacked into a scratch file on the set's disk, which is gone in the end:
    N * H * W * 3 bytes beside the set, of the size that the images have in it. Photographs are turned upright as their
    EXIF says.

    Args:
        sources: A file or folder, or several files that belong together, in order.
        out: The set's folder, or a URL like `s3://bucket/folder`: new, empty, or begun by the same call.
        classes: What the labels stand for, in order, or groups like `cifar10`. Where the source names its classes
            itself, the order of the class map, which may hold more. None takes the names of the source, or else `0`,
            `1`, …
        image_size: Resize to this many pixels (the middle square, with antialiasing). None keeps the size, which must
            then be the same for all images.
        label_key: Of WebDataset, the member of each sample's JSON that holds its label, a whole number or a name.
        licence: Licence of the images, like `cc-by-4.0`. Of a set that is there, it replaces the one that was named,
            if it is known.
        citation: How to cite them. It replaces that of a set that is there, if it is not empty.
        seed: Of the order, from 0 to 2**63 - 1.
        image_format: `png`, `webp` (both lossless) or `jpg`.
        shard_size: Samples in a shard.

    Returns:
        What was made.

    Raises:
        InputError: The source cannot be imported, the licence is no name, or a value is out of range.
        ClassMapError: The labels do not fit the classes.
        UnknownNameError: A class of the source is not among the classes given.
        FolderInUseError: The folder holds something else.
        SettingsMismatchError: The folder was begun with other settings, or the source was changed.
        CorruptSetError: A finished shard was changed.
        SioDataError: No space is left.
    """
    sources = [sources] if isinstance(sources, str | Path) else list(sources)
    folder = as_folder(out)
    _check_request(sources, folder, image_size, seed)
    licence = check_licence(licence) if is_known_licence(licence) else "unknown"
    with ExitStack() as held:
        archive = open_archive(sources, image_size, label_key, held)
        class_names, labels = _match_classes(archive, None if classes is None else expand_classes(classes))
        order = spread_evenly(labels, seed)
        compilation = Compilation(
            kind="import",
            sources=(_UNKNOWN,),
            rule={**archive.rule, "seed": seed},
            order=hashlib.sha256(order.astype("<i4", copy=False).data).hexdigest(),
            class_names=class_names,
            counts=tuple(np.bincount(labels, minlength=len(class_names)).tolist()),
            image_size=archive.image_size,
            image_format=image_format,
            shard_size=shard_size,
        )
        there = _find_begun(folder, compilation)
        if there is not None:
            licence = licence if is_known_licence(licence) else there.origin.licence
            citation = citation or there.origin.citation
        shown = [shown_place(str(source)) for source in sources]
        options = changed(
            import_set, image_size=image_size, label_key=label_key, licence=licence, citation=citation, seed=seed,
            image_format=image_format, shard_size=shard_size,
        )  # fmt: skip
        command = command_line("import", shown, **{"class": classes}, **options)
        origin = Origin(shlex.join(shown), licence, citation, command)
        files = archive.hash() if there and _has_all(folder, there) else archive.settle(_scratch(folder))
        compilation = replace(compilation, sources=files)
        manifest = begin(folder, Manifest(compilation, origin))
        layout = Layout(compilation)
        job = ShardJob(folder, layout, _drawer(archive, layout, labels, order))
        made, _ = finish(folder, manifest, job.make, "importing")
    named = classes is not None or archive.class_names is not None
    return Imported(folder, compilation, made, named, _correct_terms(folder, origin))


def _check_request(sources: Sequence[str | Path], folder: Path, image_size: int | None, seed: int) -> None:
    """Refuse early what needs no look at the source."""
    if not sources or "" in sources:
        raise InputError("name the files or the folder to import; . is the current folder.")
    if image_size is not None and not 1 <= image_size <= MAX_IMAGE_SIZE:
        raise InputError(f"image_size must be from 1 to {MAX_IMAGE_SIZE}, not {image_size}.")
    if not 0 <= seed < 2**63:
        raise InputError(f"seed must be from 0 to 2**63 - 1, not {seed}.")
    if not (folder / MANIFEST).is_file():
        check_output_folder(folder, is_ours=lambda entry: False)
    for source in map(Path, sources):
        if not is_url(folder) and source.is_dir() and folder.resolve().is_relative_to(source.resolve()):
            raise InputError(f"{folder} lies in {source}, which is to be imported. Name a folder elsewhere.")


def _find_begun(folder: Path, compilation: Compilation) -> Manifest | None:
    """Give the manifest of a set that is there; other settings are refused before the long look at the source."""
    if not (folder / MANIFEST).is_file():
        return None
    there = Manifest.read(folder)
    if not is_settled(folder, there):
        return None
    check_same_settings(folder, _settings(there.recipe), _settings(compilation))
    return there


def _settings(recipe: SetRecipe) -> dict[str, object]:
    return {name: value for name, value in recipe.to_json().items() if name not in _FROM_SOURCE}


def _has_all(folder: Path, manifest: Manifest) -> bool:
    """Tell whether no shard of a set must be made, so that no pixel of its source is needed."""
    return manifest.complete and all((folder / record.path).is_file() for record in manifest.shards)


def _correct_terms(folder: Path, origin: Origin) -> bool:
    """Write another licence or citation in a complete set; tell whether it was another one."""
    manifest = Manifest.read(folder)
    if (manifest.origin.licence, manifest.origin.citation) == (origin.licence, origin.citation):
        return False
    manifest = replace(manifest, origin=origin)
    write_card(folder, manifest)  # killed here, the card does not fit: the next call closes the set anew
    manifest.write(folder)
    return True


def _match_classes(archive: Archive, classes: Sequence[str] | None) -> tuple[tuple[str, ...], Places]:
    """Give the class map, and the labels as places in it."""
    labels, own = archive.labels, archive.class_names
    most = int(labels.max())
    if own is not None:
        names = tuple(own if classes is None else classes)
        if max(len(own), len(names)) > _MAX_CLASSES:
            raise ClassMapError(f"there are {len(own):,} classes in the source; at most {_MAX_CLASSES:,} are allowed.")
        places = {name: place for place, name in enumerate(names)}
        for name in own:
            if name not in places:
                raise UnknownNameError("class", name, names, "It is one of the source's.")
        return names, np.array([places[name] for name in own], np.int32)[labels]
    if classes is not None:
        if most >= len(classes):
            raise ClassMapError(
                f"the source has the label {most}, and {len(classes)} classes are given: 0 to {len(classes) - 1}."
            )
        return tuple(classes), labels
    if most >= _MAX_CLASSES:
        raise ClassMapError(
            f"the source has the label {most}: too many classes to call them by their numbers. Give --class."
        )
    return tuple(map(str, range(most + 1))), labels


def _scratch(folder: Path) -> Path | None:
    """Give a folder on the disk of the set; None if that is not a disk of this machine."""
    if is_url(folder):
        return None
    return next(place for place in (folder, *folder.resolve().parents) if place.is_dir())


def _drawer(
    archive: Archive, layout: Layout[Compilation], labels: Places, order: Places
) -> Callable[[int], Iterator[Batch]]:
    step = max(1, _BATCH_BYTES // (archive.image_size**2 * 3))

    def draw(index: int) -> Iterator[Batch]:
        end = layout.start(index) + layout.size(index)
        for start in range(layout.start(index), end, step):
            places = order[start : min(start + step, end)]
            details = [{"source": archive.describe(place)} for place in places.tolist()]
            yield Batch(archive.read(places), labels[places].astype(np.int64), details, len(places))

    return draw
