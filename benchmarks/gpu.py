"""How long a training takes on an NVIDIA GPU: ResNet-18, CIFAR's size, 200 epochs of SIO at batches of 128.

Run by `make bench`; without CUDA it says so. Goal: under 5 minutes on an H200. 50,000 real and 50,000 synthetic images
of random pixels lie on the GPU; bf16, channels last, compiled. By default a few epochs after the first one, which
compiles, are measured, and the rest is extrapolated; `--whole` trains all 200. `--bounds` needs no GPU.

Three tables follow: the times, which operations they go to and how long the GPU has nothing to do, and two bounds that
no implementation gets below: the floating-point operations of the step over the GPU's rate, and the bytes that must
pass its memory (what is saved for the backward pass is written and read; weights, gradients and momentum are read and
written once each) over its bandwidth. The rates are the H200's by default: dense bf16, HBM3e.
"""

import argparse
import json
import statistics
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from itertools import pairwise

import torch
from torch.autograd import DeviceType
from torch.profiler import ProfilerActivity, profile
from torch.utils.flop_counter import FlopCounterMode

from sio_data import ImageSet
from sio_data.training.beginning import TrainingData, begin, place
from sio_data.training.learner import Learner
from sio_data.training.loop import mixed_batches, train_run
from sio_data.training.methods.base import TrainingBatch
from sio_data.training.ranks import Ranks
from sio_data.training.run import Run
from sio_data.training.settings import TrainingSettings
from sio_data.training.state import Saver
from sio_data.training.stopping import StopRequest

EPOCHS, GOAL = 200, 300.0
VAL_SHARE = 50  # one validation image to so many real ones
ROWS = 15
RECIPE = TrainingSettings(
    alpha=0.8,
    augmentation="crop-flip",
    precision="bf16",
    channels_last=True,
    compile=True,
    mean=(0.5, 0.5, 0.5),
    std=(0.25, 0.25, 0.25),
)


def read_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--whole", action="store_true", help="train all epochs instead of a few")
    parser.add_argument("--bounds", action="store_true", help="print the bounds alone")
    parser.add_argument("--epochs", type=int, default=4, help="epochs measured after the first one")
    parser.add_argument("--profiled", type=int, default=50, help="steps in the profile")
    parser.add_argument("--network", default="resnet18-32")
    parser.add_argument("--images", type=int, default=50_000, help="of each kind")
    parser.add_argument("--device", default="cuda", help="`cpu`, with few images, only shows that all this works")
    parser.add_argument("--tflops", type=float, default=989.0, help="the device's rate, TFLOP/s")
    parser.add_argument("--bandwidth", type=float, default=4.8, help="of its memory, TB/s")
    return parser.parse_args()


def make_images(count: int, seed: int) -> ImageSet:
    generator = torch.Generator().manual_seed(seed)
    pixels = torch.randint(0, 256, (count, 3, 32, 32), dtype=torch.uint8, generator=generator)
    return ImageSet(pixels, torch.arange(count) % 10, tuple("abcdefghij"))


@contextmanager
def epochs_timed() -> Iterator[list[float]]:
    """Note the moment at which each epoch ends; its validation accuracy was read back then."""
    finish, moments = Run.finish_epoch, [time.perf_counter()]

    def note(run: Run) -> dict[str, float]:
        row = finish(run)
        moments.append(time.perf_counter())
        return row

    Run.finish_epoch = note  # type: ignore[method-assign]
    try:
        yield moments
    finally:
        Run.finish_epoch = finish  # type: ignore[method-assign]


def measure_epochs(settings: TrainingSettings, data: TrainingData, device: torch.device) -> dict[str, float]:
    """Train; give the seconds of the first epoch, of a later one, and of all 200."""
    with epochs_timed() as moments:
        train_run(settings, data, 0, device)
    passed = [after - before for before, after in pairwise(moments)]
    later = statistics.median(passed[1:])
    whole = sum(passed) if len(passed) == EPOCHS else passed[0] + later * (EPOCHS - 1)
    return {"epochs_measured": len(passed), "first_epoch_s": passed[0], "epoch_s": later, "whole_s": whole}


