"""PixMix (Hendrycks et al., CVPR 2022, arXiv 2112.05135).

    x~ = x or, by chance 1/2, A(x)
    up to k times:  x~ = clip(x~ + p),  p = A(x) or, by chance 1/2, a fractal;  + is "add" or, by chance 1/2, "multiply"
    L = CE(x~, y)

    add       (a (2 x~ - 1) + b (2 p - 1) + 1) / 2
    multiply  (2 x~)^a (2 p)^b / 2
    a ~ Beta(beta, 1), b ~ Beta(1, beta), or by chance 1/2 a ~ 1 + Beta(1, beta), b ~ -Beta(1, beta)

A is a random operation of `pixmix_operations` of a level drawn from [0.1, severity]; how often is drawn from 0 to k.
Real and synthetic images are treated alike. As in SIO's runs all 13 operations are used; the released code has the last
four as an option. Each image has one crop of one mixing picture, as there. Its mixing pictures, fractals and feature
visualisations, can be given as a folder; without one, fractals of our own are drawn.
"""

import dataclasses
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import nn

from sio_data.errors import InputError
from sio_data.training.methods.base import Losses, Method, TrainingBatch
from sio_data.training.methods.mixing_pictures import draw_crops, find_pictures, load_pictures
from sio_data.training.methods.pair_mixing import draw_beta
from sio_data.training.methods.parameters import check_positive
from sio_data.training.methods.pixmix_operations import OPERATIONS

if TYPE_CHECKING:
    from sio_data.training.checkpoint import Classifier

_LEAST_LEVEL = 0.1
_DARKEST = 1e-37  # instead of 0, which has no negative power


@dataclass(frozen=True)
class PixMix(Method):
    """Mixes images with fractals and with altered versions of themselves.

    Attributes:
        pictures: A folder of pictures to mix in (PNG, JPEG, WebP, BMP); empty means 256 fractals of our own.
        k: The most mixings of an image, from 0 to 100.
        beta: How strongly: the larger, the weaker; above 0.
        severity: The greatest level of the operations, from 0.1 to 10.
    """

    pictures: str = ""
    k: int = 4
    beta: float = 3.0
    severity: float = 3.0

    def __post_init__(self) -> None:
        if not 0 <= self.k <= 100:
            raise InputError(f"pixmix: k must be from 0 to 100, not {self.k}.")
        check_positive("pixmix", "beta", self.beta)
        if not _LEAST_LEVEL <= self.severity <= 10:
            raise InputError(f"pixmix: severity must be from {_LEAST_LEVEL} to 10, not {self.severity}.")
        if self.pictures:
            find_pictures(self.pictures)

    def prepare(self, batch: TrainingBatch, generator: torch.Generator, progress: float) -> TrainingBatch:
        """Mix every image."""
        images = batch.images
        held = load_pictures(self.pictures, images.shape[-1], images.device)
        pictures = draw_crops(held, len(images), images.shape[-1], generator).to(images.dtype) / 255
        return dataclasses.replace(batch, images=self.mix(images, pictures, generator))

    def losses(self, classifier: "Classifier", batch: TrainingBatch, state: nn.Module) -> Losses:
        """Give the cross-entropy of each mixed image."""
        return Losses(batch.cross_entropy(classifier(batch.images)), batch.is_synthetic)

    def mix(self, images: torch.Tensor, pictures: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
        """Mix images with pictures.

        Args:
            images: float [B, 3, H, H] in [0, 1].
            pictures: float [B, 3, H, H] in [0, 1]: one for each image.
            generator: A CPU generator.

        Returns:
            float [B, 3, H, H] in [0, 1].
        """
        count, device = len(images), images.device
        times = torch.randint(self.k + 1, (count,), generator=generator)
        steps = torch.arange(self.k + 1)[:, None]
        alters = (torch.rand(self.k + 1, count, generator=generator) < 0.5) & (steps <= times)
        altered = self._alter(images, alters, generator)
        mixed = images.index_copy(0, *altered[0])
        for step in range(1, self.k + 1):
            partners = pictures.index_copy(0, *altered[step])
            a, b = (_broadcast(power, device).to(images.dtype) for power in self._draw_powers(count, generator))
            multiplies = _broadcast(torch.rand(count, generator=generator) < 0.5, device)
            result = torch.where(multiplies, multiply(mixed, partners, a, b), add(mixed, partners, a, b))
            mixed = torch.where(_broadcast(times >= step, device), result.clamp(0, 1), mixed)
        return mixed

    def _alter(
        self, images: torch.Tensor, alters: torch.Tensor, generator: torch.Generator
    ) -> list[tuple[torch.Tensor, torch.Tensor]]:
        """Apply operations to images, each operation to all of its images at once.

        Args:
            images: float [B, 3, H, H] in [0, 1].
            alters: bool [S, B], on the CPU: which images to alter, for each of S steps.
            generator: A CPU generator.

        Returns:
            For each step which images, int64 [n], and what became of them, float [n, 3, H, H].
        """
        operations = torch.randint(len(OPERATIONS), alters.shape, generator=generator)[alters]
        level = torch.empty(alters.shape).uniform_(_LEAST_LEVEL, self.severity, generator=generator)[alters]
        sign = 1 - 2 * torch.randint(2, alters.shape, generator=generator)[alters].float()
        order = operations.argsort(stable=True)
        counts = operations.bincount(minlength=len(OPERATIONS)).tolist()
        rows = alters.nonzero()[:, 1].to(images.device, non_blocking=True)
        levels = (images[rows[order.to(images.device, non_blocking=True)]] * 255).round()
        level, sign = (values[order].to(images, non_blocking=True) for values in (level, sign))
        pieces = zip(OPERATIONS, levels.split(counts), level.split(counts), sign.split(counts), strict=True)
        results = torch.cat([operation(*piece) for operation, *piece in pieces]) / 255
        results = results[order.argsort().to(images.device, non_blocking=True)]
        steps = alters.sum(1).tolist()
        return list(zip(rows.split(steps), results.split(steps), strict=True))

    def _draw_powers(self, count: int, generator: torch.Generator) -> tuple[torch.Tensor, torch.Tensor]:
        """Draw a and b of each image, float64 [count]."""
        small, other = draw_beta(1, self.beta, 2 * count, generator).chunk(2)
        large = draw_beta(self.beta, 1, count, generator)
        towards = torch.rand(count, generator=generator) < 0.5
        return torch.where(towards, large, 1 + other), torch.where(towards, small, -small)


def add(images: torch.Tensor, others: torch.Tensor, a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    """Add images as values from -1 to 1; see the formula above."""
    return (a * (2 * images - 1) + b * (2 * others - 1) + 1) / 2


def multiply(images: torch.Tensor, others: torch.Tensor, a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    """Multiply images as values from 0 to 2; see the formula above."""
    return (2 * images) ** a * (2 * others).clamp(min=_DARKEST) ** b / 2


def _broadcast(values: torch.Tensor, device: torch.device) -> torch.Tensor:
    return values.view(-1, 1, 1, 1).to(device, non_blocking=True)
