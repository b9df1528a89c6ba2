"""Augmentation of whole batches on the device, drawn from a seeded generator."""

import torch
import torch.nn.functional as F

from sio_data.errors import UnknownNameError

AUGMENTATIONS = ("none", "crop", "crop-flip")


def check_augmentation(name: str) -> None:
    """Refuse an unknown augmentation.

    Raises:
        UnknownNameError: There is none of that name.
    """
    if name not in AUGMENTATIONS:
        raise UnknownNameError("augmentation", name, AUGMENTATIONS)


def augment(images: torch.Tensor, name: str, generator: torch.Generator) -> torch.Tensor:
    """Augment a batch, each image by itself.

    Args:
        images: uint8 [B, 3, H, W].
        name: `crop` shifts by up to an eighth of the image, filling with black (4 pixels at 32, as the paper's
            recipe); `crop-flip` also mirrors half of the images; `none` changes nothing.
        generator: A CPU generator, so that every device draws the same.

    Returns:
        uint8 [B, 3, H, W].
    """
    if name == "none":
        return images
    images = _shift(images, max(1, images.shape[-1] // 8), generator)
    if name == "crop-flip":
        mirrored = (torch.rand(len(images), generator=generator) < 0.5).to(images.device)
        images = torch.where(mirrored[:, None, None, None], images.flip(-1), images)
    return images


def _shift(images: torch.Tensor, padding: int, generator: torch.Generator) -> torch.Tensor:
    count, channels, size, _ = images.shape
    padded = F.pad(images, (padding,) * 4)
    corners = torch.randint(0, 2 * padding + 1, (2, count, 1), generator=generator)
    rows, columns = (corners + torch.arange(size)).to(images.device)
    chosen = torch.arange(count, device=images.device)
    every_channel = torch.arange(channels, device=images.device)
    return padded[
        chosen[:, None, None, None],
        every_channel[None, :, None, None],
        rows[:, None, :, None],
        columns[:, None, None, :],
    ]
