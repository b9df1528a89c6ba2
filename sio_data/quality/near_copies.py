"""Near-copies: synthetic images that lie suspiciously close to one real training image.

By features, closeness is relative (Carlini et al. 2023, "Extracting Training Data from Diffusion Models"):
the distance to the nearest real image, over the mean distance to the 50 nearest. They count what is at half of it or
less. Where real images are few or plain, that holds for many a real test image, too: so what counts here is besides
closer than 99 of 100 of those. Distances themselves would ask for another bound for each network and each data set.

What a generator copies first is an image that its training set repeats. The repeats would be the neighbourhood, and
hide the copy: of real images with nearly the same features as the nearest, only that one counts among the 50.
"""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch

from sio_data.images import Pixels
from sio_data.quality.distances import squared_distances
from sio_data.quality.findings import NearCopies, NearCopy
from sio_data.quality.perceptual_hash import Hashes
from sio_data.shards import sample_key

NEIGHBOURS = 50
MOST_LISTED = 1000
MOST_SHOWN = 32
_HALF = 0.5
_SHARE_OF_REAL = 0.01
_BLOCK = 50_000
_SAME = 0.01  # of the distance from the centre; different photographs are ten times as far apart and more
_QUERIES_AT_ONCE = 16
_HASHES_AT_ONCE = 1 << 13  # times the queries, numbers that a core's cache holds


@dataclass(frozen=True, eq=False)
class Nearest:
    """The nearest real image of each image of a batch.

    Attributes:
        index: int64 [B], among the real images; the first one of equals.
        distance: float64 [B]; what it is, the search says.
    """

    index: npt.NDArray[np.int64]
    distance: npt.NDArray[np.float64]


