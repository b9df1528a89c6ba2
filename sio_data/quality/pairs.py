"""near-copies.png: synthetic images beside the real ones nearest to them, for people to look at."""

import io
from collections.abc import Sequence
from pathlib import Path

from PIL import Image, ImageDraw

from sio_data.files import write_bytes
from sio_data.image_set import ImageSet
from sio_data.images import Pixels
from sio_data.quality.near_copies import Pair

_BY_FEATURES = "nearest real images by features, with the relative distance"
_BY_HASH = "nearest real images by perceptual hash, with the differing bits"
_PAIRS_IN_A_ROW = 4
_GAP = 4
_LINE = 14
_SMALLEST_TILE = 96
_LARGEST_TILE = 256  # so that the picture stays one that can be opened


def draw_pairs(path: Path, by_features: Sequence[Pair], by_hash: Sequence[Pair], real: ImageSet) -> None:
    """Draw pairs, the synthetic image on the left and the real one on the right; below them key and distance.

    Images above 256 pixels are made smaller.

    Args:
        path: Where the PNG goes.
        by_features: The nearest by features.
        by_hash: The nearest by perceptual hash.
        real: The images that the pairs' indices are of.
    """
    tile = min(_LARGEST_TILE, real.image_size * max(1, _SMALLEST_TILE // real.image_size))
    width, height = 2 * tile + 4 * _GAP, tile + _LINE + 2 * _GAP
    parts = (_BY_FEATURES, by_features), (_BY_HASH, by_hash)
    rows = [-(-len(pairs) // _PAIRS_IN_A_ROW) for _, pairs in parts]
    picture = Image.new("RGB", (_PAIRS_IN_A_ROW * width, sum(rows) * height + len(parts) * 2 * _LINE), "white")
    draw = ImageDraw.Draw(picture)
    top = 0
    for (heading, pairs), count in zip(parts, rows, strict=True):
        draw.text((_GAP, top + _LINE // 2), heading, fill="black")
        top += 2 * _LINE
        for place, pair in enumerate(pairs):
            row, column = divmod(place, _PAIRS_IN_A_ROW)
            left, upper = column * width + _GAP, top + row * height
            beside = real.images[pair.copy.real].permute(1, 2, 0).numpy()
            picture.paste(_resize(pair.image, tile), (left, upper))
            picture.paste(_resize(beside, tile), (left + tile + 1, upper))
            caption = f"{pair.copy.key} | real {pair.copy.real}: {pair.copy.distance:.3g}"
            draw.text((left, upper + tile + 1), caption, fill="black")
        top += count * height
    buffer = io.BytesIO()
    picture.save(buffer, "PNG")
    write_bytes(path, buffer.getvalue())


def _resize(image: Pixels, side: int) -> Image.Image:
    way = Image.Resampling.NEAREST if len(image) < side else Image.Resampling.BICUBIC
    return Image.fromarray(image).resize((side, side), way)
