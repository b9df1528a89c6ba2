"""`generate`: plan -> missing shards -> engine -> a complete set."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from sio_data.engines.choice import Engine
from sio_data.engines.drawing import drawing_job
from sio_data.files import as_folder
from sio_data.making import begin, finish
from sio_data.manifest import Manifest
from sio_data.plan import Plan
from sio_data.recipe import Recipe
from sio_data.request import Request
from sio_data.sets import SyntheticSet, open_set


@dataclass(frozen=True)
class Generated:
    """What a call of `generate` did.

    Attributes:
        folder: The set's folder.
        recipe: What the set holds.
        made: How many samples of this call's share were missing and are there now; 0 if there was nothing to do.
        complete: Whether the whole set is there. Only a rank whose fellows are still at work ends without.
    """

    folder: Path
    recipe: Recipe
    made: int
    complete: bool

    @property
    def set(self) -> SyntheticSet:
        """The set.

        Raises:
            IncompleteError: It is not complete.
        """
        return open_set(self.folder)


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
    engine: str = "auto",
    workers: int | None = None,
    ray_address: str | None = None,
) -> Generated:
    """Make a synthetic set, or go on with one that was begun.

    A call that was killed at any moment, and is made again, ends in the same bytes as one that was not (on the
    same kind of device and with the same versions), whatever the engine and the number of workers. A call on a
    complete set checks it and does nothing. Several calls on one folder share the work.

    Args:
        generator: Name of a back end.
        weights: A local folder or file, or a name on the Hub.
        out: The set's folder, or a URL like `s3://bucket/folder`: new, empty, or begun with the same recipe.
        per_class: Images of each class.
        classes: The set's class map, by name and in this order, or groups like `imagenet-10`; None means all classes
            of the generator.
        image_size: Height and width in pixels; None means the generator's own.
        sampling: Options of the back end, as text.
        seed: From 0 to 2**63 - 1.
        image_format: `png`, `webp` or `jpg`.
        shard_size: Samples in a shard.
        batch_size: Samples made at once.
        device: Where to run; None means every CUDA device, or the CPU where there is none.
        engine: `local` (processes on this machine), `ranks` (this process is one of several that torchrun or a Slurm
            job array started), `ray` (actors on a Ray cluster), or `auto`: ranks under torchrun, otherwise local.
        workers: How many processes or actors; None means one for each device, and one process on the CPU.
        ray_address: Of an existing Ray cluster; None starts one on this machine.

    Returns:
        What was made.

    Raises:
        UnknownNameError: No such generator or class.
        InputError: A value is out of range, or the generator cannot do what is asked.
        FolderInUseError: The folder holds something else.
        SettingsMismatchError: The folder was begun with another recipe.
        CorruptSetError: A finished shard was changed.
    """
    request = Request(
        generator, weights, per_class, classes, image_size, sampling or {}, seed, image_format, shard_size, batch_size
    )
    chosen = Engine.choose(engine, device, workers, ray_address)
    backend, recipe = request.open(chosen.devices[0])
    folder = as_folder(out)
    plan = Plan(recipe)
    with chosen.ready():
        manifest = begin(folder, Manifest(recipe, request.origin(backend)))
        job = drawing_job(folder, plan, backend)
        made, complete = finish(
            folder,
            manifest,
            lambda missing, advance: chosen.make(job, request, recipe, missing, advance),
            "generating",
            share=chosen.rank.share(range(len(plan))),
            alone=chosen.rank.count == 1,
        )
    return Generated(folder, recipe, made, complete)
