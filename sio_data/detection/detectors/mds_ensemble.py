"""Mahalanobis distances of the first maps, after a step towards the nearest class."""

import math
from dataclasses import dataclass
from typing import ClassVar

import torch

from sio_data.detection.detectors.given import Given
from sio_data.detection.detectors.network import WatchingDetector
from sio_data.detection.looks import Look, require_gradients
from sio_data.detection.outputs import Outputs
from sio_data.errors import InputError
from sio_data.image_set import ImageSet
from sio_data.training.checkpoint import Classifier

_SCALE = 0.5  # of the step, in place of the normalisation's standard deviation
_NOISE = 1e-6  # of the means' root mean square length: what float32 leaves of a direction without variance


@dataclass
class MDSEnsemble(WatchingDetector):
    """Minus half the squared Mahalanobis distance to the nearest class, of the means of the first stage's channels.

    Lee et al., NeurIPS 2018, with the first maps alone, as in OpenOOD's settings: `max_c -d_c^2(x') / 2`. The classes
    share a covariance (over n); its inverse leaves out directions in which the standard deviation is below 1e-6 of the
    channel means' root mean square length, as in `MDS`. `x' = x - eps s / 0.5` on the normalised input x, s the sign of
    the gradient of `d^2 / 2` to the nearest class of x (+1 where it is 0). OpenOOD multiplies this by a weight from a
    logistic regression on validation images of both kinds; of one map's score that changes the scale alone, and it is
    left out. Fitted on the training images and labels. Cost: the first stage three times, once of it backward.

    Attributes:
        noise: eps, at least 0.
    """

    name: ClassVar[str] = "mds_ensemble"
    learned: ClassVar[tuple[str, ...]] = ("_whitening", "_means")

    noise: float = 0.0014

    def __post_init__(self) -> None:
        if not 0 <= self.noise < math.inf:
            raise InputError(f"mds_ensemble: noise must be at least 0, not {self.noise}.")

    @property
    def settings(self) -> str:
        """The scores hang on the noise."""
        return f"mds_ensemble noise={float(self.noise)}"

    def ask(self, look: Look) -> None:
        """Refuse a classifier that no gradient can go through; the plain pass need not be one for gradients."""
        require_gradients(look.classifier)

    def observe(self, look: Look) -> torch.Tensor:
        """Give the scores, float64 [n]."""
        with torch.enable_grad():
            inputs = look.inputs.detach().requires_grad_()
            nearest = self._distances(_channel_means(look.classifier, inputs)).amin(1)
            gradient = torch.autograd.grad(nearest.sum(), inputs)[0]
        steps = torch.where(gradient >= 0, self.noise / _SCALE, -self.noise / _SCALE)
        return -self._distances(_channel_means(look.classifier, inputs.detach() - steps)).amin(1)

    def _begin(self, images: ImageSet) -> None:
        self._sums = torch.zeros(0)

    def _watch(self, look: Look) -> None:
        means = _channel_means(look.classifier, look.inputs.detach())
        members = torch.nn.functional.one_hot(look.labels, len(look.classifier.class_names)).double()
        if not len(self._sums):
            classes, width = members.shape[1], means.shape[1]
            self._counts, self._sums = means.new_zeros(classes), means.new_zeros(classes, width)
            self._squares = means.new_zeros(width, width)
            self._origin = means.mean(0)  # near all means, so that differences of their squares keep their digits
        means -= self._origin
        self._counts += members.sum(0)
        self._sums += members.T @ means
        self._squares += means.T @ means

    def _finish(self, given: Given) -> None:
        means = self._sums / self._counts.clamp(min=1)[:, None]
        values, vectors = torch.linalg.eigh((self._squares - self._sums.T @ means) / self._counts.sum())
        length = self._squares.trace() / self._counts.sum() + self._origin.square().sum()
        kept = values > _NOISE**2 * length
        if not kept.any():
            raise InputError(
                f"{self.name}: the first maps of the training images of each class are all the same; there is no "
                "distance."
            )
        self._whitening = vectors[:, kept] / values[kept].sqrt()
        self._means = (means[self._counts > 0] + self._origin) @ self._whitening
        del self._counts, self._sums, self._squares, self._origin

    def _distances(self, means: torch.Tensor) -> torch.Tensor:
        """Give half the squared distances to the classes, float64 [n, C], of channel means, float64 [n, K]."""
        offsets = (means @ self._whitening)[:, None] - self._means
        halves: torch.Tensor = offsets.square().sum(2) / 2
        return halves

    def _score(self, outputs: Outputs) -> torch.Tensor:
        return outputs.observed[self.observation]


def _channel_means(classifier: Classifier, inputs: torch.Tensor) -> torch.Tensor:
    maps = classifier.network.stages()[0](inputs)
    return maps.double().mean((2, 3))
