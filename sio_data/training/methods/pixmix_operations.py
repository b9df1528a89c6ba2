"""The thirteen operations of AugMix and PixMix, on whole batches.

They are Pillow's, with its rounding: tests compare them level by level. Each takes

    levels  float [n, 3, H, H], whole numbers from 0 to 255
    level   float [n], how strong, of ten
    sign    float [n], 1 or -1: the direction, where an operation has one

and gives levels of the same shape. The parameter of an operation is `level / 10` of its greatest one.
"""

from collections.abc import Callable

import torch
import torch.nn.functional as F

Operation = Callable[[torch.Tensor, torch.Tensor, torch.Tensor], torch.Tensor]

_EPSILON = 1e-3  # what float32 may lack to the next whole number, before rounding down


def autocontrast(levels: torch.Tensor, level: torch.Tensor, sign: torch.Tensor) -> torch.Tensor:
    """Stretch each channel to 0 to 255."""
    low, high = levels.amin((2, 3), keepdim=True), levels.amax((2, 3), keepdim=True)
    stretched = ((levels - low) * 255 / (high - low).clamp(min=1)).floor()
    return torch.where(high > low, stretched, levels)


def equalize(levels: torch.Tensor, level: torch.Tensor, sign: torch.Tensor) -> torch.Tensor:
    """Level the histogram of each channel."""
    flat = levels.flatten(2).long()
    counts = torch.zeros(*flat.shape[:2], 256, dtype=torch.int64, device=levels.device)
    counts.scatter_add_(2, flat, torch.ones_like(flat))
    brightest = counts.gather(2, flat.amax(2, keepdim=True))
    step = (flat.shape[2] - brightest) // 255
    table = (step // 2 + counts.cumsum(2) - counts) // step.clamp(min=1)
    equal = table.clamp(max=255).gather(2, flat).to(levels.dtype).view_as(levels)
    return torch.where(step[..., None] > 0, equal, levels)


def posterize(levels: torch.Tensor, level: torch.Tensor, sign: torch.Tensor) -> torch.Tensor:
    """Keep the highest bits alone: 4, or up to 4 fewer."""
    unit = _broadcast(2.0 ** (4 + _whole(level, 4)))
    return (levels / unit).floor() * unit


def solarize(levels: torch.Tensor, level: torch.Tensor, sign: torch.Tensor) -> torch.Tensor:
    """Invert what is at least 256, or up to 256 less."""
    return torch.where(levels < _broadcast(256 - _whole(level, 256)), levels, 255 - levels)


def rotate(levels: torch.Tensor, level: torch.Tensor, sign: torch.Tensor) -> torch.Tensor:
    """Turn by up to 30 whole degrees about the middle."""
    angle = torch.deg2rad(sign * _whole(level, 30))
    cosine, sine = angle.cos(), angle.sin()
    half = levels.shape[-1] / 2
    across = half - half * cosine + half * sine
    down = half - half * sine - half * cosine
    return _transform(levels, cosine, -sine, across, sine, cosine, down)


def shear_x(levels: torch.Tensor, level: torch.Tensor, sign: torch.Tensor) -> torch.Tensor:
    """Shear rows by up to 0.3 pixels a row."""
    one, none = torch.ones_like(level), torch.zeros_like(level)
    return _transform(levels, one, sign * level * 0.3 / 10, none, none, one, none)


def shear_y(levels: torch.Tensor, level: torch.Tensor, sign: torch.Tensor) -> torch.Tensor:
    """Shear columns by up to 0.3 pixels a column."""
    one, none = torch.ones_like(level), torch.zeros_like(level)
    return _transform(levels, one, none, none, sign * level * 0.3 / 10, one, none)


def translate_x(levels: torch.Tensor, level: torch.Tensor, sign: torch.Tensor) -> torch.Tensor:
    """Shift sideways by up to a third of the image, in whole pixels."""
    one, none = torch.ones_like(level), torch.zeros_like(level)
    return _transform(levels, one, none, sign * _whole(level, levels.shape[-1] / 3), none, one, none)


def translate_y(levels: torch.Tensor, level: torch.Tensor, sign: torch.Tensor) -> torch.Tensor:
    """Shift up or down by up to a third of the image, in whole pixels."""
    one, none = torch.ones_like(level), torch.zeros_like(level)
    return _transform(levels, one, none, none, none, one, sign * _whole(level, levels.shape[-1] / 3))


def color(levels: torch.Tensor, level: torch.Tensor, sign: torch.Tensor) -> torch.Tensor:
    """Change the saturation by a factor of 0.1 to 1.9."""
    return _enhance(_grey(levels), levels, level)


def contrast(levels: torch.Tensor, level: torch.Tensor, sign: torch.Tensor) -> torch.Tensor:
    """Change the distance to the mean grey by a factor of 0.1 to 1.9."""
    return _enhance((_grey(levels).mean((2, 3), keepdim=True) + 0.5).floor(), levels, level)


def brightness(levels: torch.Tensor, level: torch.Tensor, sign: torch.Tensor) -> torch.Tensor:
    """Change the distance to black by a factor of 0.1 to 1.9."""
    return _enhance(torch.zeros_like(levels), levels, level)


def sharpness(levels: torch.Tensor, level: torch.Tensor, sign: torch.Tensor) -> torch.Tensor:
    """Change the distance to the smoothed image by a factor of 0.1 to 1.9; the smoothing leaves the edge as it is."""
    inner = levels[..., 1:-1, 1:-1]
    sums = 9 * F.avg_pool2d(levels, 3, stride=1) + 4 * inner
    smooth = F.pad((sums / 13 + 0.5).floor(), (1, 1, 1, 1))
    edge = F.pad(torch.zeros_like(inner), (1, 1, 1, 1), value=1)
    return _enhance(torch.where(edge > 0, levels, smooth), levels, level)


OPERATIONS: tuple[Operation, ...] = (
    autocontrast, equalize, posterize, rotate, solarize, shear_x, shear_y, translate_x, translate_y,
    color, contrast, brightness, sharpness,
)  # fmt: skip


def _broadcast(values: torch.Tensor) -> torch.Tensor:
    return values.view(-1, 1, 1, 1)


def _whole(level: torch.Tensor, greatest: float) -> torch.Tensor:
    return (level * greatest / 10).trunc()


def _grey(levels: torch.Tensor) -> torch.Tensor:
    """Give the luma (ITU-R 601-2) in Pillow's fixed-point arithmetic, float [n, 1, H, H]."""
    red, green, blue = levels.int().split(1, dim=1)
    grey: torch.Tensor = (red * 19595 + green * 38470 + blue * 7471 + 0x8000) >> 16
    return grey.to(levels.dtype)


def _enhance(plain: torch.Tensor, levels: torch.Tensor, level: torch.Tensor) -> torch.Tensor:
    """Move away from or towards a plain image."""
    factor = _broadcast(level * 1.8 / 10 + 0.1)
    return (plain + factor * (levels - plain)).clamp(0, 255).floor()


def _transform(levels: torch.Tensor, *matrix: torch.Tensor) -> torch.Tensor:
    """Take each pixel from where an affine map sends its middle, bilinearly; black from outside.

    Args:
        levels: float [n, 3, H, H].
        matrix: a, b, c, d, e, f, each float [n]: `(x, y)` comes from `(a x + b y + c, d x + e y + f)`, in pixels.
    """
    size = levels.shape[-1]
    middles = torch.arange(size, device=levels.device) + 0.5
    rows, columns = middles[:, None], middles[None, :]
    a, b, c, d, e, f = (value.view(-1, 1, 1) for value in matrix)
    sources = torch.stack([a * columns + b * rows + c, d * columns + e * rows + f], dim=-1)
    inside = ((sources >= 0) & (sources < size)).all(-1)
    taken = F.grid_sample(levels, 2 * sources / size - 1, padding_mode="border", align_corners=False)
    return (taken + _EPSILON).floor() * inside[:, None]