class FeatureSearch:
    """Finds the nearest real images by features: an exact search, in blocks.

    Args:
        real: float32 [N, D], features of the real images.
        device: Where to search.
    """

    def __init__(self, real: torch.Tensor, device: torch.device) -> None:
        self._device, self._centre = device, real.mean(0)
        self._real = (real - self._centre).to(device)
        self.neighbours = min(NEIGHBOURS, len(real))

    def __call__(self, features: torch.Tensor) -> Nearest:
        """Search for a batch, float32 [B, D].

        Returns:
            Distances are relative: that to the nearest over the mean of those to the 50 nearest, in [0, 1]. Repeats
            of the nearest, no further from it than 1 % of its distance from the centre of all, are not among the 50.
        """
        images = (features - self._centre).to(self._device)
        squares, indices = self._search(images)
        index = indices[:, 0]
        own = self._real[index]
        radius = _SAME * own.norm(dim=1)
        repeated = torch.zeros_like(radius, dtype=torch.bool)
        for column in indices.T[1:]:
            repeated |= (self._real[column] - own).norm(dim=1) <= radius
        if repeated.any():
            squares[repeated, 1:] = self._search(images[repeated], own[repeated], radius[repeated])[0][:, :-1]
        nearest = (images - own).norm(dim=1).double()  # without the rounding of the squares
        mean = squares.double().sqrt().where(squares.isfinite(), torch.nan).nanmean(1)
        distance = torch.where(mean > 0, nearest / mean, torch.zeros_like(mean)).clamp(max=1.0)
        return Nearest(index.cpu().numpy(), distance.cpu().numpy())

    def _search(
        self, images: torch.Tensor, left_out: torch.Tensor | None = None, radius: torch.Tensor | None = None
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Find the 50 nearest of each image, the nearest first.

        Args:
            images: Centred features [B, D].
            left_out: Points [B, D]; around its own, an image has no neighbours.
            radius: How far that goes [B].

        Returns:
            Squared distances, infinite where there are fewer than 50, and indices, both [B, 50].
        """
        squares = torch.empty(len(images), 0, device=self._device)
        indices = torch.empty(len(images), 0, dtype=torch.int64, device=self._device)
        for start in range(0, len(self._real), _BLOCK):
            part = self._real[start : start + _BLOCK]
            block = squared_distances(images, part)
            if left_out is not None and radius is not None:
                block[squared_distances(left_out, part) <= radius.square()[:, None]] = torch.inf
            best = block.topk(min(self.neighbours, len(part)), largest=False)
            squares = torch.cat((squares, best.values), 1)
            indices = torch.cat((indices, best.indices + start), 1)
        best = squares.topk(self.neighbours, largest=False)
        return best.values, indices.gather(1, best.indices)


class HashSearch:
    """Finds the nearest real images by perceptual hash: an exact search, in as many threads as torch takes.

    Args:
        real: uint64 [N], hashes of the real images.
    """

    def __init__(self, real: Hashes) -> None:
        self._real = real

    def __call__(self, hashes: Hashes) -> Nearest:
        """Search for a batch, uint64 [B].

        Returns:
            Distances are how many of 64 bits differ.
        """
        pieces = [hashes[start : start + _QUERIES_AT_ONCE] for start in range(0, len(hashes), _QUERIES_AT_ONCE)]
        with ThreadPoolExecutor(torch.get_num_threads()) as pool:  # numpy counts bits without holding Python's lock
            index, bits = zip(*pool.map(self._search, pieces), strict=True)
        return Nearest(np.concatenate(index), np.concatenate(bits).astype(np.float64))

    def _search(self, hashes: Hashes) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.uint8]]:
        rows = np.arange(len(hashes))
        shape = (len(hashes), min(_HASHES_AT_ONCE, len(self._real)))
        room, room_for_counts = np.empty(shape, np.uint64), np.empty(shape, np.uint8)  # new room would cost more time
        nearest, fewest = np.zeros(len(hashes), np.int64), np.full(len(hashes), 255, np.uint8)
        for start in range(0, len(self._real), _HASHES_AT_ONCE):
            part = self._real[start : start + _HASHES_AT_ONCE]
            different = np.bitwise_xor(hashes[:, None], part, out=room[:, : len(part)])
            counts = np.bitwise_count(different, out=room_for_counts[:, : len(part)])
            index = counts.argmin(1)
            fewer = counts[rows, index] < fewest
            nearest[fewer], fewest[fewer] = index[fewer] + start, counts[rows, index][fewer]
        return nearest, fewest


@dataclass(frozen=True, eq=False)
class Pair:
    """A synthetic image beside the real one nearest to it.

    Attributes:
        copy: What was found.
        image: uint8 [H, W, 3], the synthetic one.
    """

    copy: NearCopy
    image: Pixels


class NearCopyList:
    """Collects what was found for the images of a set, and keeps the nearest.

    Args:
        count: How many images there are.

    Attributes:
        distances: float64 [N], of all images to their nearest real one.
        nearest: The nearest pairs, the nearest first.
    """

    def __init__(self, count: int) -> None:
        self.distances: npt.NDArray[np.float64] = np.empty(count)
        self.nearest: list[Pair] = []
        self._copies: list[NearCopy] = []

    def add(self, start: int, images: torch.Tensor, found: Nearest) -> None:
        """Take a batch: the place of its first image, its images (uint8 [B, 3, H, W]) and what was found for them."""
        self.distances[start : start + len(images)] = found.distance
        order = np.argsort(found.distance, kind="stable")[:MOST_LISTED].tolist()
        copies = [NearCopy(sample_key(start + i), int(found.index[i]), float(found.distance[i])) for i in order]
        pairs = [
            Pair(copy, images[i].permute(1, 2, 0).numpy().copy())  # a view would keep the whole batch
            for copy, i in zip(copies[:MOST_SHOWN], order[:MOST_SHOWN], strict=True)
        ]
        self._copies = sorted([*self._copies, *copies], key=lambda copy: copy.distance)[:MOST_LISTED]
        self.nearest = sorted([*self.nearest, *pairs], key=lambda pair: pair.copy.distance)[:MOST_SHOWN]

    def count(self, bound: float, held_out: npt.NDArray[np.float64], neighbours: int) -> NearCopies:
        """Count near-copies.

        Args:
            bound: The largest distance that counts.
            held_out: Distances of held-out real images.
            neighbours: See `NearCopies`.
        """
        return NearCopies(
            count=int((self.distances <= bound).sum()),
            held_out=int((held_out <= bound).sum()),
            bound=bound,
            neighbours=neighbours,
            listed=tuple(copy for copy in self._copies if copy.distance <= bound),
        )


def choose_ratio(held_out: npt.NDArray[np.float64]) -> float:
    """Give the bound on relative distances; see the module's docstring.

    Args:
        held_out: Relative distances of held-out real images.
    """
    return min(_HALF, float(np.quantile(held_out, _SHARE_OF_REAL, method="lower")))
