"""How sure a figure is: confidence intervals, and tests of a difference between two checkpoints.

What is random here is which images were looked at, and nothing else: the checkpoints stay as they are, and what another
training run or seed would have given is not covered.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np
import numpy.typing as npt

from sio_data.detection.metrics import (
    Counts,
    OODMetrics,
    Scores,
    check_scores,
    group_scores,
    measure_counts,
)
from sio_data.errors import InputError, UnknownNameError

RESAMPLES = 1000
LEVEL = 0.95
_METRICS = tuple(OODMetrics.__dataclass_fields__)


@dataclass(frozen=True)
class RunScores:
    """Scores that one run of a checkpoint gave.

    Attributes:
        id: Floating [N], of the ID test images.
        ood: For each OOD set of a group, near or far, floating [M].
    """

    id: npt.ArrayLike
    ood: Sequence[npt.ArrayLike]


@dataclass(frozen=True)
class Interval:
    """A figure and where it may lie.

    Attributes:
        estimate: Of the images themselves.
        low: Lower end.
        high: Upper end.
    """

    estimate: float
    low: float
    high: float


@dataclass(frozen=True)
class Difference(Interval):
    """How much higher the figure of the second checkpoint is than that of the first.

    Attributes:
        p_value: How often a difference at least as large would be seen, in either direction, if there were none.
    """

    p_value: float


def bootstrap_interval(
    runs: Sequence[RunScores],
    metric: str = "auroc",
    *,
    resamples: int = RESAMPLES,
    level: float = LEVEL,
    seed: int = 0,
) -> Interval:
    """Give the percentile interval of a figure of a checkpoint.

    The figure is the mean over the runs of the mean over the OOD sets. In each resample N ID images are drawn with
    replacement, once for all runs and sets, and M images of each OOD set, once for all runs; the figure is then
    computed as if these were the images.

    Args:
        runs: The scores of each run, of the same images in the same order.
        metric: A field of `OODMetrics`.
        resamples: How many.
        level: Share of the resamples that lies inside.
        seed: Of the draws; the same one gives the same interval.

    Raises:
        UnknownNameError: There is no such metric.
        InputError: The scores are unfit (see `ood_metrics`), the runs do not fit together, or a number is out of range.
    """
    _check_metric(metric)
    _check_numbers(resamples, level)
    checked = [_Run(run) for run in _matching(runs)]
    sizes = checked[0].sizes
    figures = [_mean(checked, metric, copies) for copies in _draw(sizes, resamples, seed)]
    return Interval(_mean(checked, metric, _each_once(sizes)), *_percentiles(np.array(figures), level))


def paired_bootstrap(
    first: Sequence[RunScores],
    second: Sequence[RunScores],
    metric: str = "auroc",
    *,
    resamples: int = RESAMPLES,
    level: float = LEVEL,
    seed: int = 0,
) -> Difference:
    """Compare two checkpoints by their figures on the same resampled images.

    The resamples are those of `bootstrap_interval`, each shared by both checkpoints, which may have different numbers
    of runs. The p-value is twice the share of resamples whose difference lies on the other side of zero, or on zero,
    with one added to both counts; it is never below 2 / (resamples + 1).

    Args:
        first: The scores of each run of one checkpoint.
        second: Those of the other, of the same images in the same order.
        metric: A field of `OODMetrics`.
        resamples: How many.
        level: Share of the resamples that lies inside the interval.
        seed: Of the draws.

    Raises:
        UnknownNameError: There is no such metric.
        InputError: The scores are unfit (see `ood_metrics`), the runs do not fit together, or a number is out of range.
    """
    _check_metric(metric)
    _check_numbers(resamples, level)
    if not first or not second:
        raise InputError("a comparison needs a run of each checkpoint at least.")
    checked = [_Run(run) for run in _matching([*first, *second])]
    one, two = checked[: len(first)], checked[len(first) :]

    def difference(copies: list[Counts]) -> float:
        return _mean(two, metric, copies) - _mean(one, metric, copies)

    sizes = one[0].sizes
    found = np.array([difference(copies) for copies in _draw(sizes, resamples, seed)])
    against = 1 + min(int((found <= 0).sum()), int((found >= 0).sum()))
    return Difference(
        difference(_each_once(sizes)), *_percentiles(found, level), p_value=min(1.0, 2 * against / (resamples + 1))
    )


def delong(first: Sequence[RunScores], second: Sequence[RunScores], *, level: float = LEVEL) -> Difference:
    """Compare two checkpoints by their AUROC on the same images, by DeLong's test.

    (DeLong et al., Biometrics 1988, with midranks as in Sun & Xu, IEEE Signal Processing Letters 2014.) The figure of a
    checkpoint is the mean over its runs of the mean over the OOD sets. That is a mean over ID images and one over the
    images of each set, of their placements averaged over runs and sets; its difference is taken for normal, with the
    variance of those means. It takes a sort a run and set, where `paired_bootstrap` takes a thousand sums.

    Args:
        first: The scores of each run of one checkpoint.
        second: Those of the other, of the same images in the same order.
        level: Of the interval.

    Raises:
        InputError: The scores are unfit (see `ood_metrics`), the runs do not fit together, or a set has one image only.
    """
    _check_numbers(1, level)
    if not first or not second:
        raise InputError("a comparison needs a run of each checkpoint at least.")
    runs = _matching([*first, *second])
    if min(len(np.asarray(scores)) for scores in (runs[0].id, *runs[0].ood)) < 2:
        raise InputError("DeLong's test needs two images of each set at least.")
    before, after = _mean_placements(first), _mean_placements(second)
    of_id, *of_ood = (two - one for one, two in zip(before, after, strict=True))
    difference = float(of_id.mean())
    variance = of_id.var(ddof=1) / len(of_id)
    variance += sum(one.var(ddof=1) / len(one) for one in of_ood) / len(of_ood) ** 2
    if variance == 0:
        return Difference(difference, difference, difference, p_value=1.0 if difference == 0 else 0.0)
    error = math.sqrt(variance)
    reach = NormalDist().inv_cdf((1 + level) / 2) * error
    p_value = math.erfc(abs(difference) / error / math.sqrt(2))
    return Difference(difference, difference - reach, difference + reach, p_value=p_value)


def share_below(scores: Scores, others: Scores) -> Scores:
    """Give for each score the share of the others that lie below it, ties as one half; its mean is an AUROC.

    Args:
        scores: Floating [N].
        others: Floating [M], one at least.

    Returns:
        float64 [N], in [0, 1].
    """
    ordered = np.sort(others)
    ends = np.searchsorted(ordered, scores, "left") + np.searchsorted(ordered, scores, "right")
    shares: Scores = ends / (2 * len(ordered))
    return shares


def _mean_placements(runs: Sequence[RunScores]) -> list[Scores]:
    """Give the placements of ID images, averaged over runs and sets, and those of each set's images, over runs."""
    placed = [[_placements(*check_scores(run.id, ood)) for ood in run.ood] for run in runs]
    of_ood = [np.mean([one[number][1] for one in placed], axis=0) for number in range(len(runs[0].ood))]
    return [np.mean([of_id for one in placed for of_id, _ in one], axis=0), *of_ood]


