"""Each operation against Pillow's, which works on one uint8 image at a time."""

from collections.abc import Callable

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image, ImageEnhance, ImageOps

from sio_data.training.methods.pixmix_operations import OPERATIONS, Operation

GENERATOR = torch.Generator().manual_seed(0)


def shifted(image: Image.Image, *matrix: float) -> Image.Image:
    return image.transform(image.size, Image.Transform.AFFINE, matrix, resample=Image.Resampling.BILINEAR)


def whole(level: float, greatest: float) -> int:
    return int(level * greatest / 10)


def factor(level: float) -> float:
    return level * 1.8 / 10 + 0.1


PILLOW: dict[str, Callable[[Image.Image, float, int], Image.Image]] = {
    "autocontrast": lambda image, level, sign: ImageOps.autocontrast(image),
    "equalize": lambda image, level, sign: ImageOps.equalize(image),
    "posterize": lambda image, level, sign: ImageOps.posterize(image, 4 - whole(level, 4)),
    "rotate": lambda image, level, sign: image.rotate(sign * whole(level, 30), resample=Image.Resampling.BILINEAR),
    "solarize": lambda image, level, sign: ImageOps.solarize(image, 256 - whole(level, 256)),
    "shear_x": lambda image, level, sign: shifted(image, 1, sign * level * 0.03, 0, 0, 1, 0),
    "shear_y": lambda image, level, sign: shifted(image, 1, 0, 0, sign * level * 0.03, 1, 0),
    "translate_x": lambda image, level, sign: shifted(image, 1, 0, sign * whole(level, image.width / 3), 0, 1, 0),
    "translate_y": lambda image, level, sign: shifted(image, 1, 0, 0, 0, 1, sign * whole(level, image.width / 3)),
    "color": lambda image, level, sign: ImageEnhance.Color(image).enhance(factor(level)),
    "contrast": lambda image, level, sign: ImageEnhance.Contrast(image).enhance(factor(level)),
    "brightness": lambda image, level, sign: ImageEnhance.Brightness(image).enhance(factor(level)),
    "sharpness": lambda image, level, sign: ImageEnhance.Sharpness(image).enhance(factor(level)),
}
# Pillow rounds in float64, which float32 does not always follow: one level in one pixel of a few hundred.
ROUNDED = {"autocontrast", "rotate", "shear_x", "shear_y"}


def sample(size: int) -> torch.Tensor:
    """Noise, smooth, narrow, grey and flat images."""
    noise = torch.randint(0, 256, (16, 3, size, size), generator=GENERATOR)
    coarse = torch.rand(16, 3, 4, 4, generator=GENERATOR) * 300 - 20
    smooth = F.interpolate(coarse, (size, size), mode="bicubic").clamp(0, 255).round()
    grey = noise[:4, :1].expand(-1, 3, -1, -1)
    flat = torch.tensor([0, 7, 128, 255]).view(4, 1, 1, 1).expand(4, 3, size, size)
    return torch.cat([noise, smooth, 100 + noise[:8] // 8, grey, flat]).float()


def by_pillow(operation: Operation, levels: torch.Tensor, level: torch.Tensor, sign: torch.Tensor) -> torch.Tensor:
    results = [
        PILLOW[operation.__name__](Image.fromarray(image.permute(1, 2, 0).byte().numpy()), own, int(direction))
        for image, own, direction in zip(levels, level.tolist(), sign.tolist(), strict=True)
    ]
    return torch.from_numpy(np.stack([np.asarray(result) for result in results])).permute(0, 3, 1, 2).float()


@pytest.mark.parametrize("size", [8, 32, 33, 64])
@pytest.mark.parametrize("operation", OPERATIONS, ids=lambda operation: operation.__name__)
def test_operation_is_pillows(operation: Operation, size: int) -> None:
    levels = sample(size)
    level = torch.rand(len(levels), generator=GENERATOR) * 9.9 + 0.1
    sign = torch.randint(2, (len(levels),), generator=GENERATOR) * 2.0 - 1
    before = levels.clone()
    difference = (operation(levels, level, sign) - by_pillow(operation, levels, level, sign)).abs()
    assert torch.equal(levels, before)
    if operation.__name__ in ROUNDED:
        assert difference.max() <= 1
        assert (difference > 0).float().mean() < 0.005
    else:
        assert difference.max() == 0


@pytest.mark.parametrize("operation", OPERATIONS, ids=lambda operation: operation.__name__)
def test_no_images_give_no_images(operation: Operation) -> None:
    assert operation(torch.zeros(0, 3, 8, 8), torch.zeros(0), torch.zeros(0)).shape == (0, 3, 8, 8)


def test_there_are_thirteen() -> None:
    assert [operation.__name__ for operation in OPERATIONS] == list(PILLOW)
