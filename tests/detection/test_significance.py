import math

import numpy as np
import pytest

from sio_data.detection.metrics import OODMetrics, ood_metrics
from sio_data.detection.significance import (
    Difference,
    Interval,
    RunScores,
    bootstrap_interval,
    delong,
    paired_bootstrap,
    share_below,
)
from sio_data.errors import InputError, UnknownNameError


def draw_run(seed: int, shift: float = 1.0, sizes: tuple[int, ...] = (40, 30, 50), decimals: int = 1) -> RunScores:
    """Scores with ties, of an ID set and the OOD sets."""
    random = np.random.RandomState(seed)
    first, *others = (np.round(random.randn(size), decimals) for size in sizes)
    return RunScores(first + shift, others)


def worsen(run: RunScores, noise: float) -> RunScores:
    random = np.random.RandomState(9)
    noisy = [np.asarray(one) + noise * random.randn(len(np.asarray(one))) for one in (run.id, *run.ood)]
    return RunScores(noisy[0], noisy[1:])


def plain_figures(runs: list[RunScores], metric: str, resamples: int) -> list[float]:
    """The mean over runs and sets of the metric in each resample, by a plain loop."""
    random = np.random.default_rng(0)
    figures = []
    for _ in range(resamples):
        chosen = random.integers(0, len(runs[0].id), len(runs[0].id))
        places = [random.integers(0, len(one), len(one)) for one in runs[0].ood]
        sets = [
            getattr(ood_metrics(run.id[chosen], one[place]), metric)
            for run in runs
            for one, place in zip(run.ood, places, strict=True)
        ]
        figures.append(np.mean(sets))
    return figures


@pytest.mark.parametrize("metric", list(OODMetrics.__dataclass_fields__))
def test_resamples_share_the_id_images_between_sets_and_all_images_between_runs(metric: str) -> None:
    runs = [draw_run(0), draw_run(1, shift=0.5)]
    figures = plain_figures(runs, metric, resamples=200)
    found = bootstrap_interval(runs, metric, resamples=200, level=0.8)
    assert found.estimate == pytest.approx(
        np.mean([getattr(ood_metrics(run.id, one), metric) for run in runs for one in run.ood])
    )
    assert (found.low, found.high) == pytest.approx(tuple(np.quantile(figures, [0.1, 0.9])))


def test_a_comparison_is_made_within_each_resample() -> None:
    one, two = [draw_run(0), draw_run(1)], [draw_run(2, shift=1.3)]
    differences = np.subtract(plain_figures(two, "auroc", 300), plain_figures(one, "auroc", 300))
    found = paired_bootstrap(one, two, resamples=300)
    assert (found.low, found.high) == pytest.approx(tuple(np.quantile(differences, [0.025, 0.975])))
    assert found.p_value == pytest.approx(2 * (1 + min((differences <= 0).sum(), (differences >= 0).sum())) / 301)
    turned = paired_bootstrap(two, one, resamples=300)
    assert (turned.estimate, turned.low, turned.high) == pytest.approx((-found.estimate, -found.high, -found.low))
    assert turned.p_value == found.p_value


def test_the_interval_is_as_wide_as_the_known_standard_error() -> None:
    """By the variance of a share of pairs, from the shares of pairs that have an image in common."""
    run = draw_run(0, sizes=(800, 600), decimals=9)
    found = bootstrap_interval([run], resamples=1000)
    inside, outside = np.array(run.id), np.array(run.ood[0])
    order = inside[:, None] > outside[None]
    area = order.mean()
    variance = (
        area * (1 - area)
        + 599 * ((order.mean(1) ** 2).mean() - area**2)
        + 799 * ((order.mean(0) ** 2).mean() - area**2)
    ) / (800 * 600)
    assert found.estimate == pytest.approx(area)
    assert found.high - found.low == pytest.approx(2 * 1.96 * math.sqrt(variance), rel=0.08)


def plain_delong(one: RunScores, two: RunScores) -> tuple[float, float]:
    """Difference and its variance, from all pairs of an ID and an OOD image."""
    pairs = []
    for run in (one, two):
        inside, outside = np.array(run.id)[:, None], np.array(run.ood[0])[None]
        pairs.append((inside > outside) + 0.5 * (inside == outside))
    rows, columns = (np.cov([pair.mean(axis) for pair in pairs]) for axis in (1, 0))
    covariance = rows / pairs[0].shape[0] + columns / pairs[0].shape[1]
    variance = covariance[0, 0] + covariance[1, 1] - 2 * covariance[0, 1]
    return pairs[1].mean() - pairs[0].mean(), variance


