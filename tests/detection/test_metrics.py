import numpy as np
import pytest

from sio_data.detection.metrics import ood_metrics
from sio_data.errors import InputError


def test_by_hand() -> None:
    # pairs (ID, OOD) in the right order: 4>3, 4>1, 2>1 of six with 0.5: 4>3 4>1 2>1 0.5... counted below
    metrics = ood_metrics([4.0, 2.0, 0.5], [3.0, 1.0])
    assert metrics.auroc == pytest.approx(3 / 6)
    assert metrics.fpr95 == pytest.approx(2 / 3)  # flagging all OOD takes the threshold 3: 2 and 0.5 go, too
    assert metrics.fpr95_id == 1  # accepting all ID takes the threshold 0.5: both OOD images come along
    assert ood_metrics([4.0, 2.0, 0.5], [3.0, 0.1]).fpr95_id == pytest.approx(1 / 2)


def test_perfect_and_inverted() -> None:
    assert ood_metrics([3.0, 4.0], [1.0, 2.0]).auroc == 1
    assert ood_metrics([3.0, 4.0], [1.0, 2.0]).fpr95 == 0
    assert ood_metrics([3.0, 4.0], [1.0, 2.0]).fpr95_id == 0
    assert ood_metrics([1.0, 2.0], [3.0, 4.0]).auroc == 0
    assert ood_metrics([1.0, 2.0], [3.0, 4.0]).fpr95 == 1


def test_constant_scores_know_nothing() -> None:
    metrics = ood_metrics(np.zeros(40), np.zeros(60))
    assert metrics.auroc == 0.5
    assert metrics.fpr95 == 1
    assert metrics.aupr_out == pytest.approx(0.8)  # trapezoid from (0, 1) to (1, 0.6)
    assert metrics.aupr_in == pytest.approx(0.7)


def test_fpr95_on_a_straight_curve_of_ties() -> None:
    """The reference thins the curve first and says 1.0 here."""
    both = np.repeat(np.arange(20.0), 5)
    assert ood_metrics(both, both).fpr95 == pytest.approx(0.95)


def test_auroc_is_the_share_of_pairs_in_the_right_order() -> None:
    random = np.random.RandomState(0)
    inside, outside = random.randint(0, 9, 50) + 2.0, random.randint(0, 9, 70).astype(float)
    pairs = np.mean([(a > b) + 0.5 * (a == b) for a in inside for b in outside])
    assert ood_metrics(inside, outside).auroc == pytest.approx(pairs)


@pytest.mark.parametrize("bad", [[], [np.nan], [np.inf], [[1.0]]])
def test_bad_scores_are_refused(bad: list[object]) -> None:
    with pytest.raises(InputError):
        ood_metrics([1.0], bad)
    with pytest.raises(InputError):
        ood_metrics(bad, [1.0])
