"""Batches of real and synthetic images, the same for the same seed. Usable in anybody's training loop."""

import math
from collections.abc import Iterator
from dataclasses import dataclass

import torch

from sio_data.errors import InputError
from sio_data.image_set import ImageSet


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


class MixedBatches:
    """Epochs of mixed batches, from memory.

    A batch of B holds `floor(B * alpha)` real images, the rest synthetic (the released code of SIO, Zhang et al. 2023,
    arXiv 2303.14531). An epoch is `ceil(N_real / B)` batches, so that synthetic data cost no extra updates. Each side
    is drawn without replacement and shuffled anew as soon as it runs out, so that no batch is ever short of it. Without
    a synthetic set, or with alpha 1, an epoch is each real image once; the last batch may be smaller.

    Args:
        real: Real training images.
        synthetic: Synthetic images of the same size; their classes are matched to the real ones by name.
        batch_size: B.
        alpha: Share of real images, in (0, 1].
        seed: Same seed, same batches.

    Raises:
        ClassMapError: A synthetic class is not among the real ones, or an image has no label.
        InputError: Sizes differ, alpha is out of range, or the batch is too small to hold both kinds.
    """

    def __init__(
        self,
        real: ImageSet,
        synthetic: ImageSet | None = None,
        *,
        batch_size: int = 128,
        alpha: float = 0.8,
        seed: int = 0,
    ) -> None:
        check_alpha(alpha)
        if batch_size < 1:
            raise InputError(f"batch_size must be at least 1, not {batch_size}.")
        for images in (real, synthetic):
            if images is not None:
                images.require_labels()
        self._only_real = synthetic is None or alpha == 1
        self._real_share = batch_size if self._only_real else math.floor(batch_size * alpha + 1e-9)
        if not self._only_real and self._real_share in (0, batch_size):
            raise InputError(f"a batch of {batch_size} cannot hold both kinds with alpha {alpha}; give a larger batch.")
        if synthetic is not None and synthetic.image_size != real.image_size:
            raise InputError(
                f"{synthetic.name} has images of {synthetic.image_size} pixels, {real.name} of {real.image_size}; "
                "load both with the same image size (--image-size)."
            )
        self._real = real
        self._synthetic = synthetic.with_class_names(real.class_names) if synthetic else None
        self._batch_size = batch_size
        self._seed = seed

    def __len__(self) -> int:
        return math.ceil(len(self._real) / self._batch_size)

    def epoch(self, number: int) -> Iterator[Batch]:
        """Give the batches of an epoch; they depend on (seed, number) alone.

        Args:
            number: From 0.
        """
        generator = torch.Generator().manual_seed((self._seed * 1_000_003 + number) % 2**32)
        if self._synthetic is None or self._only_real:
            order = torch.randperm(len(self._real), generator=generator)
            for chosen in order.split(self._batch_size):
                nothing = torch.zeros(len(chosen), dtype=torch.bool)
                yield Batch(self._real.images[chosen], self._real.labels[chosen], nothing)
            return
        share = self._batch_size - self._real_share
        real = _endless_order(len(self._real), len(self) * self._real_share, generator)
        synthetic = _endless_order(len(self._synthetic), len(self) * share, generator)
        for chosen, extra in zip(real.split(self._real_share), synthetic.split(share), strict=True):
            order = torch.randperm(self._batch_size, generator=generator)
            yield Batch(
                torch.cat([self._real.images[chosen], self._synthetic.images[extra]])[order],
                torch.cat([self._real.labels[chosen], self._synthetic.labels[extra]])[order],
                order >= self._real_share,
            )


def check_alpha(alpha: float) -> None:
    """Refuse a weight of the real loss outside (0, 1].

    Raises:
        InputError: It is.
    """
    if not 0 < alpha <= 1:
        raise InputError(f"alpha is the weight of the real loss and must be in (0, 1], not {alpha}.")


def _endless_order(size: int, count: int, generator: torch.Generator) -> torch.Tensor:
    """Give `count` indices below `size`: one permutation after another."""
    rounds = math.ceil(count / size)
    return torch.cat([torch.randperm(size, generator=generator) for _ in range(rounds)])[:count]
