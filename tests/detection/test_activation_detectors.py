"""ReAct, VRA, ASH and SCALE."""

import numpy as np
import pytest
import torch
from scipy.special import logsumexp
from torch import nn

from sio_data.detection import Outputs, create
from sio_data.detection.detectors.base import Scores
from sio_data.errors import InputError

RANDOM = np.random.default_rng(0)
WIDTH, CLASSES = 20, 4
WEIGHT, BIAS = RANDOM.normal(size=(CLASSES, WIDTH)), RANDOM.normal(size=CLASSES)
VAL = np.maximum(RANDOM.normal(size=(50, WIDTH)), 0)
TEST = np.maximum(RANDOM.normal(0.3, 1.2, size=(15, WIDTH)), 0)
SHAPERS = ("ash_b", "ash_p", "ash_s", "scale")
ALL = ("react", "vra", *SHAPERS)


def head_of(weight: np.ndarray, bias: np.ndarray) -> nn.Linear:
    head = nn.Linear(weight.shape[1], len(weight)).double()
    with torch.no_grad():
        head.weight.copy_(torch.from_numpy(weight))
        head.bias.copy_(torch.from_numpy(bias))
    return head


HEAD = head_of(WEIGHT, BIAS)


def of_features(features: np.ndarray, classes: int = CLASSES, memory: int = 1 << 20) -> Outputs:
    count = len(features)
    return Outputs(np.zeros((count, classes)), features, np.zeros(count, np.int64), memory=memory)


def energy(features: np.ndarray) -> Scores:
    scores: Scores = logsumexp(features @ WEIGHT.T + BIAS, axis=1)
    return scores


def scores(name: str, features: np.ndarray = TEST, **parameters: object) -> Scores:
    return create(name, **parameters).fit(val=of_features(VAL), head=HEAD).score(of_features(features))


def change(name: str, features: np.ndarray, count: int) -> np.ndarray:
    """Shape each image's features, one by one."""
    shaped = np.zeros_like(features)
    for row, feature in zip(shaped, features, strict=True):
        largest = np.argsort(-feature, kind="stable")[:count]
        ratio = feature.sum() / feature[largest].sum()
        if name == "ash_b":
            row[largest] = feature.sum() / count
        elif name == "scale":
            row[:] = feature * np.exp(ratio)
        else:
            row[largest] = feature[largest] * (np.exp(ratio) if name == "ash_s" else 1)
    return shaped


def shaped_by_hand(name: str, feature: list[float], percentile: float) -> list[float]:
    """Read the shaped feature out of the scores: the head shows one activation after the other."""
    width = len(feature)
    seen = []
    for place in range(width):
        eye = np.zeros((1, width))
        eye[0, place] = 1
        detector = create(name, percentile=percentile).fit(head=head_of(eye, np.zeros(1)))
        seen.append(float(detector.score(of_features(np.array([feature]), classes=1))[0]))
    return seen


@pytest.mark.parametrize("percentile", [85, 90, 99.5])
def test_react_against_a_plain_computation(percentile: float) -> None:
    expected = energy(np.minimum(TEST, np.percentile(VAL, percentile)))
    assert scores("react", percentile=percentile) == pytest.approx(expected, rel=1e-10)


def test_vra_lifts_low_activations_unless_told_to_set_them_to_zero() -> None:
    low, high = np.percentile(VAL, [60, 95])
    assert low > 0
    assert scores("vra", low=60, high=95) == pytest.approx(energy(TEST.clip(low, high)), rel=1e-10)
    zeroed = np.where(low > TEST, 0, np.minimum(TEST, high))
    assert scores("vra", low=60, high=95, zero_low=True) == pytest.approx(energy(zeroed), rel=1e-10)


def test_vra_clips_at_the_10th_and_90th_percentile_by_default() -> None:
    val = RANDOM.normal(size=(30, WIDTH))
    expected = energy(TEST.clip(*np.percentile(val, [10, 90])))
    assert create("vra").fit(val=of_features(val), head=HEAD).score(of_features(TEST)) == pytest.approx(expected)


