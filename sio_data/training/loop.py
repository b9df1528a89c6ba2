"""The training loop: data, step and schedule on one screen."""

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path

import torch

from sio_data.mixing import MixedBatches
from sio_data.progress import Advance, progress
from sio_data.training.beginning import TrainingData, place
from sio_data.training.journal import Journal
from sio_data.training.meter import Meter
from sio_data.training.ranks import Ranks
from sio_data.training.run import Run, Trained
from sio_data.training.settings import TrainingSettings
from sio_data.training.state import Saver
from sio_data.training.stopping import StopRequest

SAVE_SECONDS = 60.0
_ALONE = Ranks()


def train_run(
    settings: TrainingSettings,
    data: TrainingData,
    seed: int,
    device: torch.device,
    *,
    ranks: Ranks = _ALONE,
    folder: Path | None = None,
    save_seconds: float = SAVE_SECONDS,
    tensorboard: bool = False,
    request: StopRequest | None = None,
) -> Trained:
    """Train one classifier, or go on with it.

    Same settings, data and seed give the same weights on one kind of CPU; on a GPU, but for rounding.

    Args:
        settings: The recipe.
        data: The images.
        seed: Of the initial weights, the batches and all draws.
        device: Where to train.
        ranks: The processes that train together.
        folder: Where its state and its log lie; None keeps nothing on disk.
        save_seconds: Time between two saves of the state; the weights do not depend on it.
        tensorboard: Whether to write events for TensorBoard.
        request: Where somebody may ask for an end, which comes after the step.

    Raises:
        SioDataError: The loss became NaN or infinite.
        IncompleteError: SIGTERM came; the state is saved.
        InputError: The data do not fit together, or the saved state is damaged.
    """
    data = place(data, device)
    batches = mixed_batches(settings, data, seed, ranks)
    steps = settings.epochs * len(batches)
    with _own_globals(device):
        saver = Saver(folder, save_seconds, ranks, request or StopRequest())
        run = Run(settings, data, seed, device, ranks, saver)
        done = run.position.epoch * len(batches) + run.position.step
        journal = Journal(folder if ranks.first else None, run.position.epoch, tensorboard)
        with journal, _bar(f"training, seed {seed}", steps, done, ranks) as advance:
            while run.position.epoch < settings.epochs:
                meter = Meter()
                for batch, outliers in run.epoch(batches):
                    rate = settings.rate(done, steps)
                    loss = run.learner.update(run.prepare(batch, outliers, done / steps), rate)
                    run.count(loss)
                    done += 1
                    advance(1, meter.note(len(batch) * ranks.world, run.position.epoch, loss))
                    saver.look(run.state, device)
                rates = {
                    "learning_rate": settings.rate(done, steps),
                    "images_per_second": round(meter.images_per_second, 1),
                }
                journal.enter(run.finish_epoch() | rates)
        return run.trained()


def mixed_batches(settings: TrainingSettings, data: TrainingData, seed: int, ranks: Ranks = _ALONE) -> MixedBatches:
    """Mix the batches of a training.

    Raises:
        InputError: The data do not fit together; see `MixedBatches`.
    """
    return MixedBatches(
        data.real,
        data.synthetic,
        batch_size=settings.batch_size,
        alpha=settings.alpha,
        real_share=settings.real_share,
        every_real=settings.every_real,
        seed=seed,
        rank=ranks.rank,
        world=ranks.world,
    )


def _bar(title: str, steps: int, done: int, ranks: Ranks) -> AbstractContextManager[Advance]:
    return progress(title, steps, done) if ranks.first else nullcontext(lambda units, note: None)


@contextmanager
def _own_globals(device: torch.device) -> Iterator[None]:
    """Let cuDNN find its fastest kernels by trial; leave the caller's setting and random numbers as they were."""
    before = torch.backends.cudnn.benchmark
    torch.backends.cudnn.benchmark = True
    try:
        with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
            yield
    finally:
        torch.backends.cudnn.benchmark = before
