"""Batches of real and synthetic images, the same for the same seed. Usable in anybody's training loop."""

import math
from collections.abc import Generator, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from itertools import pairwise
from typing import Protocol, Self

import torch

from sio_data.errors import InputError
from sio_data.shuffling import derive_seed

_Part = tuple[torch.Tensor, torch.Tensor]  # images and labels
_REAL, _SYNTHETIC, _ARRANGEMENT = range(3)  # what a stream of random numbers is for


class Images(Protocol):
    """One side of a mixture: an `ImageSet`, or a set that is streamed."""

    @property
    def name(self) -> str:
        """What to call it in messages."""

    @property
    def class_names(self) -> tuple[str, ...]:
        """The class map."""

    @property
    def image_size(self) -> int:
        """Height and width in pixels."""

    def __len__(self) -> int: ...

    def require_labels(self) -> Self:
        """Refuse images without a label."""

    def with_class_names(self, class_names: Sequence[str]) -> Self:
        """Give the same images with labels that are indices into another class map."""

    def read(self, places: Sequence[torch.Tensor], seed: int) -> Generator[_Part]:
        """Read batches of a shuffled endless order; see `ImageSet.read`."""


@dataclass(frozen=True)
class Batch:
    """One mixed batch, in random order.

    Attributes:
        images: uint8 [B, 3, H, W], RGB.
        labels: int64 [B], indices into the real set's class names.
        is_synthetic: bool [B].
    """

    images: torch.Tensor
    labels: torch.Tensor
    is_synthetic: torch.Tensor

    def __len__(self) -> int:
        return len(self.labels)

    def to(self, device: torch.device | str, non_blocking: bool = False) -> "Batch":
        """Give the same batch on a device."""
        moved = (part.to(device, non_blocking=non_blocking) for part in (self.images, self.labels, self.is_synthetic))
        return Batch(*moved)


