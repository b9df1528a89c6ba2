"""The perceptual hash of images ("pHash"): 64 bits that stay nearly the same under small changes.

The same bits as `imagehash.phash` gives; that package takes one image at a time, and brings PyWavelets for its
other hashes.
"""

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image
from scipy.fft import dctn

Hashes = npt.NDArray[np.uint64]

_SIDE = 32
_KEPT = 8
_WEIGHTS = np.uint64(1) << np.arange(_KEPT * _KEPT, dtype=np.uint64)[::-1]


def perceptual_hashes(images: torch.Tensor) -> Hashes:
    """Hash images: which of the 8x8 lowest frequencies of the grey image, at 32x32 pixels, are above their median.

    Args:
        images: uint8 [B, 3, H, W], RGB.

    Returns:
        uint64 [B]; the first frequency is the highest bit.
    """
    grey = np.stack([_shrink(image) for image in images.permute(0, 2, 3, 1).numpy()])
    low = dctn(grey, axes=(1, 2))[:, :_KEPT, :_KEPT].reshape(len(images), -1)
    bits = low > np.median(low, axis=1, keepdims=True)
    hashes: Hashes = (bits * _WEIGHTS).sum(1, dtype=np.uint64)
    return hashes


def _shrink(image: npt.NDArray[np.uint8]) -> npt.NDArray[np.float64]:
    grey = Image.fromarray(image).convert("L").resize((_SIDE, _SIDE), Image.Resampling.LANCZOS)
    return np.asarray(grey, np.float64)
