"""Make shards on a Ray cluster: actors hold the generator; a lost one is replaced and its shard is made again."""

import socket
from collections import Counter, deque
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cached_property
from typing import Any

from sio_data.engines.job import Advance, ShardJob
from sio_data.engines.order import WorkOrder
from sio_data.errors import InputError, SioDataError, copy_error

_MAX_LOSSES = 3
_SECONDS_FOR_AN_ANSWER = 10


class ShardMaker:
    """The actor: opens the generator once, then makes shard after shard.

    Args:
        order: What it needs.
        device: Where to run; None means the best device that it has.
    """

    def __init__(self, order: WorkOrder, device: str | None) -> None:
        self._order, self._device = order, device

    @cached_property
    def _job(self) -> ShardJob:
        """Opened on first use: an error in an actor's `__init__` looks like the loss of the actor."""
        return self._order.open(self._device)

    def make(self, index: int) -> int:
        """Make a shard; give how many samples it holds."""
        self._job.make([index], lambda made, note: None)
        return self._job.layout.size(index)


@contextmanager
def connected(address: str | None) -> Iterator[None]:
    """Be connected to a Ray cluster.

    Args:
        address: Of an existing cluster; None starts one on this machine and ends it afterwards.

    Raises:
        InputError: Ray is not installed, or the cluster cannot be reached.
    """
    try:
        import ray
    except ImportError as error:
        raise InputError("the ray engine needs Ray: pip install 'sio-data[ray]'.") from error
    if ray.is_initialized():
        yield
        return
    _check_answer(address)
    try:
        ray.init(address=address, include_dashboard=None if address else False, log_to_driver=False)
    except (ConnectionError, ValueError, RuntimeError) as error:
        raise InputError(f"no Ray cluster at {address!r}: {error}") from error
    try:
        yield
    finally:
        ray.shutdown()


def _check_answer(address: str | None) -> None:
    """Knock at a cluster's port: Ray itself would try for a minute."""
    host, _, port = (address or "").removeprefix("ray://").rpartition(":")
    if not host or not port.isdecimal():
        return
    try:
        socket.create_connection((host, int(port)), _SECONDS_FOR_AN_ANSWER).close()
    except (OSError, OverflowError) as error:
        raise InputError(f"no Ray cluster answers at {address!r}: {error}.") from error


def make_shards(
    order: WorkOrder, missing: Sequence[int], workers: int | None, device: str | None, advance: Advance
) -> None:
    """Make the missing shards with actors, one for each GPU of the cluster, or for each CPU where it has no GPU.

    Args:
        order: What an actor needs; its folder and weights must be the same on every node.
        missing: Indices of the shards.
        workers: How many actors; None means as many as the cluster has room for.
        device: Where each runs; None means the best device that it has.
        advance: Told how many samples were made.

    Raises:
        InputError: A node cannot open the generator.
        SioDataError: A shard's actor was lost too often, or the generator failed.
    """
    import ray

    _Crew(ray, order, workers, device).make(missing, advance)


class _Crew:
    """Some actors and what each is making."""

    def __init__(self, ray: Any, order: WorkOrder, workers: int | None, device: str | None) -> None:
        self._ray = ray
        self._arguments = (ray.put(order), device)
        resources = ray.cluster_resources()
        self._gpus = int(resources.get("GPU", 0)) > 0
        self._size = workers or int(resources["GPU" if self._gpus else "CPU"])
        self._losses: Counter[int] = Counter()

    def make(self, missing: Sequence[int], advance: Advance) -> None:
        todo = deque(missing)
        making = {}
        for _ in range(min(self._size, len(todo))):
            actor, index = self._hire(), todo.popleft()
            making[actor.make.remote(index)] = (actor, index)
        while making:
            (ready,), _ = self._ray.wait(list(making), num_returns=1)
            actor, index = making.pop(ready)
            made = self._result(ready, index)
            if made is None:
                actor = self._hire()
                todo.appendleft(index)
            else:
                advance(made, "")
            if todo:
                index = todo.popleft()
                making[actor.make.remote(index)] = (actor, index)

    def _hire(self) -> Any:
        options = {"num_gpus": 1} if self._gpus else {"num_cpus": 1}
        return self._ray.remote(ShardMaker).options(**options).remote(*self._arguments)

    def _result(self, ready: Any, index: int) -> int | None:
        """Give how many samples were made, or None if the actor was lost."""
        try:
            return int(self._ray.get(ready))
        except self._ray.exceptions.RayTaskError as error:
            raise copy_error(str(error.cause), getattr(error.cause, "exit_code", 1)) from None
        except self._ray.exceptions.RayActorError as error:
            self._losses[index] += 1
            if self._losses[index] >= _MAX_LOSSES:
                raise SioDataError(
                    f"the worker making shard {index} was lost {_MAX_LOSSES} times, perhaps for want of memory: {error}"
                ) from error
            return None