def test_shaping_by_hand() -> None:
    feature = [1.0, 4.0, 0.0, 3.0]  # the two largest hold 7 of 8
    factor = np.exp(8 / 7)
    for name, expected in (
        ("ash_b", [0, 4, 0, 4]),
        ("ash_p", [0, 4, 0, 3]),
        ("ash_s", [0, 4 * factor, 0, 3 * factor]),
        ("scale", [factor, 4 * factor, 0, 3 * factor]),
    ):
        assert shaped_by_hand(name, feature, 50) == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("name", SHAPERS)
@pytest.mark.parametrize(("percentile", "count"), [(0, 20), (65, 7), (85, 3), (95, 1), (72.5, 6), (100, 1)])
def test_shaping_against_a_plain_computation(name: str, percentile: float, count: int) -> None:
    """72.5 % of 20 are 14.5, which rounds to the even 14; one activation at least is kept."""
    expected = energy(change(name, TEST, count))
    assert scores(name, percentile=percentile) == pytest.approx(expected, rel=1e-10)


@pytest.mark.parametrize("name", ALL)
def test_features_of_zeros_score_as_the_bias(name: str) -> None:
    zeros = np.zeros((2, WIDTH))
    detector = create(name).fit(val=of_features(zeros), head=HEAD)
    assert detector.score(of_features(zeros)) == pytest.approx(energy(zeros), rel=1e-12)


@pytest.mark.parametrize("name", ALL)
def test_negative_features_have_finite_scores(name: str) -> None:
    """Sums of them may vanish: the largest two add up to nearly nothing, and all to much."""
    awkward = np.full((2, WIDTH), -5.0)
    awkward[0, :2] = 1e-9, -1e-9
    awkward[1, :2] = -1e-9
    assert np.isfinite(scores(name, awkward)).all()


def test_of_equal_activations_the_first_are_kept() -> None:
    assert shaped_by_hand("ash_p", [2.0, 1.0, 1.0, 1.0], 50) == [2, 1, 0, 0]


@pytest.mark.parametrize("name", ALL)
def test_blocks_do_not_change_a_score(name: str) -> None:
    detector = create(name).fit(val=of_features(VAL, memory=1), head=HEAD)
    assert detector.score(of_features(TEST, memory=1)) == pytest.approx(scores(name), rel=1e-10)


@pytest.mark.parametrize("name", ALL)
def test_half_precision_is_computed_in_float64(name: str) -> None:
    val, test = VAL.astype(np.float16), TEST.astype(np.float16)
    half = create(name).fit(val=of_features(val), head=HEAD).score(of_features(test))
    val, test = val.astype(np.float64), test.astype(np.float64)
    assert np.array_equal(half, create(name).fit(val=of_features(val), head=HEAD).score(of_features(test)))


@pytest.mark.parametrize("name", ALL)
def test_what_was_learned_is_all_that_a_score_needs(name: str) -> None:
    learned = create(name).fit(val=of_features(VAL), head=HEAD).state()
    assert np.array_equal(create(name).load_state(learned).score(of_features(TEST)), scores(name))


@pytest.mark.parametrize("name", ["react", *SHAPERS])
@pytest.mark.parametrize("percentile", [-1, 100.5, float("nan")])
def test_percentiles_out_of_range_are_refused(name: str, percentile: float) -> None:
    with pytest.raises(InputError, match="percentile must be from 0 to 100"):
        create(name, percentile=percentile)


def test_vra_refuses_percentiles_in_the_wrong_order() -> None:
    with pytest.raises(InputError, match="low must be at most high"):
        create("vra", low=60, high=40)
    with pytest.raises(InputError, match="high must be from 0 to 100"):
        create("vra", high=101)


def test_the_search_tries_the_settings_of_openood_in_its_order() -> None:
    assert create("react").grid == tuple({"percentile": value} for value in (85, 90, 95, 99))
    for name in SHAPERS:
        assert create(name).grid == tuple({"percentile": value} for value in (65, 70, 75, 80, 85, 90, 95))
    grid = create("vra").grid
    assert len(grid) == 16
    assert grid[:5] == (*({"high": high, "low": 1} for high in (85, 90, 95, 99)), {"high": 85, "low": 5})
