"""The processes that train one classifier together, started by torchrun."""

import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from itertools import count
from typing import Any

import torch
import torch.distributed as dist
from torch._C._distributed_c10d import PrefixStore
from torch.distributed.rendezvous import rendezvous

from sio_data.errors import InputError, SioDataError, copy_error

_PATIENCE = timedelta(hours=6)  # the others wait while rank 0 fetches and decodes the images
_joins = count()


@dataclass(frozen=True)
class Ranks:
    """This process among those that train together. Alone, everything here does nothing.

    Attributes:
        rank: Its number, from 0. Rank 0 alone reads and writes checkpoints.
        world: How many there are.
    """

    rank: int = 0
    world: int = 1

    @property
    def first(self) -> bool:
        """Whether this is rank 0."""
        return self.rank == 0

    def add_up(self, values: torch.Tensor) -> torch.Tensor:
        """Give the sum of all ranks' values."""
        if self.world > 1:
            dist.all_reduce(values)
        return values

    def any(self, flag: bool, device: torch.device) -> bool:
        """Tell whether any rank says yes. All ranks must ask at the same point."""
        if self.world == 1:
            return flag
        return bool(self.add_up(torch.tensor(float(flag), device=device)).item())

    def share(self, value: Any) -> Any:
        """Give rank 0's value to all: plain data."""
        if self.world == 1:
            return value
        box = [value]
        dist.broadcast_object_list(box, src=0)
        return box[0]

    def copy_from_first(self, tensors: Mapping[str, torch.Tensor], device: torch.device) -> dict[str, torch.Tensor]:
        """Give rank 0's tensors to all.

        Args:
            tensors: Of rank 0; those of the others do not count.
            device: Where the ranks talk to each other.
        """
        if self.world == 1:
            return dict(tensors)
        shapes = self.share({name: (tensor.shape, tensor.dtype) for name, tensor in tensors.items()})
        copied = {}
        for name, (shape, dtype) in shapes.items():
            copy = tensors[name].to(device) if self.first else torch.empty(shape, dtype=dtype, device=device)
            copied[name] = copy.contiguous()
            dist.broadcast(copied[name], src=0)
        return copied

    def make_same(self, tensors: Iterable[torch.Tensor]) -> None:
        """Overwrite the tensors of all ranks with rank 0's."""
        if self.world > 1:
            for tensor in tensors:
                dist.broadcast(tensor, src=0)

    def on_first(self, action: Callable[[], None]) -> None:
        """Do something on rank 0 alone; if it fails there, all ranks fail with the same message.

        Raises:
            SioDataError: It failed.
        """
        failure: SioDataError | None = None
        if self.first:
            try:
                action()
            except SioDataError as error:
                failure = error
        told = self.share((str(failure), failure.exit_code) if failure else None)
        if told:
            raise failure or copy_error(*told)

    def wait(self) -> None:
        """Wait until all ranks are here."""
        if self.world > 1:
            dist.barrier()


@contextmanager
def join_ranks(device: str | None) -> Iterator[tuple[Ranks, str | None]]:
    """Join the processes that torchrun started with this one, if it did.

    Args:
        device: What was asked for; None means the best device at hand.

    Yields:
        The ranks, and the name of this process's device: under torchrun a CUDA device of its own, where there are any.

    Raises:
        InputError: There are more processes than CUDA devices.
    """
    if dist.is_initialized():
        yield Ranks(dist.get_rank(), dist.get_world_size()), _own_device(device)
        return
    if int(os.environ.get("WORLD_SIZE", "1")) == 1 or "RANK" not in os.environ:
        yield Ranks(), device
        return
    own = _own_device(device)
    store, rank, world = next(rendezvous("env://"))
    attempt = f"sio-data/{os.environ.get('TORCHELASTIC_RESTART_COUNT', '0')}/{world}/{next(_joins)}"
    dist.init_process_group(
        "gloo" if own == "cpu" else "nccl",
        store=PrefixStore(attempt, store),  # else it finds the addresses of processes that died, or of a former group
        timeout=_PATIENCE,
        rank=rank,
        world_size=world,
    )
    try:
        yield Ranks(rank, world), own
    finally:
        dist.destroy_process_group()


def _own_device(device: str | None) -> str:
    if device == "cpu" or (device is None and not torch.cuda.is_available()):
        return "cpu"
    if device not in (None, "cuda"):
        raise InputError(
            f"under torchrun each process has a device of its own: give --device cpu or cuda, not {device}."
        )
    local = int(os.environ.get("LOCAL_RANK", "0"))
    if local >= torch.cuda.device_count():
        raise InputError(
            f"torchrun started more processes here than there are CUDA devices ({torch.cuda.device_count()}): "
            "give --nproc-per-node that many at most, or train with --device cpu."
        )
    torch.cuda.set_device(local)
    return f"cuda:{local}"
