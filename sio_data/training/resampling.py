"""Parts of images, resized: all of a batch at once, on any device."""

import torch


def resample(
    images: torch.Tensor, boxes: torch.Tensor, size: int, mirrored: torch.Tensor | None = None
) -> torch.Tensor:
    """Resize a part of each image, bilinearly and with antialiasing.

    The values are those of `torch.nn.functional.interpolate(part, mode="bilinear", antialias=True)`, whose filter is
    Pillow's. As it works on rows and columns apart, it is two small matrices for each image.

    Args:
        images: uint8 [B, C, H, W].
        boxes: int64 [B, 4] on the CPU: top, left, height and width of each part; inside the image, and not empty.
        size: Height and width wanted.
        mirrored: bool [B] on the CPU, which of them to mirror; None means none.

    Returns:
        uint8 [B, C, size, size].
    """
    top, left, height, width = boxes.to(images.device, non_blocking=True).unbind(1)
    rows = _weights(top, height, images.shape[-2], size)
    columns = _weights(left, width, images.shape[-1], size)
    if mirrored is not None:
        turned = mirrored.to(images.device, non_blocking=True)[:, None, None]
        columns = torch.where(turned, columns.flip(1), columns)
    resized = rows[:, None] @ images.float() @ columns.mT[:, None]
    return resized.round_().clamp_(0, 255).to(torch.uint8)


def _weights(first: torch.Tensor, length: torch.Tensor, pixels: int, size: int) -> torch.Tensor:
    """Give what each pixel of a line counts for each pixel of its resized part: float [B, size, pixels]."""
    first, length = first[:, None, None], length[:, None, None]
    scale = length / size
    middles = first + (torch.arange(size, device=first.device)[:, None] + 0.5) * scale
    places = torch.arange(pixels, device=first.device)
    weights = (1 - (places + 0.5 - middles).abs() / scale.clamp(min=1)).clamp_(min=0)
    weights = weights * ((places >= first) & (places < first + length))
    return weights / weights.sum(-1, keepdim=True)
