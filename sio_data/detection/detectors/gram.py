"""Gram matrices: how far the correlations of maps leave the range of the training images."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import torch
from torch import nn

from sio_data.detection.detectors.given import Given
from sio_data.detection.detectors.network import WatchingDetector, require_images
from sio_data.detection.looks import Look
from sio_data.detection.outputs import Outputs
from sio_data.detection.passes import compute_outputs
from sio_data.errors import InputError
from sio_data.image_set import ImageSet

if TYPE_CHECKING:
    from sio_data.training.checkpoint import Classifier

_HELD_OUT = 10  # one training image of so many of a class
_SMALL = 1e-6  # is added to a bound before it divides, as in OpenOOD
_MOST_POWERS = 10


@dataclass
class Gram(WatchingDetector):
    """Minus the deviation from the training images' ranges, over the largest probability.

    Sastry & Oore, ICML 2020: `-(1 / max_c p_c) sum_l delta_l / n_l`. Of the output of every convolution, as a matrix A
    of channels and positions, and for each power q, these are the row sums v of `(A^q)(A^q)'`, as
    `sign(v) |v|^(1/q)`. delta_l is how far they lie outside the range that nine tenths of the training images of the
    predicted class have, relative to its bounds, summed over channels and powers; n_l is its mean over the other tenth,
    which is drawn at random by a fixed seed, with the true labels. OpenOOD also takes outputs of `nn.ReLU` modules; its
    own ResNets have none. A class without training images has the range of all of them; a layer on which no held-out
    image deviates counts as it is.

    Fitted on the training images and labels. Cost: a pass over them and one over their tenth; for each image about one
    forward pass's time and, learned, 16 bytes a class, channel and power.

    Attributes:
        powers: The powers go from 1 to this, at most 10.
    """

    name: ClassVar[str] = "gram"
    learned: ClassVar[tuple[str, ...]] = ("_lows", "_highs", "_norms")

    powers: int = 5

    def __post_init__(self) -> None:
        if not 1 <= self.powers <= _MOST_POWERS:
            raise InputError(f"gram: powers must be from 1 to {_MOST_POWERS}, not {self.powers}.")

    @property
    def settings(self) -> str:
        """The ranges hang on the powers."""
        return f"gram powers={self.powers}"

    def misfit(self, network: "Classifier") -> str | None:
        """Refuse networks without convolutions."""
        has_one = any(isinstance(module, nn.Conv2d) for module in network.network.modules())
        return None if has_one else "it needs a network with convolutions"

    def ask(self, look: Look) -> None:
        """Ask for the row sums of every convolution's output."""
        look.want_convolutions(self.settings, lambda maps: row_sums(maps, self.powers))

    def observe(self, look: Look) -> torch.Tensor:
        """Give the deviation of each layer from the range of the predicted class, float64 [n, L]."""
        return self._deviations(look, look.logits.argmax(1))

    def _begin(self, images: ImageSet) -> None:
        self._is_held_out = draw_held_out(images.labels)
        self._ranges: list[tuple[torch.Tensor, torch.Tensor]] = []

    def _watch(self, look: Look) -> None:
        kept = ~self._is_held_out[look.places].to(look.labels.device)
        sums, labels = look.reduced(self.settings), look.labels[kept]
        if not self._ranges:
            shapes = [(len(look.classifier.class_names), *layer.shape[1:]) for layer in sums]
            self._ranges = [
                (sums[0].new_full(shape, torch.inf), sums[0].new_full(shape, -torch.inf)) for shape in shapes
            ]
        for layer, (lows, highs) in zip(sums, self._ranges, strict=True):
            places = labels[:, None, None].expand(-1, *layer.shape[1:])
            lows.scatter_reduce_(0, places, layer[kept], "amin")
            highs.scatter_reduce_(0, places, layer[kept], "amax")

    def _finish(self, given: Given) -> None:
        lows, highs = (torch.cat(bounds, 1) for bounds in zip(*self._ranges, strict=True))
        empty = (lows > highs).any(2).any(1)[:, None, None]
        self._lows = torch.where(empty, lows.amin(0), lows)
        self._highs = torch.where(empty, highs.amax(0), highs)
        held_out = self._is_held_out.nonzero().squeeze(1)
        del self._ranges, self._is_held_out
        if not len(held_out):
            raise InputError("gram needs a class of two training images or more.")
        images = require_images(self.name, given.train).select(held_out)
        seen = compute_outputs(given.network, images, self._place, [_Truth(self)])
        norms = seen.observed[_Truth.observation].mean(0).to(self._lows.device)
        self._norms = torch.where(norms > 0, norms, 1.0)

    def _deviations(self, look: Look, classes: torch.Tensor) -> torch.Tensor:
        deviations, start = [], 0
        for layer in look.reduced(self.settings):
            rows = slice(start, start + layer.shape[1])
            lows, highs = self._lows[:, rows][classes], self._highs[:, rows][classes]
            below = (lows - layer).relu() / (lows + _SMALL).abs()
            above = (layer - highs).relu() / (highs + _SMALL).abs()
            deviations.append((below + above).sum((1, 2)))
            start = rows.stop
        return torch.stack(deviations, 1)

    def _score(self, outputs: Outputs) -> torch.Tensor:
        deviation = (outputs.observed[self.observation].double() / self._norms).sum(1)
        return -deviation / outputs.logits.double().softmax(1).amax(1)


@dataclass(frozen=True)
class _Truth:
    """Observes the deviations from the range of the true class."""

    gram: Gram
    observation: ClassVar[str] = "gram of the true class"

    def ask(self, look: Look) -> None:
        self.gram.ask(look)

    def observe(self, look: Look) -> torch.Tensor:
        return self.gram._deviations(look, look.labels)


def row_sums(maps: torch.Tensor, powers: int) -> torch.Tensor:
    """Give the row sums of the Gram matrices of maps, float [n, K, h, w], as float64 [n, K, powers].

    `A^q (A^q)' 1` is `A^q` times the sums of its columns, so that no matrix of channels and channels is made. In
    float64: the sums of odd powers cancel, and the roots magnify what rounding leaves.
    """
    base = maps.flatten(2).double()
    power, sums = base.clone(), []
    for exponent in range(1, powers + 1):
        values = (power @ power.sum(1)[:, :, None]).squeeze(2)
        sums.append(values.sign() * values.abs() ** (1 / exponent))
        power *= base
    return torch.stack(sums, 2)


def draw_held_out(labels: torch.Tensor) -> torch.Tensor:
    """Draw a tenth of the images of each class, by a fixed seed: at least one of two.

    Args:
        labels: int64 [N].

    Returns:
        bool [N].
    """
    generator = torch.Generator().manual_seed(0)
    is_held_out = torch.zeros(len(labels), dtype=torch.bool)
    for label in labels.unique().tolist():
        members = (labels == label).nonzero().squeeze(1).cpu()
        count = max(len(members) // _HELD_OUT, min(1, len(members) - 1))
        is_held_out[members[torch.randperm(len(members), generator=generator)[:count]]] = True
    return is_held_out
