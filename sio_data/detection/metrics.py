"""How well scores tell in-distribution (ID) images from out-of-distribution (OOD) ones."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from sklearn.metrics import auc, precision_recall_curve, roc_curve

from sio_data.errors import InputError

_POINTS_OF_CURVE = 100


@dataclass(frozen=True)
class OODMetrics:
    """Metrics of OpenOOD v1.5, each in [0, 1]. The positive class is OOD, but for `aupr_in`.

    Attributes:
        auroc: Area under the ROC curve. Higher is better.
        fpr95: Share of ID flagged at the first threshold that flags 95 % of OOD. Lower is better.
        aupr_in: Area under the precision-recall curve by the trapezoid rule, ID positive. Higher is better.
        aupr_out: The same with OOD positive. Higher is better.
    """

    auroc: float
    fpr95: float
    aupr_in: float
    aupr_out: float


def ood_metrics(id_scores: npt.ArrayLike, ood_scores: npt.ArrayLike) -> OODMetrics:
    """Compare the scores of two sets of images.

    Args:
        id_scores: float [N], of in-distribution images; higher means more in-distribution.
        ood_scores: float [M], of out-of-distribution images.

    Raises:
        InputError: A set is empty, or a score is NaN or infinite.
    """
    is_ood, score = _join(id_scores, ood_scores)
    flagged_id, flagged_ood, _ = roc_curve(is_ood, -score, drop_intermediate=False)
    return OODMetrics(
        auroc=float(auc(flagged_id, flagged_ood)),
        fpr95=float(flagged_id[np.argmax(flagged_ood >= 0.95)]),
        aupr_in=_aupr(1 - is_ood, score),
        aupr_out=_aupr(is_ood, -score),
    )


def roc_points(id_scores: npt.ArrayLike, ood_scores: npt.ArrayLike) -> list[tuple[float, float]]:
    """Give at most 102 points of the ROC curve, (share of ID flagged, share of OOD flagged), for a drawing."""
    is_ood, score = _join(id_scores, ood_scores)
    flagged_id, flagged_ood, _ = roc_curve(is_ood, -score)
    grid = np.unique(np.round(np.linspace(0, len(flagged_id) - 1, _POINTS_OF_CURVE)).astype(int))
    return [(round(float(flagged_id[i]), 4), round(float(flagged_ood[i]), 4)) for i in grid]


def _join(id_scores: npt.ArrayLike, ood_scores: npt.ArrayLike) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.float64]]:
    inside, outside = np.asarray(id_scores, dtype=np.float64), np.asarray(ood_scores, dtype=np.float64)
    if inside.ndim != 1 or outside.ndim != 1 or not inside.size or not outside.size:
        raise InputError(f"scores must be two lists that are not empty, not {inside.shape} and {outside.shape}.")
    score = np.concatenate([inside, outside])
    if not np.isfinite(score).all():
        raise InputError("a score is NaN or infinite.")
    return np.repeat(np.array([0, 1]), [len(inside), len(outside)]), score


def _aupr(positive: npt.NDArray[np.int64], score: npt.NDArray[np.float64]) -> float:
    precision, recall, _ = precision_recall_curve(positive, score)
    return float(auc(recall, precision))
