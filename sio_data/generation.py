"""`generate`: plan -> missing shards -> engine -> a complete set."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from sio_data.completion import begun, close, is_whole, may_take_over, reopen, tidy
from sio_data.engines.choice import Engine
from sio_data.engines.job import ShardJob
from sio_data.errors import FolderInUseError
from sio_data.files import as_folder, check_output_folder, check_same_settings, make_folder
from sio_data.manifest import MANIFEST, Manifest, Origin
from sio_data.plan import Plan
from sio_data.progress import progress
from sio_data.recipe import Recipe
from sio_data.records import Records
from sio_data.request import Request
from sio_data.sets import SyntheticSet, open_set, refuse_unknown_shards
from sio_data.shards import check_shard


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
    with chosen.ready():
        manifest = _begin(folder, recipe, request.origin(backend))
        return _finish(ShardJob(folder, Plan(recipe), backend), request, manifest, chosen)


def _finish(job: ShardJob, request: Request, manifest: Manifest, engine: Engine) -> Generated:
    """Make what is missing of a set that was begun, and close it if all is there."""
    folder, recipe, share = job.folder, manifest.recipe, engine.rank.share(range(len(job.plan)))
    finished = _check_finished(folder, job.plan, manifest, share)
    refuse_unknown_shards(folder, job.plan.paths())
    missing = [index for index in share if job.plan.path(index) not in finished]
    made = sum(map(job.plan.size, missing))
    there = [record for record in manifest.shards if (folder / record.path).is_file()]
    if missing or len(there) < len(job.plan) or not is_whole(folder, manifest):
        reopen(folder, manifest, there)
        with begun(folder, recipe), progress("generating", recipe.samples, recipe.samples - made) as advance:
            engine.make(job, request, missing, advance)
        if not close(folder, manifest, alone=engine.rank.count == 1):
            return Generated(folder, recipe, made, complete=False)
    tidy(folder)
    return Generated(folder, recipe, made, complete=True)


def _begin(folder: Path, recipe: Recipe, origin: Origin) -> Manifest:
    """Give the manifest of the folder if it was begun with this recipe; begin it if no shard of it is finished."""
    if (folder / MANIFEST).is_file():
        manifest = Manifest.read(folder)
        if manifest.recipe == recipe or manifest.complete or Records(folder).any() or not may_take_over(folder):
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


def _check_finished(folder: Path, plan: Plan, manifest: Manifest, share: range) -> set[str]:
    """List the paths of a share's shards that are there, after checking that they are what they were."""
    finished = set()
    entered = Records(folder)
    with progress("checking what is there", len(share)) as advance:
        for index in share:
            record = manifest.shards[index] if manifest.complete else entered.find(plan.path(index))
            if record and (folder / record.path).is_file():
                check_shard(folder, record)
                finished.add(record.path)
            advance(1, "")
    return finished
