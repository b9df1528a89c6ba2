"""Augmentation of whole batches on the device, drawn from a seeded generator."""

import math

import numpy as np
import torch
import torch.nn.functional as F

from sio_data.errors import UnknownNameError
from sio_data.training.resampling import resample

AUGMENTATIONS = ("none", "crop", "crop-flip", "resized-crop-flip")

_AREA = (0.08, 1.0)
_ASPECT = (3 / 4, 4 / 3)
_ATTEMPTS = 10
_SHOWN = 7 / 8  # 224 of 256 pixels


def check_augmentation(name: str) -> None:
    """Refuse an unknown augmentation.

    Raises:
        UnknownNameError: There is none of that name.
    """
    if name not in AUGMENTATIONS:
        raise UnknownNameError("augmentation", name, AUGMENTATIONS)


def augment(images: torch.Tensor, name: str, generator: torch.Generator, size: int | None = None) -> torch.Tensor:
    """Augment a batch, each image by itself.

    Args:
        images: uint8 [B, 3, H, H].
        name: `crop` shifts by up to an eighth of the image, filling with black (4 pixels at 32, as the paper's
            recipe); `crop-flip` also mirrors half of the images; `resized-crop-flip` is the recipe of ImageNet: a part
            of 8 to 100 % of the area and of an aspect from 3/4 to 4/3, resized to the whole, and half of them
            mirrored; `none` changes nothing.
        generator: A CPU generator, so that every device draws the same.
        size: Height and width wanted; None keeps H. All but `resized-crop-flip` take the `centre` first.

    Returns:
        uint8 [B, 3, size, size], on the device of the images. The same bytes on every device, but for
        `resized-crop-flip`: there a value may differ by one, for its sums are rounded.

    Raises:
        UnknownNameError: There is no such augmentation.
    """
    check_augmentation(name)
    size = images.shape[-1] if size is None else size
    if name == "resized-crop-flip":
        boxes = _draw_boxes(len(images), images.shape[-1], generator)
        return resample(images, boxes, size, _draw_mirrored(len(images), generator))
    images = centre(images, size)
    if name == "none":
        return images
    padding = max(1, size // 8)
    corners = torch.randint(0, 2 * padding + 1, (2, len(images)), generator=generator)
    mirrored = _draw_mirrored(len(images), generator) if name == "crop-flip" else None
    padded = F.pad(images, (padding,) * 4)
    cut = cut_in_bulk if images.device.type == "cpu" else cut_by_index
    return cut(padded, corners, size, mirrored)


def centre(images: torch.Tensor, size: int) -> torch.Tensor:
    """Give the middle of images that are stored larger than a network takes them: what evaluation sees.

    This is the field's "resize to 256, then take the middle 224": of images stored at 256 the middle 224 pixels, as
    they are; of larger ones the middle 7/8, resized to `size` with antialiasing. Images that are smaller are enlarged.

    Args:
        images: uint8 [B, 3, H, H].
        size: Height and width wanted.

    Returns:
        uint8 [B, 3, size, size], contiguous.
    """
    stored = images.shape[-1]
    shown = min(stored, max(size, round(stored * _SHOWN)))
    first = (stored - shown) // 2
    if shown == size:
        return images[..., first : first + size, first : first + size].contiguous()
    return resample(images, torch.tensor([first, first, shown, shown]).expand(len(images), 4), size)


def cut_in_bulk(padded: torch.Tensor, corners: torch.Tensor, size: int, mirrored: torch.Tensor | None) -> torch.Tensor:
    """Cut a square window out of each image: on the CPU, where a row of a window is copied as one item.

    Args:
        padded: uint8 [B, C, P, P], contiguous.
        corners: int64 [2, B], top and left of each window, from 0 to P - size.
        size: Height and width of the windows.
        mirrored: bool [B], which of them to mirror; None means none.

    Returns:
        uint8 [B, C, size, size].
    """
    count, channels, wide, _ = padded.shape
    top, left = corners.numpy()[..., None, None]
    plane = np.arange(count * channels).reshape(count, channels, 1)
    starts = ((plane * wide + top) + np.arange(size)) * wide + left
    row = f"V{size}"
    rows = np.ndarray((padded.numel() - size + 1,), row, padded.numpy(), strides=(1,))  # one begins at every byte
    windows = rows[starts]
    if mirrored is not None:
        chosen = mirrored.numpy().nonzero()[0]
        turned = torch.from_numpy(windows[chosen].view(np.uint8)).unflatten(-1, (-1, size)).flip(-1)
        windows[chosen] = turned.numpy().view(row)[..., 0]
    return torch.from_numpy(windows.view(np.uint8)).view(count, channels, size, size)


def cut_by_index(padded: torch.Tensor, corners: torch.Tensor, size: int, mirrored: torch.Tensor | None) -> torch.Tensor:
    """Do what `cut_in_bulk` does on any device, without waiting for it."""
    count, channels = padded.shape[:2]
    device = padded.device
    top, left = corners.to(device, non_blocking=True)[..., None, None, None]
    rows = columns = torch.arange(size, device=device)
    if mirrored is not None:
        turned = mirrored.to(device, non_blocking=True)[:, None, None, None]
        columns = torch.where(turned, size - 1 - columns, columns)
    image = torch.arange(count, device=device)[:, None, None, None]
    channel = torch.arange(channels, device=device)[:, None, None]
    return padded[image, channel, top + rows[:, None], left + columns]


def _draw_mirrored(count: int, generator: torch.Generator) -> torch.Tensor:
    return torch.rand(count, generator=generator) < 0.5


def _draw_boxes(count: int, stored: int, generator: torch.Generator) -> torch.Tensor:
    """Draw parts of square images, as torchvision's `RandomResizedCrop` does: int64 [B, 4], see `resample`."""
    low, high = map(math.log, _ASPECT)
    attempts = torch.rand(2, _ATTEMPTS, count, generator=generator)
    area = stored**2 * (_AREA[0] + (_AREA[1] - _AREA[0]) * attempts[0])
    aspect = torch.exp(low + (high - low) * attempts[1])
    sides = torch.stack([(area / aspect).sqrt(), (area * aspect).sqrt()]).round().clamp(min=1)  # [2, attempts, B]
    fits = (sides <= stored).all(0)
    first = fits.int().argmax(0)
    height, width = torch.where(fits.any(0), sides[:, first, torch.arange(count)], stored)
    places = torch.rand(2, count, generator=generator) * (stored + 1 - torch.stack([height, width]))
    return torch.stack([*places.floor(), height, width], dim=1).long()
