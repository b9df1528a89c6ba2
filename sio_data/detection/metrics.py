"""How well scores tell in-distribution (ID) images from out-of-distribution (OOD) ones."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass

import numpy as np
import numpy.typing as npt

from sio_data.errors import InputError

FALSE_POSITIVE_RATES = (1e-4, 1e-3, 1e-2, 1e-1)
"""Where the correct classification rate is taken, if nothing else is said."""

_SHARE = 0.95

Scores = npt.NDArray[np.float64]
Counts = npt.NDArray[np.int64]
Curve = tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]


@dataclass(frozen=True)
class OODMetrics:
    """Metrics of OpenOOD v1.5, and FPR95 as others have it; each in [0, 1].

    Attributes:
        auroc: Area under the ROC curve. Higher is better.
        fpr95: Share of ID flagged at the first threshold that flags 95 % of OOD: OOD is the positive class. Lower is
            better.
        aupr_in: Area under the precision-recall curve by the trapezoid rule, ID positive. Higher is better.
        aupr_out: The same with OOD positive. Higher is better.
        fpr95_id: Share of OOD accepted at the first threshold that accepts 95 % of ID: ID is the positive class, as in
            the code that was released with SIO (arXiv 2303.14531). Lower is better.
    """

    auroc: float
    fpr95: float
    aupr_in: float
    aupr_out: float
    fpr95_id: float


@dataclass(frozen=True)
class ClassifierMetrics(OODMetrics):
    """Those that also ask whether the ID images are classified right: see `correct_classification_rates`.

    Attributes:
        ccr_4: Correct classification rate where 1e-4 of the OOD images is accepted. Higher is better.
        ccr_3: The same at 1e-3.
        ccr_2: The same at 1e-2.
        ccr_1: The same at 1e-1.
    """

    ccr_4: float
    ccr_3: float
    ccr_2: float
    ccr_1: float


def classifier_metrics(
    id_scores: npt.ArrayLike, ood_scores: npt.ArrayLike, correct: npt.ArrayLike
) -> ClassifierMetrics:
    """Compare the scores of two sets of images; see `ood_metrics` and `correct_classification_rates`."""
    rates = correct_classification_rates(id_scores, ood_scores, correct)
    ccr = {f"ccr_{power}": rates[10.0**-power] for power in (4, 3, 2, 1)}
    return ClassifierMetrics(**asdict(ood_metrics(id_scores, ood_scores)), **ccr)


def ood_metrics(id_scores: npt.ArrayLike, ood_scores: npt.ArrayLike, *, thinned_curve: bool = False) -> OODMetrics:
    """Compare the scores of two sets of images; the time goes into one sort.

    Args:
        id_scores: Floating [N], of in-distribution images; higher means more in-distribution.
        ood_scores: Floating [M], of out-of-distribution images.
        thinned_curve: Whether both FPR95 are read off a curve without the points that lie in the middle of three on a
            line with equal steps. So does OpenOOD's code: where ties make the curve straight, its FPR95 is too high.

    Raises:
        InputError: A set is empty, or a score is NaN or infinite.
    """
    inside, outside = check_scores(id_scores, ood_scores)
    place = group_scores(inside, outside)
    groups = int(max(part.max() for part in place)) + 1
    return measure_counts(*(np.bincount(part, minlength=groups) for part in place), thinned_curve=thinned_curve)


def measure_counts(id_counts: Counts, ood_counts: Counts, *, thinned_curve: bool = False) -> OODMetrics:
    """Compute the metrics from how many images have each score.

    Args:
        id_counts: int64 [K], ID images of each distinct score, lowest score first; at least one in all.
        ood_counts: int64 [K], OOD images of the same scores.
        thinned_curve: See `ood_metrics`.
    """
    some = (id_counts + ood_counts) > 0
    inside, outside = id_counts[some], ood_counts[some]
    flagged_id, flagged_ood = np.cumsum(inside), np.cumsum(outside)
    accepted_id, accepted_ood = np.cumsum(inside[::-1]), np.cumsum(outside[::-1])
    return OODMetrics(
        auroc=_auroc(inside, outside),
        fpr95=_fpr95(flagged_ood, flagged_id, thinned_curve),
        aupr_in=_aupr(accepted_id, accepted_ood),
        aupr_out=_aupr(flagged_ood, flagged_id),
        fpr95_id=_fpr95(accepted_id, accepted_ood, thinned_curve),
    )


def correct_classification_rates(
    id_scores: npt.ArrayLike,
    ood_scores: npt.ArrayLike,
    correct: npt.ArrayLike,
    rates: Sequence[float] = FALSE_POSITIVE_RATES,
) -> dict[float, float]:
    """Give the share of ID images that are both accepted and classified right, where few OOD images are accepted.

    At the rate r the threshold is the score of rank ceil(r M) among the OOD scores, highest first; what lies above it
    is accepted. (Dhamija et al., NeurIPS 2018; as computed by OpenOOD.)

    Args:
        id_scores: Floating [N].
        ood_scores: Floating [M].
        correct: bool [N], whether the class predicted for the ID image is its label.
        rates: Shares of OOD images, each above 0 and at most 1.

    Returns:
        For each rate a share in [0, 1].

    Raises:
        InputError: The scores are unfit (see `ood_metrics`), `correct` is not bool [N], or a rate is out of range.
    """
    inside, outside = check_scores(id_scores, ood_scores)
    right = np.asarray(correct)
    if right.dtype != np.bool_ or right.shape != inside.shape:
        raise InputError(f"correct must be bool [{len(inside)}], not {right.dtype} {list(right.shape)}.")
    if wrong := [rate for rate in rates if not 0 < rate <= 1]:
        raise InputError(f"a false positive rate must be above 0 and at most 1, not {wrong[0]}.")
    highest = np.sort(outside)[::-1]
    thresholds = {rate: highest[int(np.ceil(rate * len(highest))) - 1] for rate in rates}
    return {rate: float((right & (inside > threshold)).mean()) for rate, threshold in thresholds.items()}


def check_scores(id_scores: npt.ArrayLike, ood_scores: npt.ArrayLike) -> tuple[Scores, Scores]:
    """Give scores as float64 [N] and [M].

    Raises:
        InputError: A set is empty, or a score is NaN or infinite.
    """
    inside, outside = np.asarray(id_scores, dtype=np.float64), np.asarray(ood_scores, dtype=np.float64)
    if inside.ndim != 1 or outside.ndim != 1 or not inside.size or not outside.size:
        raise InputError(f"scores must be two lists that are not empty, not {inside.shape} and {outside.shape}.")
    for kind, scores in (("ID", inside), ("OOD", outside)):
        wrong = np.flatnonzero(~np.isfinite(scores))
        if len(wrong):
            raise InputError(
                f"{len(wrong)} of {len(scores)} {kind} scores are NaN or infinite, the first that of image {wrong[0]}; "
                "a detector that gives such scores cannot be judged."
            )
    return inside, outside


def group_scores(id_scores: Scores, ood_scores: Scores) -> tuple[Counts, Counts]:
    """Give for each score its place among the distinct ones of both sets, lowest first: int64 [N] and [M]."""
    _, places = np.unique(np.concatenate([id_scores, ood_scores]), return_inverse=True)
    return places[: len(id_scores)], places[len(id_scores) :]


def _rates(positives: Counts, negatives: Counts, thinned: bool) -> Curve:
    """Give a ROC curve from (0, 0) on: shares of positives and of negatives that are let through."""
    if thinned:
        bends = (np.diff(positives, 2) != 0) | (np.diff(negatives, 2) != 0)
        kept = np.r_[True, bends, True] if len(positives) > 1 else np.array([True])
        positives, negatives = positives[kept], negatives[kept]
    return np.r_[0.0, positives / positives[-1]], np.r_[0.0, negatives / negatives[-1]]


def _auroc(id_counts: Counts, ood_counts: Counts) -> float:
    """Give the share of pairs whose ID image has the higher score, ties by half."""
    below_or_equal = np.cumsum(ood_counts)
    twice = 2 * int(np.dot(id_counts, below_or_equal)) - int(np.dot(id_counts, ood_counts))
    return twice / (2 * int(id_counts.sum()) * int(below_or_equal[-1]))


def _fpr95(positives: Counts, negatives: Counts, thinned: bool) -> float:
    true, false = _rates(positives, negatives, thinned)
    return float(false[np.argmax(true >= _SHARE)])


def _aupr(positives: Counts, negatives: Counts) -> float:
    """Integrate precision over recall by the trapezoid rule, from precision 1 at recall 0."""
    precision = np.r_[1.0, positives / (positives + negatives)]
    recall = np.r_[0.0, positives / positives[-1]]
    return float(np.trapezoid(precision, recall))
