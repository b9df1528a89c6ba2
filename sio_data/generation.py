"""`generate`: plan -> missing shards -> engine -> a complete set."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from sio_data.completion import close, is_whole, reopen, tidy
from sio_data.engines import local, ray_cluster
from sio_data.engines.job import ShardJob
from sio_data.engines.order import WorkOrder
from sio_data.engines.ranks import Rank, is_torchrun, read_rank
from sio_data.errors import FolderInUseError, InputError
from sio_data.files import as_folder, check_output_folder, check_same_settings, make_folder
from sio_data.manifest import MANIFEST, Manifest, Origin, ShardRecord
from sio_data.plan import Plan
from sio_data.progress import progress
from sio_data.recipe import Recipe
from sio_data.records import Records
from sio_data.request import Request
from sio_data.sets import SyntheticSet, open_set, refuse_unknown_shards
from sio_data.shards import check_shard

ENGINES = ("auto", "local", "ranks", "ray")


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
    rank = _find_rank(engine)
    devices = [device or rank.device()] if rank else local.list_devices(device, workers)
    backend, recipe = request.open(devices[0])
    folder = as_folder(out)
    manifest = _begin(folder, recipe, request.origin(backend))
    job = ShardJob(folder, Plan(recipe), backend)
    finished = _check_finished(folder, job.plan, manifest, rank or Rank())
    refuse_unknown_shards(folder, (shard.path for shard in job.plan))
    there = {record.path for record in finished}
    missing = [index for index in (rank or Rank()).share(range(len(job.plan))) if job.plan[index].path not in there]
    made = sum(len(job.plan[index]) for index in missing)
    if missing or not manifest.complete or not is_whole(folder, manifest):
        reopen(folder, manifest, finished)
        with progress("generating", recipe.samples, done=recipe.samples - made) as advance:
            if engine == "ray":
                ray_cluster.make_shards(WorkOrder.of(job, request), missing, workers, ray_address, advance)
            elif len(devices) > 1 and len(missing) > 1:
                local.make_shards(WorkOrder.of(job, request), missing, devices, advance)
            else:
                job.make(missing, advance)
        if not close(folder, manifest, alone=rank is None):
            return Generated(folder, recipe, made, complete=False)
    tidy(folder)
    return Generated(folder, recipe, made, complete=True)


def _find_rank(engine: str) -> Rank | None:
    if engine not in ENGINES:
        raise InputError(f"engine must be one of {', '.join(ENGINES)}, not {engine!r}.")
    if engine != "ranks" and not (engine == "auto" and is_torchrun()):
        return None
    rank = read_rank()
    if rank is None:
        raise InputError("the ranks engine needs torchrun or a Slurm job array: neither has set its variables here.")
    return rank


def _begin(folder: Path, recipe: Recipe, origin: Origin) -> Manifest:
    """Give the manifest of the folder if it was begun with this recipe; begin it if no shard of it is finished."""
    if (folder / MANIFEST).is_file():
        manifest = Manifest.read(folder)
        if manifest.recipe == recipe or manifest.complete or Records(folder).any():
            check_same_settings(folder, manifest.recipe.to_json(), recipe.to_json())
            return manifest
    else:
        try:
            check_output_folder(folder, is_ours=lambda entry: False)
        except FolderInUseError:
            if not (folder / MANIFEST).is_file():
                raise
            return _begin(folder, recipe, origin)  # another run began it just now
    make_folder(folder)
    manifest = Manifest(recipe, origin)
    manifest.write(folder)
    return manifest


def _check_finished(folder: Path, plan: Plan, manifest: Manifest, rank: Rank) -> list[ShardRecord]:
    """List the records of the rank's shards that are there, after checking that they are what they were."""
    finished = []
    entered = Records(folder)
    share = rank.share(range(len(plan)))
    with progress("checking what is there", len(share)) as advance:
        for index in share:
            record = manifest.shards[index] if manifest.complete else entered.find(plan[index].path)
            if record and (folder / record.path).is_file():
                check_shard(folder, record)
                finished.append(record)
            advance(1, "")
    return finished
