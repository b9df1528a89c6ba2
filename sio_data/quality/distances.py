"""How far two sets of images lie apart as distributions of feature vectors."""

import warnings
from dataclasses import dataclass
from math import isfinite

import numpy as np
import torch
from torch import nn

from sio_data.errors import InputError
from sio_data.quality.findings import Distances

NEIGHBOURS = 5
"""k of precision, recall, density and coverage: what Naeem et al. use."""

_MOST_SAMPLED = 10_000
_KID_SUBSETS = 100
_KID_SUBSET_SIZE = 1000
_BLOCK = 1000


class DistanceMeter:
    """Takes synthetic features batch by batch, and gives their distances from the real ones.

    FID is of all images. What needs pairs of images is of a random choice, the same for the same seed: 10,000 real and
    10,000 synthetic ones at most, as many of each. So memory does not grow with the set.

    Args:
        real: float32 [N, D], features of the real images.
        count: How many synthetic images there are.
        seed: Of the random choices.
        device: Where to compute.

    Raises:
        InputError: There are too few images, or the real ones all have the same features.
    """

    def __init__(self, real: torch.Tensor, count: int, seed: int, device: torch.device) -> None:
        from torchmetrics.image.fid import FrechetInceptionDistance

        for number, what in ((len(real), "real"), (count, "synthetic")):
            if number <= NEIGHBOURS:
                raise InputError(f"{number} {what} images are too few to measure: it takes {NEIGHBOURS + 1} or more.")
        if bool((real == real[0]).all()):
            raise InputError("the network gives the same features for every real image; nothing can be measured by it.")
        self._dimensions, self._seed, self._device = real.shape[1], seed, device
        self._fid = FrechetInceptionDistance(_Identity(real.shape[1])).to(device)
        for part in real.split(_BLOCK):
            self._fid.update(part.to(device).double(), real=True)
        self._images = min(_MOST_SAMPLED, len(real), count)
        choice = np.random.default_rng(seed)
        self._real = real[_choose(choice, len(real), self._images)]
        self._chosen = _choose(choice, count, self._images)
        self._synthetic = torch.empty(self._images, real.shape[1])
        self._seen = 0

    def add(self, features: torch.Tensor) -> None:
        """Take the features, float32 [B, D], of the synthetic images that follow."""
        self._fid.update(features.to(self._device).double(), real=False)
        first, end = np.searchsorted(self._chosen, (self._seen, self._seen + len(features)))
        self._synthetic[first:end] = features[self._chosen[first:end] - self._seen]
        self._seen += len(features)

    def measure(self) -> Distances:
        """Give the distances, when all images have been taken.

        Raises:
            InputError: They are beyond what numbers can hold.
        """
        real, synthetic = (part.to(self._device).double() for part in (self._real, self._synthetic))
        kid = kernel_distance(real, synthetic, self._seed)
        fid = float(self._fid.compute())
        if not (isfinite(fid) and isfinite(kid.mean) and isfinite(kid.std)):
            raise InputError("FID or KID is NaN or infinite: the features of the network are too large to measure by.")
        manifold = compare_manifolds(real, synthetic, NEIGHBOURS)
        return Distances(
            dimensions=self._dimensions,
            fid=max(0.0, fid),
            kid=kid.mean,
            kid_std=kid.std,
            kid_subsets=kid.subsets,
            kid_subset_size=kid.subset_size,
            precision=manifold.precision,
            recall=manifold.recall,
            density=manifold.density,
            coverage=manifold.coverage,
            neighbours=NEIGHBOURS,
            images=self._images,
        )


class _Identity(nn.Module):
    """Stands where torchmetrics wants a feature extractor: it is given features."""

    def __init__(self, num_features: int) -> None:
        super().__init__()
        self.num_features = num_features

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        return features


def _choose(generator: np.random.Generator, count: int, wanted: int) -> np.ndarray:
    return np.sort(generator.choice(count, wanted, replace=False))


