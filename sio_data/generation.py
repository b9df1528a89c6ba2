"""`generate`: plan -> missing shards -> engine -> a complete set."""

import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

from sio_data.class_lists import expand_classes
from sio_data.commands import changed, command_line
from sio_data.engines import local
from sio_data.engines.job import RECORDS, ShardJob
from sio_data.errors import UnknownNameError
from sio_data.files import check_output_folder, check_same_settings, remove_leftovers, write_text
from sio_data.generator import Generator, open_generator
from sio_data.manifest import MANIFEST, Manifest, Origin, ShardRecord
from sio_data.plan import Plan
from sio_data.progress import progress
from sio_data.recipe import Recipe
from sio_data.rendering import render_card
from sio_data.sets import PREVIEW, SyntheticSet, refuse_unknown_shards
from sio_data.shards import check_shard

_SIZE_CATEGORIES = {1_000: "n<1K", 10_000: "1K<n<10K", 100_000: "10K<n<100K", 1_000_000: "100K<n<1M"}


@dataclass(frozen=True)
class Generated:
    """What a call of `generate` did.

    Attributes:
        set: The complete set.
        made: How many samples this call made; 0 if the set was complete.
    """

    set: SyntheticSet
    made: int


def generate(
    generator: str,
    weights: str,
    out: str | Path,
    *,
    per_class: int,
    classes: Sequence[str] | None = None,
    image_size: int | None = None,
    sampling: Mapping[str, str] | None = None,
    seed: int = 0,
    image_format: str = "png",
    shard_size: int = 1000,
    batch_size: int = 100,
    device: str | None = None,
) -> Generated:
    """Make a synthetic set, or go on with one that was begun.

    A call that was killed at any moment, and is made again, ends in the same bytes as one that was not (on the
    same kind of device and with the same versions). A call on a complete set checks it and does nothing.

    Args:
        generator: Name of a back end.
        weights: A local folder or file, or a name on the Hub.
        out: The set's folder: new, empty, or begun with the same recipe.
        per_class: Images of each class.
        classes: The set's class map, by name and in this order; None means all classes of the generator.
        image_size: Height and width in pixels; None means the generator's own.
        sampling: Options of the back end, as text.
        seed: From 0 to 2**63 - 1.
        image_format: `png`, `webp` or `jpg`.
        shard_size: Samples in a shard.
        batch_size: Samples made at once.
        device: Where to run; None means the best device at hand.

    Returns:
        The complete set, and how many samples were made now.

    Raises:
        UnknownNameError: No such generator or class.
        InputError: A value is out of range, or the generator cannot do what is asked.
        FolderInUseError: The folder holds something else.
        SettingsMismatchError: The folder was begun with another recipe.
        CorruptSetError: A finished shard was changed.
    """
    classes = None if classes is None else expand_classes(classes)
    backend = open_generator(
        generator, weights, classes=classes, image_size=image_size, sampling=sampling, device=device
    )
    recipe = Recipe(
        generator=generator,
        revision=backend.revision,
        class_names=_class_names(backend, classes),
        per_class=per_class,
        image_size=backend.image_size,
        sampling=backend.sampling,
        seed=seed,
        image_format=image_format,
        shard_size=shard_size,
        batch_size=batch_size,
    )
    folder = Path(out)
    shown = f"…/{Path(weights).name}" if Path(weights).is_absolute() else weights
    origin = Origin(shown, backend.licence, backend.citation, _command(recipe, shown, classes, image_size, sampling))
    manifest = _begin(folder, recipe, origin)
    job = ShardJob(folder, Plan(recipe), backend)
    missing = _missing_shards(job, manifest)
    refuse_unknown_shards(folder, (shard.path for shard in job.plan))
    if missing or not manifest.complete or not all((folder / name).is_file() for name in ("README.md", PREVIEW)):
        _mark_incomplete(job, manifest)
        manifest = _make(job, manifest, missing)
    _tidy(folder)
    return Generated(SyntheticSet(folder, manifest), sum(len(job.plan[index]) for index in missing))


def _class_names(backend: Generator, classes: Sequence[str] | None) -> tuple[str, ...]:
    for name in classes or ():
        if name not in backend.class_names:
            raise UnknownNameError("class", name, backend.class_names)
    return tuple(backend.class_names if classes is None else classes)


def _command(
    recipe: Recipe,
    weights: str,
    classes: Sequence[str] | None,
    image_size: int | None,
    sampling: Mapping[str, str] | None,
) -> str:
    options = changed(
        generate,
        seed=recipe.seed,
        image_format=recipe.image_format,
        shard_size=recipe.shard_size,
        batch_size=recipe.batch_size,
    )
    return command_line(
        "generate",
        generator=recipe.generator,
        weights=weights,
        per_class=recipe.per_class,
        **{"class": classes},
        image_size=image_size,
        sampling=sampling,
        **options,
    )


