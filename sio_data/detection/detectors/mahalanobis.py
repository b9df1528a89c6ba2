"""Mahalanobis distances to class means: MDS, and RMDS, relative to the distance to all training images."""

from dataclasses import dataclass
from typing import ClassVar

import torch

from sio_data.detection.detectors.base import Detector
from sio_data.detection.detectors.given import Given, Need
from sio_data.detection.moments import compute_means, compute_scatters
from sio_data.detection.outputs import Outputs
from sio_data.errors import InputError

_NOISE = 1e-6  # of a feature's root mean square: what float32 leaves of a direction without variance


@dataclass
class MDS(Detector):
    """Minus the Mahalanobis distance to the nearest class mean: `-min_c (f - m_c)' S^-1 (f - m_c)`.

    Lee et al., NeurIPS 2018. S is the covariance of the training features about the means of their classes, shared by
    all classes. Its pseudo-inverse leaves out directions in which, of features divided by their root mean squares, the
    standard deviation is below 1e-6, or 1e-6 of the largest: there is nothing but rounding in them (OpenOOD's cut is so
    low that nearly collinear features put noise into the distance, and hangs on the features' units). A class without
    training images is no nearest class. Fitted on the training features and labels. Cost: O(N_train D^2 + D^3) to fit,
    O(N D (D + C)) to score.
    """

    name: ClassVar[str] = "mds"
    needs: ClassVar[tuple[Need, ...]] = ("train", "train labels")
    learned: ClassVar[tuple[str, ...]] = ("_centre", "_whitening", "_means")

    def _fit(self, given: Given) -> None:
        means = compute_means(given.train)
        scatters = compute_scatters(given.train)
        self._centre = means.overall
        self._whitening = _whiten(scatters.within, given.train, means.overall)
        if not self._whitening.shape[1]:
            raise InputError(
                f"{self.name}: the training features of each class are all the same; there is no distance."
            )
        self._means = (means.class_means[means.class_counts > 0] - self._centre) @ self._whitening

    def _score(self, outputs: Outputs) -> torch.Tensor:
        places = (outputs.features.double() - self._centre) @ self._whitening
        squared = places.square().sum(1, keepdim=True) + self._means.square().sum(1)
        return -squared.addmm_(places, self._means.T, alpha=-2).amin(1).clamp(min=0)


@dataclass
class RMDS(MDS):
    """Relative Mahalanobis distance: `-min_c [d_c(f) - d_0(f)]`.

    Ren et al., 2021. `d_c` is the squared distance of MDS, `d_0` that to the mean of all training features by the
    covariance about it. Fitted on the training features and labels. Cost: as MDS.
    """

    name: ClassVar[str] = "rmds"
    learned: ClassVar[tuple[str, ...]] = (*MDS.learned, "_whole")

    def _fit(self, given: Given) -> None:
        super()._fit(given)
        self._whole = _whiten(compute_scatters(given.train).total, given.train, self._centre)

    def _score(self, outputs: Outputs) -> torch.Tensor:
        from_all = ((outputs.features.double() - self._centre) @ self._whole).square().sum(1)
        return super()._score(outputs) + from_all


def _whiten(scatter: torch.Tensor, train: Outputs, centre: torch.Tensor) -> torch.Tensor:
    """Give A, float64 [D, r], with `A A'` the pseudo-inverse of a covariance; see `MDS`."""
    sizes = (compute_scatters(train).total.diagonal() / len(train) + centre.square()).sqrt()
    units = sizes.where(sizes > 0, 1)
    values, vectors = torch.linalg.eigh(scatter / len(train) / units / units.unsqueeze(1))
    kept = values > _NOISE**2 * values[-1].clamp(min=1)
    vectors /= units.unsqueeze(1)
    left_out, _ = torch.linalg.qr(vectors[:, ~kept])
    whitening: torch.Tensor = vectors[:, kept] / values[kept].sqrt()
    whitening -= left_out @ (left_out.T @ whitening)  # from the pseudo-inverse in these units to that in the features'
    return whitening
