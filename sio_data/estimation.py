"""What a set would hold, take and cost, from one timed batch; nothing is written."""

import time
from dataclasses import dataclass

import torch

from sio_data.engines.drawing import Drawer
from sio_data.engines.local import list_devices
from sio_data.errors import InputError
from sio_data.plan import Plan
from sio_data.recipe import Recipe
from sio_data.request import Request
from sio_data.shards import shard_bytes

_UNITS = ("bytes", "kB", "MB", "GB", "TB")


@dataclass(frozen=True)
class Estimate:
    """What a set would take.

    Attributes:
        recipe: What it would hold.
        workers: How many processes share the time.
        bytes: Size of all shards.
        seconds: Time to draw all samples, without start-up.
        price_per_hour: Of one worker; None if nobody asked.
        measured: What was timed.
    """

    recipe: Recipe
    workers: int
    bytes: int
    seconds: float
    price_per_hour: float | None
    measured: str

    @property
    def cost(self) -> float | None:
        """Price of all workers for that time, in the unit of `price_per_hour`."""
        return None if self.price_per_hour is None else self.workers * self.seconds / 3600 * self.price_per_hour

    def rows(self) -> list[tuple[str, str]]:
        """Give names and values as text, for people."""
        recipe = self.recipe
        names = ", ".join(recipe.class_names[:6]) + (", …" if len(recipe.class_names) > 6 else "")
        rows = [
            ("recipe", recipe.hash),
            ("classes", f"{len(recipe.class_names)} ({names})"),
            ("images", f"{recipe.samples:,} of {recipe.image_size}x{recipe.image_size} pixels"),
            ("shards", f"{recipe.shards:,} of up to {min(recipe.shard_size, recipe.samples):,} images"),
            ("size", f"about {_with_unit(self.bytes)}"),
            ("time", f"about {_as_time(self.seconds)} on {self.workers} worker{'s' if self.workers > 1 else ''}"),
            ("measured", self.measured),
        ]
        return rows if self.cost is None else [*rows, ("cost", f"about {self.cost:,.2f}")]


def estimate(
    request: Request, *, device: str | None = None, workers: int | None = None, price_per_hour: float | None = None
) -> Estimate:
    """Draw one batch to warm up and one to time, and work out what the whole set takes.

    Args:
        request: What to generate.
        device: Where to run; None means every CUDA device, or the CPU.
        workers: How many processes; None means one for each device.
        price_per_hour: Of one worker.

    Raises:
        InputError: The request or the price makes no sense.
    """
    if price_per_hour is not None and not 0 <= price_per_hour < float("inf"):
        raise InputError(f"price_per_hour must be a number from 0 on, not {price_per_hour}.")
    devices = list_devices(device, workers)
    generator, recipe = request.open(devices[0])
    plan = Plan(recipe)
    shard = plan[0].first(recipe.batch_size)
    drawer = Drawer(plan, generator)
    threads = torch.get_num_threads()
    try:
        torch.set_num_threads(max(1, threads // len(devices)))  # on the CPU, workers share the cores
        list(drawer.draw(shard))
        started = time.perf_counter()
        data = shard_bytes(recipe, list(drawer.draw(shard)))
        seconds = time.perf_counter() - started
    finally:
        torch.set_num_threads(threads)
    share = recipe.samples / len(shard)
    return Estimate(
        recipe=recipe,
        workers=len(devices),
        bytes=round(data * share),
        seconds=seconds * share / len(devices),
        price_per_hour=price_per_hour,
        measured=f"{len(shard)} images in {seconds:.2f} s on {devices[0] or 'cpu'}, after a first batch",
    )


def _with_unit(size: float) -> str:
    for unit in _UNITS[:-1]:
        if size < 1000:
            return f"{size:,.3g} {unit}" if size < 100 else f"{size:,.0f} {unit}"
        size /= 1000
    return f"{size:,.1f} {_UNITS[-1]}"


def _as_time(seconds: float) -> str:
    if seconds < 120:
        return f"{max(1, seconds):.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"
