"""Small charts as SVG text: histograms of scores and ROC curves. They hold numbers only, never text from outside."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from markupsafe import Markup

from sio_data.detection.detectors.base import Scores

COLOURS = 6
"""How many colours of curves there are: classes `c0` to `c5`."""

_BINS, _STEP = 36, 6
_WIDTH, _HEIGHT, _PAD = _BINS * _STEP + 16, 150, 8
_CURVE_STEP = 4


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


def roc(curves: Sequence[tuple[int, npt.NDArray[np.float64]]]) -> Markup:
    """Draw ROC curves.

    Args:
        curves: For each the number of its colour and what `roc_heights` gives. The axis of ID is a square root, so
            that the left edge, where detectors differ, has room.
    """
    places = [_PAD + _CURVE_STEP * place for place in range(len(_grid()))]
    lines = [
        f'<polyline class="c{colour % COLOURS}" points="'
        + " ".join(f"{x},{_short(_y(height))}" for x, height in zip([_PAD, *places], [0.0, *heights], strict=True))
        + '"/>'
        for colour, heights in curves
    ]
    ticks = "".join(
        f'<path class="grid" d="M{_short(_PAD + (_WIDTH - 2 * _PAD) * x**0.5)} {_PAD}v{_HEIGHT - 2 * _PAD}"/>'
        for x in (0.05, 0.25, 0.5)
    )
    return _svg(ticks + "".join(lines) + _baseline())


def roc_heights(id_scores: Scores, ood_scores: Scores) -> npt.NDArray[np.float64]:
    """Give the share of OOD flagged where x of ID is, for x = (i / 54)² with i from 0 to 54; float64 [55]."""
    thresholds = np.unique(np.concatenate([id_scores, ood_scores]))
    flagged_id, flagged_ood = (
        np.concatenate([[0.0], np.searchsorted(np.sort(scores), thresholds, side="right") / len(scores)])
        for scores in (id_scores, ood_scores)
    )
    heights: npt.NDArray[np.float64] = np.interp(_grid(), flagged_id, flagged_ood)  # of equal x, the last counts
    return heights


def _grid() -> npt.NDArray[np.float64]:
    return np.linspace(0, 1, (_WIDTH - 2 * _PAD) // _CURVE_STEP + 1) ** 2


def _steps(heights: Scores) -> str:
    parts = [f"V{_short(_y(height))}h{_STEP}" for height in heights]
    return f"M{_PAD} {_HEIGHT - _PAD}{''.join(parts)}V{_HEIGHT - _PAD}Z"


def _baseline() -> str:
    return f'<path class="axis" d="M{_PAD} {_HEIGHT - _PAD}H{_WIDTH - _PAD}"/>'


def _y(share: float) -> float:
    return _HEIGHT - _PAD - share * (_HEIGHT - 2 * _PAD)


def _short(value: float) -> str:
    return f"{value:.1f}".removesuffix(".0")


def _svg(content: str) -> Markup:
    return Markup(f'<svg viewBox="0 0 {_WIDTH} {_HEIGHT}" aria-hidden="true">{content}</svg>')  # noqa: S704  numbers only