@dataclass(frozen=True)
class KernelDistance:
    """A KID and how it was drawn; see `Distances`."""

    mean: float
    std: float
    subsets: int
    subset_size: int


def kernel_distance(real: torch.Tensor, synthetic: torch.Tensor, seed: int) -> KernelDistance:
    """Measure KID (Bińkowski et al. 2018): the unbiased squared MMD with the kernel (x·y / D + 1)³.

    It is the mean over 100 random subsets of 1,000 real and 1,000 synthetic images, or that of all if there are fewer.

    Args:
        real: float64 [N, D].
        synthetic: float64 [N, D].
        seed: Of the subsets.
    """
    from torchmetrics.image.kid import KernelInceptionDistance

    size = min(_KID_SUBSET_SIZE, len(real))
    subsets = _KID_SUBSETS if size < len(real) else 1
    with warnings.catch_warnings(), torch.random.fork_rng(devices=[]):
        warnings.filterwarnings("ignore", message=".*will save all extracted features.*")
        torch.manual_seed(seed)
        kid = KernelInceptionDistance(_Identity(real.shape[1]), subsets=subsets, subset_size=size)
        kid.update(real, real=True)
        kid.update(synthetic, real=False)
        mean, std = kid.compute()
    return KernelDistance(float(mean), float(std), subsets, size)


@dataclass(frozen=True)
class Manifolds:
    """How the k-nearest-neighbour balls of two sets of images overlap; see `Distances`."""

    precision: float
    recall: float
    density: float
    coverage: float


def compare_manifolds(real: torch.Tensor, synthetic: torch.Tensor, neighbours: int) -> Manifolds:
    """Measure precision and recall (Kynkäänniemi et al. 2019), density and coverage (Naeem et al. 2020).

    The ball of an image reaches to its k-th nearest other image of the same set. Memory is `1000 * max(N, M)` numbers.

    Args:
        real: float64 [N, D], N above k.
        synthetic: float64 [M, D], M above k.
        neighbours: k.
    """
    centre = real.mean(0)
    real, synthetic = real - centre, synthetic - centre
    real_radii, synthetic_radii = _squared_radii(real, neighbours), _squared_radii(synthetic, neighbours)
    in_synthetic = torch.zeros(len(real), dtype=torch.bool, device=real.device)
    held = torch.zeros(len(real), dtype=torch.int64, device=real.device)
    in_real = 0
    for images, radii in zip(synthetic.split(_BLOCK), synthetic_radii.split(_BLOCK), strict=True):
        distances = squared_distances(images, real)
        within = distances <= real_radii
        held += within.sum(0)
        in_real += int(within.any(1).sum())
        in_synthetic |= (distances <= radii[:, None]).any(0)
    return Manifolds(
        precision=in_real / len(synthetic),
        recall=float(in_synthetic.double().mean()),
        density=float(held.sum()) / (neighbours * len(synthetic)),
        coverage=float((held > 0).double().mean()),
    )


def _squared_radii(features: torch.Tensor, neighbours: int) -> torch.Tensor:
    """Give each image's squared distance to its k-th nearest other image."""
    parts = []
    for start in range(0, len(features), _BLOCK):
        distances = squared_distances(features[start : start + _BLOCK], features)
        own = torch.arange(len(distances), device=features.device)
        distances[own, own + start] = 0.0  # so that rounding cannot put another image before it
        parts.append(distances.topk(neighbours + 1, largest=False).values[:, -1])
    return torch.cat(parts)


def squared_distances(images: torch.Tensor, others: torch.Tensor) -> torch.Tensor:
    """Give squared Euclidean distances, [B, N], of [B, D] and [N, D]; for centred values rounding is small."""
    squares = images.square().sum(1, keepdim=True) + others.square().sum(1)
    return squares.addmm_(images, others.T, alpha=-2).clamp_(min=0)
