import re

import numpy as np
import pytest

from sio_data.detection.charts import histogram, roc, roc_heights


def test_roc_heights_by_hand() -> None:
    # 1 of 2 ID images scores below all OOD, 1 above: half the ID is flagged before any OOD is.
    heights = roc_heights(np.array([0.0, 3.0]), np.array([1.0, 2.0]))
    assert len(heights) == 55
    grid = np.linspace(0, 1, 55) ** 2
    assert heights[grid < 0.5].tolist() == [0] * int((grid < 0.5).sum())
    assert heights[grid >= 0.5].tolist() == [1] * int((grid >= 0.5).sum())


def test_roc_heights_enclose_the_area() -> None:
    random = np.random.RandomState(0)
    inside, outside = random.randn(4000) + 1, random.randn(3000)
    heights = roc_heights(inside, outside)
    auroc = (inside[:, None] > outside).mean()
    assert np.trapezoid(heights, np.linspace(0, 1, 55) ** 2) == pytest.approx(auroc, abs=0.003)


def test_perfect_scores_give_a_curve_along_the_edges() -> None:
    points = re.findall(r"[\d.]+,[\d.]+", roc([(7, roc_heights(np.array([2.0, 3]), np.array([0.0, 1])))]))
    assert points[:2] == ["8,142", "8,8"]
    assert points[-1] == "224,8"
    assert len(points) == 56


def test_colours_of_curves_begin_anew() -> None:
    heights = roc_heights(np.array([1.0]), np.array([0.0]))
    assert re.findall(r'polyline class="(\w+)"', roc([(1, heights), (7, heights), (6, heights)])) == ["c1", "c1", "c0"]


def test_histogram_shows_shares_of_each_kind() -> None:
    inside, outside = np.array([0.0] * 10 + [36.0] * 30), np.array([0.0])
    text = histogram(inside, outside)
    paths = dict(re.findall(r'<path class="(id|ood)" d="([^"]*)"', text))
    heights = [float(value) for value in re.findall(r"V([\d.]+)h6", paths["id"])]
    assert len(heights) == 36
    shares = [(142 - height) / 134 for height in heights]
    assert shares[0] == pytest.approx(0.25, abs=0.001)
    assert shares[-1] == pytest.approx(0.75, abs=0.001)
    assert sum(shares) == pytest.approx(1, abs=0.002)
    assert paths["ood"].startswith("M8 142V8h6V142h6")


def test_constant_scores_have_a_histogram() -> None:
    assert "NaN" not in histogram(np.ones(3), np.ones(2))
    assert "nan" not in histogram(np.ones(3), np.ones(2))