class MixedBatches:
    """Epochs of mixed batches.

    A batch of B holds `floor(B * real_share)` real images, the rest synthetic. An epoch is `ceil(N_real / B)` batches,
    so that synthetic data cost no extra updates, and sees about that share of the real images: both as in the released
    code of SIO (Zhang et al. 2023, arXiv 2303.14531). With `every_real` it is as many batches as it takes to see each
    real image once. Without a synthetic set, or with a share of 1, an epoch is each real image once, in
    `ceil(N_real / B)` batches as equal as can be.

    Each side is drawn without replacement, and shuffled anew as soon as it runs out, so that no batch is ever short.
    An epoch is a pure function of the data, the seed and its number. Each of several processes gives its share of the
    same batches: `rank` and `world` cut them, and change nothing else.

    `epoch` gives one epoch. To iterate over the object itself gives the next one each time, for loops that only know
    how to do that; `set_epoch`, `state_dict` and `load_state_dict` are for resuming them.

    Args:
        real: Real training images: an `ImageSet`, or a streamed set.
        synthetic: Synthetic images of the same size; their classes are matched to the real ones by name.
        batch_size: B, over all processes.
        alpha: Weight of the real loss, in (0, 1].
        real_share: Share of real images in a batch, in (0, 1]; None means alpha, which the plain mean over the batch
            then reaches (`mix="batch"`). Another share needs `mix="loss"`; see `sio_loss`.
        every_real: Whether an epoch is each real image once, even with synthetic ones.
        seed: Same seed, same batches; at least 0.
        rank: Number of this process, from 0.
        world: How many processes share each batch.

    Raises:
        ClassMapError: A synthetic class is not among the real ones, or an image has no label.
        InputError: Sizes differ, a number is out of range, or a batch is too small to hold both kinds or to give
            each process an image.
    """

    def __init__(
        self,
        real: Images,
        synthetic: Images | None = None,
        *,
        batch_size: int = 128,
        alpha: float = 0.8,
        real_share: float | None = None,
        every_real: bool = False,
        seed: int = 0,
        rank: int = 0,
        world: int = 1,
    ) -> None:
        check_alpha(alpha)
        share = alpha if real_share is None else real_share
        _check_numbers(batch_size, share, seed, rank, world)
        self._real, self._synthetic = real.require_labels(), _match(synthetic, real)
        if share == 1:
            self._synthetic = None
        self._batch_size, self._seed, self._rank, self._world = batch_size, seed, rank, world
        self._bounds = _cut(len(real), batch_size, 1 if self._synthetic is None else share, every_real)
        smallest = int(self._bounds.diff().min()) if self._synthetic is None else batch_size
        if world > smallest:
            raise InputError(f"a batch of {smallest} cannot be shared by {world} processes; give a larger batch.")
        self._epoch, self._batch, self._begun = 0, 0, False

    def __len__(self) -> int:
        """Give the number of batches of an epoch."""
        return len(self._bounds) - 1

    def epoch(self, number: int, start: int = 0) -> Generator[Batch]:
        """Give the batches of an epoch; they depend on (seed, number) alone.

        Args:
            number: From 0.
            start: The batch to begin with, from 0 to `len(self)`; those before it are not made.

        Returns:
            This process's share of each batch, on the device of the real images. However it ends, so does all reading.

        Raises:
            InputError: There is no such epoch or batch.
        """
        self._check_place(number, start)
        return (
            self._only_real(number, start) if self._synthetic is None else self._mixed(self._synthetic, number, start)
        )

    def __iter__(self) -> Iterator[Batch]:
        """Give the next epoch: the first one, then one more each time; one that was left early is not gone on with."""
        if self._begun:
            self.set_epoch(self._epoch + 1)
        epoch = self._epoch
        with closing(self.epoch(epoch, self._batch)) as batches:
            for place, batch in enumerate(batches, self._batch + 1):
                self._begun = place < len(self)
                self._epoch, self._batch = (epoch, place) if self._begun else (epoch + 1, 0)
                yield batch

    def set_epoch(self, number: int) -> None:
        """Have the next iteration give this epoch, from its first batch or from where `load_state_dict` has set it.

        Raises:
            InputError: There is no such epoch.
        """
        self._check_place(number, 0)
        if self._begun or number != self._epoch:
            self._epoch, self._batch, self._begun = number, 0, False

    def state_dict(self) -> dict[str, int]:
        """Say which batch comes next, while iterating or between two epochs; the same for every process."""
        return {"epoch": self._epoch, "batch": self._batch, "batches": len(self), "seed": self._seed}

    def load_state_dict(self, state: Mapping[str, int]) -> None:
        """Have the next iteration go on with the batch that comes next in `state`.

        Raises:
            InputError: It is no state of such batches: other data, another seed, or other sizes.
        """
        wanted = self.state_dict()
        ours = state.keys() == wanted.keys() and all(isinstance(value, int) for value in state.values())
        ours = ours and all(state[name] == wanted[name] for name in ("batches", "seed"))
        if not ours or not 0 <= state["batch"] < len(self) or state["epoch"] < 0:
            raise InputError(f"the state is not one of these batches: it is {dict(state)}, theirs is like {wanted}.")
        self._epoch, self._batch, self._begun = state["epoch"], state["batch"], False

    def _check_place(self, epoch: int, start: int) -> None:
        if epoch < 0:
            raise InputError(f"epochs are counted from 0; there is none of number {epoch}.")
        if not 0 <= start <= len(self):
            raise InputError(f"an epoch has {len(self)} batches; it cannot begin with number {start}.")

    def _only_real(self, number: int, start: int) -> Generator[Batch]:
        limits = self._bounds[start:].tolist()
        places = [torch.arange(first + self._rank, end, self._world) for first, end in pairwise(limits)]
        with closing(self._real.read(places, derive_seed(self._seed, number, _REAL))) as real:
            for images, labels in real:
                yield Batch(images, labels, torch.zeros(len(labels), dtype=torch.bool, device=labels.device))

    def _mixed(self, synthetic: Images, number: int, start: int) -> Generator[Batch]:
        firsts, counts = self._bounds[start:-1, None], self._bounds.diff()[start:, None]
        mine = self._arrange(number)[start:, self._rank :: self._world]
        in_order, source = mine.sort(1)
        extra_firsts = torch.arange(start, len(self))[:, None] * self._batch_size - firsts
        real_places = _split_rows(in_order + firsts, in_order < counts)
        extra_places = _split_rows(in_order - counts + extra_firsts, in_order >= counts)
        with (
            closing(self._real.read(real_places, derive_seed(self._seed, number, _REAL))) as real,
            closing(synthetic.read(extra_places, derive_seed(self._seed, number, _SYNTHETIC))) as extra,
        ):
            yield from _join(real, extra, source.argsort(1), mine >= counts)

    def _arrange(self, number: int) -> torch.Tensor:
        """Give a random order of the places in each batch of an epoch: int64 [batches, B]."""
        generator = torch.Generator().manual_seed(derive_seed(self._seed, number, _ARRANGEMENT))
        return torch.rand(len(self), self._batch_size, generator=generator).argsort(1)


