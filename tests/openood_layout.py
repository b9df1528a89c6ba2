"""Tiny folders in OpenOOD's layout."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from PIL import Image

Rows = Sequence[tuple[str, int]]


def picture(seed: int, size: int = 8) -> Image.Image:
    return Image.fromarray(np.random.RandomState(seed).randint(0, 256, (size, size, 3), dtype=np.uint8))


def write_list(data: Path, path: str, rows: Rows) -> Path:
    target = data / "benchmark_imglist" / path
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_text("".join(f"{place} {label}\n" for place, label in rows))
    return target


def write_pictures(data: Path, seeds: Mapping[str, int], kind: str = "images_classic") -> None:
    """Write pictures of noise by their seeds: the same seed gives the same pixels."""
    for place, seed in seeds.items():
        target = data / kind / place
        target.parent.mkdir(parents=True, exist_ok=True)
        picture(seed).save(target, "PNG")
