"""Which engine makes the shards, and with what: chosen and checked before anything is written."""

import secrets
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from sio_data.engines import local, ray_cluster
from sio_data.engines.job import Advance, ShardJob
from sio_data.engines.order import WorkOrder
from sio_data.engines.ranks import Rank, is_torchrun, read_rank
from sio_data.errors import InputError
from sio_data.files import is_url
from sio_data.recipe import Recipe
from sio_data.request import Request

ENGINES = ("auto", "local", "ranks", "ray")


@dataclass(frozen=True)
class Engine:
    """How the missing shards of a set are made.

    Attributes:
        name: `local`, `ranks` or `ray`.
        rank: Which share of the set is this process's; the whole unless it is one of several ranks.
        device: The one asked for; None means the best that each worker has.
        devices: One for each process of the local engine.
        workers: How many Ray actors; None means as many as the cluster has room for.
        ray_address: Of an existing Ray cluster.
    """

    name: str
    rank: Rank
    device: str | None
    devices: Sequence[str | None]
    workers: int | None
    ray_address: str | None

    @classmethod
    def choose(cls, name: str, device: str | None, workers: int | None, ray_address: str | None) -> "Engine":
        """Choose an engine; for the arguments see `sio_data.generate`.

        Raises:
            InputError: There is no such engine, or it has no use for an option.
        """
        if name not in ENGINES:
            raise InputError(f"engine must be one of {', '.join(ENGINES)}, not {name!r}.")
        if name == "auto":
            name = "ranks" if is_torchrun() else "local"
        if ray_address is not None and name != "ray":
            raise InputError(f"a Ray address goes with the ray engine, not with {name}.")
        if name != "ranks":
            return cls(name, Rank(), device, local.list_devices(device, workers), workers, ray_address)
        if workers is not None:
            raise InputError("each rank is one process: leave out the number of workers.")
        rank = read_rank()
        if rank is None:
            raise InputError(
                "the ranks engine needs torchrun or a Slurm job array: neither has set its variables here."
            )
        return cls(name, rank, device, [device or rank.device()], workers, ray_address)

    @contextmanager
    def ready(self) -> Iterator[None]:
        """Have what the engine needs while it works.

        Raises:
            InputError: Ray is not installed, or its cluster cannot be reached.
        """
        if self.name == "ray":
            with ray_cluster.connected(self.ray_address):
                yield
        else:
            yield

    def make(self, job: ShardJob, request: Request, recipe: Recipe, missing: Sequence[int], advance: Advance) -> None:
        """Make shards.

        Args:
            job: Of the set, open in this process.
            request: How other processes open it.
            recipe: Of the set.
            missing: Indices of the shards.
            advance: Told how many samples were made.
        """
        if self.name == "ray":
            order = WorkOrder.of(job.folder, request, recipe)
            ray_cluster.make_shards(order, missing, self.workers, self.device, advance)
        elif len(self.devices) > 1 and len(missing) > 1:
            local.make_shards(WorkOrder.of(job.folder, request, recipe), missing, self.devices, advance)
        else:
            # Behind a URL nobody can claim a shard: runs that begin at different places seldom make the same one.
            first = secrets.randbelow(len(missing)) if missing and is_url(job.folder) else 0
            job.make([*missing[first:], *missing[:first]], advance)