class _Pair:
    """Sorted scores of ID images and of an OOD set, to be measured with any number of copies of each image."""

    def __init__(self, inside: Scores, outside: Scores) -> None:
        self._order = np.argsort(outside)
        ordered = outside[self._order]
        self._left, self._right = np.searchsorted(ordered, inside, "left"), np.searchsorted(ordered, inside, "right")
        self._below = np.zeros(len(outside) + 1, np.int64)
        self._places = group_scores(inside, outside)
        self._groups = 1 + int(max(places.max() for places in self._places))

    def measure(self, metric: str, id_copies: Counts, ood_copies: Counts) -> float:
        """Give a metric of the images, each as often as is said: int64 [N] and [M]."""
        if metric == "auroc":
            np.cumsum(ood_copies[self._order], out=self._below[1:])
            twice = np.dot(id_copies, self._below[self._left] + self._below[self._right])
            return float(twice / (2 * int(id_copies.sum()) * int(self._below[-1])))
        copies = zip(self._places, (id_copies, ood_copies), strict=True)
        counts = (np.bincount(places, some, self._groups).astype(np.int64) for places, some in copies)
        return float(getattr(measure_counts(*counts), metric))


class _Run:
    """The scores of a run, of ID images and each OOD set."""

    def __init__(self, run: RunScores) -> None:
        checked = [check_scores(run.id, ood) for ood in run.ood]
        self._pairs = [_Pair(*scores) for scores in checked]
        self.sizes = [len(checked[0][0]), *(len(outside) for _, outside in checked)]

    def measure(self, metric: str, copies: list[Counts]) -> float:
        """Give the mean over the OOD sets, of so many copies of each image."""
        pairs = zip(self._pairs, copies[1:], strict=True)
        return math.fsum(pair.measure(metric, copies[0], some) for pair, some in pairs) / len(self._pairs)


def _mean(runs: Sequence[_Run], metric: str, copies: list[Counts]) -> float:
    return math.fsum(run.measure(metric, copies) for run in runs) / len(runs)


def _each_once(sizes: Sequence[int]) -> list[Counts]:
    return [np.ones(size, np.int64) for size in sizes]


def _draw(sizes: Sequence[int], resamples: int, seed: int) -> Iterator[list[Counts]]:
    """Draw as many images of each set as it has, with replacement; give how often each was drawn."""
    random = np.random.default_rng(seed)
    for _ in range(resamples):
        yield [np.bincount(random.integers(0, size, size), minlength=size) for size in sizes]


def _placements(inside: Scores, outside: Scores) -> tuple[Scores, Scores]:
    """Give for each ID image the share of OOD images below it, and for each OOD image that of ID images above it."""
    return share_below(inside, outside), 1 - share_below(outside, inside)


def _percentiles(figures: Scores, level: float) -> tuple[float, float]:
    low, high = np.quantile(figures, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


def _check_metric(metric: str) -> None:
    if metric not in _METRICS:
        raise UnknownNameError("metric", metric, _METRICS)


def _check_numbers(resamples: int, level: float) -> None:
    if resamples < 1:
        raise InputError(f"resamples must be at least 1, not {resamples}.")
    if not 0 < level < 1:
        raise InputError(f"level must be between 0 and 1, not {level}.")


def _matching(runs: Sequence[RunScores]) -> Sequence[RunScores]:
    """Give the runs, if they are of as many images of as many sets."""
    shapes = {(np.shape(run.id), *(np.shape(ood) for ood in run.ood)) for run in runs}
    if len(shapes) != 1 or not runs[0].ood:
        raise InputError("runs are compared on the same images: each needs scores of the same ID and OOD sets.")
    return runs
