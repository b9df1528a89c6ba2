"""The embedded sources: real images that come with scikit-learn, with fixed and disjoint splits.

    digits          0 to 5 of the UCI handwritten digits: the known classes     train 50 %, val 10 %, test 40 %
    digits-unknown  6 to 9 of the same: near-OOD                                val 20 %, test 80 %
    textures        patches of scikit-learn's two sample photographs: far-OOD   val 20 %, test 80 %

All are 8x8, the digits' own size; the digits' 17 grey levels are spread over 0 to 255.
"""

import hashlib
from functools import cache

import numpy as np
import torch
from sklearn.datasets import load_digits, load_sample_images

from sio_data.image_set import UNLABELLED, ImageSet

IMAGE_SIZE = 8
_DIGIT_NAMES = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
_KNOWN = 6
_TEXTURES = 500
_KNOWN_SPLITS = {"train": 0.5, "val": 0.1, "test": 0.4}
_UNKNOWN_SPLITS = {"val": 0.2, "test": 0.8}

LICENCES = {
    "digits": "cc-by-4.0",
    "digits-unknown": "cc-by-4.0",
    "textures": "cc-by-2.0",
}
EMBEDDED = {"digits": _KNOWN_SPLITS, "digits-unknown": _UNKNOWN_SPLITS, "textures": _UNKNOWN_SPLITS}


@cache
def load_embedded(name: str, split: str) -> ImageSet:
    """Load a split of an embedded source.

    Args:
        name: A key of `EMBEDDED`.
        split: One of that source's splits.
    """
    whole = _textures() if name == "textures" else _digits(name)
    return whole.select(split_indices(whole.labels, EMBEDDED[name], name)[split])


def split_indices(labels: torch.Tensor, shares: dict[str, float], salt: str) -> dict[str, list[int]]:
    """Cut indices into disjoint splits, class by class, in an order given by a hash, the same everywhere and always.

    Args:
        labels: int64 [N]; each value is cut by itself, so that every split has each class in proportion.
        shares: Split names with their shares, which add up to 1.
        salt: Changes the order.

    Returns:
        For each split its indices, in ascending order.
    """
    splits: dict[str, list[int]] = {name: [] for name in shares}
    for label in labels.unique().tolist():
        indices = torch.nonzero(labels == label).flatten().tolist()
        indices.sort(key=lambda index: hashlib.sha256(f"{salt}/{index}".encode()).digest())
        bounds = np.round(np.cumsum([0.0, *shares.values()]) * len(indices)).astype(int)
        for name, start, end in zip(shares, bounds[:-1], bounds[1:], strict=True):
            splits[name] += indices[start:end]
    return {name: sorted(indices) for name, indices in splits.items()}


def _digits(name: str) -> ImageSet:
    bunch = load_digits()
    grey = np.round(bunch.images * (255 / 16)).astype(np.uint8)
    known = name == "digits"
    chosen = (bunch.target < _KNOWN) == known
    images = torch.from_numpy(grey[chosen])[:, None].repeat(1, 3, 1, 1)
    labels = torch.from_numpy(bunch.target[chosen].astype(np.int64))
    if known:
        return ImageSet(images, labels, _DIGIT_NAMES[:_KNOWN], name)
    return ImageSet(images, labels - _KNOWN, _DIGIT_NAMES[_KNOWN:], name)


def _textures() -> ImageSet:
    patches = np.concatenate([_patches(photograph) for photograph in load_sample_images().images])
    order = sorted(range(len(patches)), key=lambda index: hashlib.sha256(f"texture/{index}".encode()).digest())
    images = torch.from_numpy(patches[order[:_TEXTURES]])
    return ImageSet(images, torch.full((_TEXTURES,), UNLABELLED), (), "textures")


def _patches(photograph: np.ndarray) -> np.ndarray:
    """Cut a photograph, uint8 [H, W, 3], into patches that do not overlap, uint8 [n, 3, 8, 8]."""
    rows, columns = photograph.shape[0] // IMAGE_SIZE, photograph.shape[1] // IMAGE_SIZE
    whole = photograph[: rows * IMAGE_SIZE, : columns * IMAGE_SIZE]
    tiles = whole.reshape(rows, IMAGE_SIZE, columns, IMAGE_SIZE, 3).transpose(0, 2, 4, 1, 3)
    return np.ascontiguousarray(tiles.reshape(-1, 3, IMAGE_SIZE, IMAGE_SIZE))