def check_alpha(alpha: float) -> None:
    """Refuse a weight of the real loss outside (0, 1].

    Raises:
        InputError: It is.
    """
    if not 0 < alpha <= 1:
        raise InputError(f"alpha is the weight of the real loss and must be in (0, 1], not {alpha}.")


def real_images_per_batch(batch_size: int, share: float) -> int:
    """Give how many of the images of a mixed batch are real: `floor(B * share)`.

    Args:
        batch_size: B.
        share: In (0, 1]; 1 stands for a batch without synthetic images.

    Raises:
        InputError: The batch cannot hold both kinds.
    """
    real = batch_size if share == 1 else math.floor(batch_size * share + 1e-9)
    if share < 1 and real in (0, batch_size):
        raise InputError(
            f"a batch of {batch_size} cannot hold both kinds with a share of {share} real; give a larger batch."
        )
    return real


def _check_numbers(batch_size: int, share: float, seed: int, rank: int, world: int) -> None:
    if batch_size < 1:
        raise InputError(f"batch_size must be at least 1, not {batch_size}.")
    if not 0 < share <= 1:
        raise InputError(f"real_share is the share of real images in a batch and must be in (0, 1], not {share}.")
    if seed < 0:
        raise InputError(f"seed must be at least 0, not {seed}.")
    if not 0 <= rank < world:
        raise InputError(f"rank must be from 0 to world - 1, not {rank} of {world}.")


def _match(synthetic: Images | None, real: Images) -> Images | None:
    """Give synthetic images with the real ones' class map."""
    if synthetic is None:
        return None
    if synthetic.image_size != real.image_size:
        raise InputError(
            f"{synthetic.name} has images of {synthetic.image_size} pixels, {real.name} of {real.image_size}; "
            "load both with the same image size (--image-size)."
        )
    return synthetic.require_labels().with_class_names(real.class_names)


def _cut(count: int, batch_size: int, share: float, every_real: bool) -> torch.Tensor:
    """Give the place of the first real image of each batch of an epoch, and where the last one ends: int64 [n + 1]."""
    real = real_images_per_batch(batch_size, share)
    if share < 1 and not every_real:
        return torch.arange(math.ceil(count / batch_size) + 1) * real
    batches = math.ceil(count / real)
    sizes = torch.full((batches,), count // batches)
    sizes[: count % batches] += 1
    return torch.cat([torch.zeros(1, dtype=torch.int64), sizes.cumsum(0)])


def _join(
    real: Iterator[_Part], extra: Iterator[_Part], order: torch.Tensor, is_synthetic: torch.Tensor
) -> Iterator[Batch]:
    """Join the parts of each batch, in its order."""
    for row, ((images, labels), (more_images, more_labels)) in enumerate(zip(real, extra, strict=True)):
        order, is_synthetic = order.to(images.device), is_synthetic.to(images.device)  # all at once, the first time
        yield Batch(
            torch.cat([images, more_images.to(images.device)]).index_select(0, order[row]),
            torch.cat([labels, more_labels.to(images.device)]).index_select(0, order[row]),
            is_synthetic[row],
        )


def _split_rows(values: torch.Tensor, chosen: torch.Tensor) -> tuple[torch.Tensor, ...]:
    """Give the chosen values of each row."""
    rows: tuple[torch.Tensor, ...] = values[chosen].split(chosen.sum(1).tolist())
    return rows