def _begin(folder: Path, recipe: Recipe, origin: Origin) -> Manifest:
    """Give the manifest of the folder if it was begun with this recipe; begin it if no shard of it is finished."""
    if (folder / MANIFEST).is_file():
        manifest = Manifest.read(folder)
        if manifest.complete or any((folder / RECORDS).glob("*.json")):
            check_same_settings(folder, manifest.recipe.to_json(), recipe.to_json())
            return manifest
    else:
        check_output_folder(folder, is_ours=lambda entry: False)
    folder.mkdir(parents=True, exist_ok=True)
    manifest = Manifest(recipe, origin)
    manifest.write(folder)
    return manifest


def _missing_shards(job: ShardJob, manifest: Manifest) -> list[int]:
    """List the shards to be made, after checking that the others are what they were."""
    missing = []
    with progress("checking what is there", len(job.plan)) as advance:
        for index in range(len(job.plan)):
            record = _record(job, manifest, index)
            if record:
                check_shard(job.folder, record)
            else:
                missing.append(index)
            advance(1, "")
    return missing


def _record(job: ShardJob, manifest: Manifest, index: int) -> ShardRecord | None:
    if not manifest.complete:
        return job.record(index)
    record = manifest.shards[index]
    return record if (job.folder / record.path).is_file() else None


def _mark_incomplete(job: ShardJob, manifest: Manifest) -> None:
    """Make the folder say that it is not finished, to people and to `load_dataset`."""
    for name in ("data", RECORDS):
        (job.folder / name).mkdir(exist_ok=True)
    if manifest.complete:
        job.enter([record for record in manifest.shards if (job.folder / record.path).is_file()])
        replace(manifest, complete=False, shards=()).write(job.folder)
    nothing = {"configs": [{"config_name": "incomplete", "data_files": "this-set-is-incomplete"}]}
    write_text(job.folder / "README.md", render_card("incomplete", nothing, samples=manifest.recipe.samples))


def _make(job: ShardJob, begun: Manifest, missing: Sequence[int]) -> Manifest:
    recipe = begun.recipe
    todo = sum(len(job.plan[index]) for index in missing)
    with progress("generating", recipe.samples, done=recipe.samples - todo) as advance:
        local.make_shards(job, missing, advance)
    records = tuple(job.require_record(index) for index in range(len(job.plan)))
    versions = {name: version(name) for name in ("sio-data", "torch", "pillow")}
    manifest = replace(begun, complete=True, shards=records, versions=versions)
    SyntheticSet(job.folder, manifest).write_preview()
    write_text(job.folder / "README.md", _card(manifest))
    manifest.write(job.folder)
    return manifest


def _tidy(folder: Path) -> None:
    shutil.rmtree(folder / RECORDS, ignore_errors=True)
    for place in (folder, folder / "data"):
        remove_leftovers(place)


def _card(manifest: Manifest) -> str:
    recipe, origin = manifest.recipe, manifest.origin
    return render_card(
        "set",
        _metadata(manifest),
        title=f"Synthetic images of {', '.join(recipe.class_names[:6])}{', …' if len(recipe.class_names) > 6 else ''}",
        samples=recipe.samples,
        recipe_hash=recipe.hash,
        **recipe.to_json(),
        **vars(origin),
    )


def _metadata(manifest: Manifest) -> dict[str, Any]:
    """Give the card's metadata: what makes `load_dataset` give an Image and a named ClassLabel.

    The features are stated because none is inferred as ClassLabel. The digest of the data stands in the
    configuration's description because `load_dataset` caches a local folder by its name and this YAML alone: without
    it, rewritten shards would give the old rows.
    """
    recipe = manifest.recipe
    names = {str(label): name for label, name in enumerate(recipe.class_names)}
    data_bytes = sum(shard.bytes for shard in manifest.shards)
    category = next((name for bound, name in _SIZE_CATEGORIES.items() if recipe.samples < bound), "n>1M")
    return {
        "license": manifest.origin.licence,
        "task_categories": ["image-classification"],
        "tags": ["synthetic", "webdataset", "sio", "out-of-distribution-detection"],
        "size_categories": [category],
        "configs": [
            {
                "config_name": "default",
                "description": f"sha256:{manifest.digest}",
                "data_files": [{"split": "train", "path": "data/train-*.tar"}],
            }
        ],
        "dataset_info": {
            "features": [
                {"name": recipe.image_format, "dtype": "image"},
                {"name": "cls", "dtype": {"class_label": {"names": names}}},
                {"name": "json", "dtype": "json"},
                {"name": "__key__", "dtype": "string"},
            ],
            "splits": [{"name": "train", "num_bytes": data_bytes, "num_examples": recipe.samples}],
        },
    }
