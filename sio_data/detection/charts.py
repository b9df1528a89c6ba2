"""Small charts as SVG text: histograms of scores and ROC curves. They hold numbers only, never text from outside."""

from collections.abc import Sequence

import numpy as np
from markupsafe import Markup

from sio_data.detection.detectors.base import Scores

_WIDTH, _HEIGHT, _PAD = 240, 150, 8
_BINS = 36


def histogram(id_scores: Scores, ood_scores: Scores) -> Markup:
    """Draw the shares of ID (class `id`) and OOD (class `ood`) scores over 36 bins of one range.

    The range leaves out half a percent at either end; what lies beyond is counted in the outermost bins.
    """
    both = np.concatenate([id_scores, ood_scores])
    low, high = np.percentile(both, [0.5, 99.5])
    edges = np.linspace(low, high if high > low else low + 1, _BINS + 1)
    shares = [
        np.histogram(np.clip(scores, edges[0], edges[-1]), edges)[0] / len(scores) for scores in (id_scores, ood_scores)
    ]
    top = max(float(share.max()) for share in shares)
    paths = [
        f'<path class="{name}" d="{_steps(share / top)}"/>' for name, share in zip(("id", "ood"), shares, strict=True)
    ]
    return _svg("".join(paths) + _baseline())


def roc(curves: Sequence[tuple[int, Sequence[tuple[float, float]]]]) -> Markup:
    """Draw ROC curves.

    Args:
        curves: For each a number of its colour (class `c0`, `c1`, ...) and its points (share of ID flagged, share of
            OOD flagged). The axis of ID is a square root, so that the left edge, where detectors differ, has room.
    """
    lines = []
    for colour, points in curves:
        shown = " ".join(f"{_x(x**0.5):.1f},{_y(y):.1f}" for x, y in points)
        lines.append(f'<polyline class="c{colour}" points="{shown}"/>')
    ticks = "".join(
        f'<line class="grid" x1="{_x(x**0.5):.1f}" x2="{_x(x**0.5):.1f}" y1="{_y(0):.1f}" y2="{_y(1):.1f}"/>'
        for x in (0.05, 0.25, 0.5)
    )
    return _svg(ticks + "".join(lines) + _baseline())


def _steps(heights: Scores) -> str:
    parts = [f"M{_x(0):.1f} {_y(0):.1f}"]
    for place, height in enumerate(heights):
        left, right = (_x((place + side) / len(heights)) for side in (0, 1))
        parts.append(f"L{left:.1f} {_y(height):.1f}L{right:.1f} {_y(height):.1f}")
    return "".join(parts) + f"L{_x(1):.1f} {_y(0):.1f}Z"


def _baseline() -> str:
    return f'<line class="axis" x1="{_x(0)}" x2="{_x(1)}" y1="{_y(0)}" y2="{_y(0)}"/>'


def _x(share: float) -> float:
    return _PAD + share * (_WIDTH - 2 * _PAD)


def _y(share: float) -> float:
    return _HEIGHT - _PAD - share * (_HEIGHT - 2 * _PAD)


def _svg(content: str) -> Markup:
    return Markup(f'<svg viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img">{content}</svg>')  # noqa: S704  numbers only