def profile_steps(
    settings: TrainingSettings, data: TrainingData, device: torch.device, steps: int
) -> tuple[str, dict[str, float]]:
    """Give the operations that take longest, and how long a step takes and keeps the GPU busy.

    The profile slows the host down, not the GPU: how busy it is comes from the profile, the time of a step does not.
    """
    run = Run(settings, data, 0, device, Ranks(), Saver(None, 0, Ranks(), StopRequest()))
    mixed = mixed_batches(settings, data, 0)
    batches, steps = run.epoch(mixed), min(steps, (len(mixed) - 1) // 2)

    def train(count: int) -> float:
        started = time.perf_counter()
        for _, (batch, outliers) in zip(range(count), batches, strict=False):
            run.count(run.learner.update(run.prepare(batch, outliers, 0.0), settings.learning_rate))
        run.state()  # reads the loss, and so waits for the device
        return time.perf_counter() - started

    torch.backends.cudnn.benchmark = True  # as in `train_run`
    train(1)
    passed = train(steps) / steps
    on_gpu = device.type == "cuda"
    with profile(activities=[ProfilerActivity.CPU] + [ProfilerActivity.CUDA] * on_gpu) as profiler:
        train(steps)
    events = profiler.key_averages()
    table = events.table(sort_by=f"self_{device.type}_time_total", row_limit=ROWS, max_name_column_width=60)
    if not on_gpu:
        return table, {"step_s": passed}
    busy = sum(event.self_device_time_total for event in events if event.device_type == DeviceType.CUDA) / 1e6 / steps
    return table, {"step_s": passed, "gpu_busy_s": busy, "gpu_idle_share": max(0.0, 1 - busy / passed)}


def count_work(settings: TrainingSettings, data: TrainingData, device: torch.device) -> tuple[int, int]:
    """Give the floating-point operations of a step, and the bytes that pass the memory at least."""
    settings = replace(settings, compile=False)
    classifier, method, state = begin(settings, data, 0, device)
    learner = Learner(settings, classifier, method, state, Ranks())
    chosen = data.real.select(range(settings.batch_size))
    images = chosen.images.to(torch.float32, memory_format=torch.channels_last).div_(255)
    batch = TrainingBatch(images, chosen.labels, torch.zeros_like(chosen.labels, dtype=torch.bool))
    saved: dict[int, int] = {}

    def pack(tensor: torch.Tensor) -> torch.Tensor:
        if not isinstance(tensor, torch.nn.Parameter):
            saved[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
        return tensor

    with FlopCounterMode(display=False) as counter, torch.autograd.graph.saved_tensors_hooks(pack, lambda kept: kept):
        learner.update(batch, settings.learning_rate)
    weights = sum(parameter.nbytes for parameter in classifier.parameters())
    return counter.get_total_flops(), 2 * sum(saved.values()) + 6 * weights


def bound(
    settings: TrainingSettings, data: TrainingData, device: torch.device, rates: argparse.Namespace
) -> dict[str, float]:
    """Give what a step must do at least, and how long all steps take for it at least."""
    steps = EPOCHS * len(mixed_batches(settings, data, 0))
    flops, moved = count_work(settings, data, device)
    return {
        "steps": steps,
        "step_flop": flops,
        "bound_by_operations_s": steps * flops / (rates.tflops * 1e12),
        "step_bytes": moved,
        "bound_by_bytes_s": steps * moved / (rates.bandwidth * 1e12),
    }


def main() -> None:
    arguments = read_arguments()
    on_gpu = arguments.device == "cuda" and torch.cuda.is_available()
    if arguments.device == "cuda" and not on_gpu and not arguments.bounds:
        print("no CUDA device here: the speed on a GPU is not measured")
        return
    device, count = torch.device("cuda" if on_gpu else "cpu"), arguments.images
    val = make_images(max(1, count // VAL_SHARE), 2)
    data = place(TrainingData(make_images(count, 0), val, make_images(count, 1)), device)
    settings = replace(RECIPE, network=arguments.network, epochs=EPOCHS if arguments.whole else 1 + arguments.epochs)
    result, table = bound(settings, data, device, arguments), ""
    if not arguments.bounds:
        times = measure_epochs(settings, data, device)
        table, step = profile_steps(settings, data, device, arguments.profiled)
        result = times | step | result
    name = torch.cuda.get_device_name(device) if on_gpu else "CPU"
    print(f"{arguments.network} on {name}: {EPOCHS} epochs; goal: {GOAL:.0f} s")
    for what, value in result.items():
        print(f"{what:24}{value:>16,.6g}")
    print(table)
    print(json.dumps({"device": name, **result}))


if __name__ == "__main__":
    main()