def test_delong_is_what_all_pairs_give() -> None:
    one = draw_run(3, sizes=(60, 45))
    two = worsen(one, 0.6)
    difference, variance = plain_delong(one, two)
    found = delong([one], [two])
    z = difference / math.sqrt(variance)
    assert found.estimate == pytest.approx(difference)
    assert found.p_value == pytest.approx(2 * (1 - 0.5 * (1 + math.erf(abs(z) / math.sqrt(2)))))
    assert found.high - found.low == pytest.approx(2 * 1.959963985 * math.sqrt(variance))
    assert (found.low + found.high) / 2 == pytest.approx(difference)


def test_the_mean_share_below_is_the_auroc() -> None:
    random = np.random.RandomState(0)
    inside, outside = random.randint(3, 12, 500).astype(float), random.randint(0, 9, 300).astype(float)
    assert share_below(inside, outside).mean() == pytest.approx(ood_metrics(inside, outside).auroc, abs=1e-12)


def test_delong_and_the_bootstrap_agree_on_many_images() -> None:
    one = draw_run(4, sizes=(1500, 1200), decimals=3)
    two = worsen(one, 0.35)
    normal = delong([one], [two])
    resampled = paired_bootstrap([one], [two])
    assert resampled.estimate == pytest.approx(normal.estimate)
    assert resampled.low == pytest.approx(normal.low, abs=0.1 * (normal.high - normal.low))
    assert resampled.high == pytest.approx(normal.high, abs=0.1 * (normal.high - normal.low))


def test_delong_of_several_runs_and_sets_agrees_with_the_bootstrap() -> None:
    before = [draw_run(seed, sizes=(900, 700, 400), decimals=3) for seed in (10, 11, 12)]
    after = [worsen(run, 0.3) for run in before[:2]]
    normal, resampled = delong(before, after), paired_bootstrap(before, after)
    assert normal.estimate == pytest.approx(resampled.estimate)
    assert resampled.low == pytest.approx(normal.low, abs=0.1 * (normal.high - normal.low))
    assert resampled.high == pytest.approx(normal.high, abs=0.1 * (normal.high - normal.low))


def test_the_same_scores_do_not_differ() -> None:
    run = draw_run(5)
    none = Difference(0, 0, 0, p_value=1)
    assert paired_bootstrap([run], [run], resamples=50) == none
    assert delong([run], [run]) == none


def test_a_clear_difference_is_found() -> None:
    run = draw_run(6, shift=3, sizes=(200, 150))
    blind = RunScores(run.id * 0, [run.ood[0] * 0])
    found = paired_bootstrap([run], [blind], resamples=99)
    assert found.high < -0.4
    assert found.p_value == pytest.approx(2 / 100)
    assert delong([run], [blind]).p_value < 1e-9
    assert delong([RunScores([3.0, 4.0], [[1.0, 2.0]])], [RunScores([1.0, 2.0], [[3.0, 4.0]])]) == Difference(
        -1, -1, -1, p_value=0
    )


def test_perfect_scores_leave_no_doubt_that_the_images_could_raise() -> None:
    assert bootstrap_interval([RunScores([3.0, 4.0], [[1.0, 2.0]])], resamples=20) == Interval(1, 1, 1)


def test_the_same_seed_gives_the_same_interval() -> None:
    run = draw_run(7)
    assert bootstrap_interval([run], resamples=50) == bootstrap_interval([run], resamples=50)
    assert bootstrap_interval([run], resamples=50) != bootstrap_interval([run], resamples=50, seed=1)


def test_what_cannot_be_compared_is_refused() -> None:
    run, shorter = draw_run(8), draw_run(8, sizes=(39, 30, 50))
    for pair in ([run], [shorter]), ([run], [RunScores(run.id, run.ood[:1])]):
        with pytest.raises(InputError, match="the same ID and OOD sets"):
            paired_bootstrap(*pair, resamples=5)
    with pytest.raises(InputError, match="a run of each checkpoint"):
        paired_bootstrap([run], [], resamples=5)
    with pytest.raises(InputError, match="the same ID and OOD sets"):
        bootstrap_interval([])
    with pytest.raises(InputError, match="the same ID and OOD sets"):
        bootstrap_interval([RunScores([1.0], [])])
    with pytest.raises(UnknownNameError, match="Did you mean 'auroc'"):
        bootstrap_interval([run], "aurok")
    with pytest.raises(InputError, match="resamples must be at least 1"):
        bootstrap_interval([run], resamples=0)
    with pytest.raises(InputError, match="level must be between 0 and 1"):
        bootstrap_interval([run], level=95)
    with pytest.raises(InputError, match="NaN or infinite"):
        bootstrap_interval([RunScores([1.0, np.nan], [[0.0]])])
    with pytest.raises(InputError, match="two images of each set"):
        delong([RunScores([1.0], [[0.0, 2.0]])], [RunScores([1.0], [[0.0, 2.0]])])
