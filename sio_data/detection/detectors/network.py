"""What a detector is that looks at the network itself, beside its outputs."""

import hashlib
from abc import abstractmethod
from collections.abc import Mapping
from typing import TYPE_CHECKING, ClassVar, Self

import torch
from torch import nn

from sio_data.detection.detectors.base import Detector, Scores
from sio_data.detection.detectors.given import Given, Need
from sio_data.detection.looks import Look
from sio_data.detection.outputs import Outputs
from sio_data.detection.passes import compute_outputs
from sio_data.errors import InputError
from sio_data.image_set import ImageSet

if TYPE_CHECKING:
    from sio_data.training.checkpoint import Classifier


class NetworkDetector(Detector):
    """A detector that scores by what it observes of each image on its way through the network.

    `compute_outputs` lets many of them observe one pass. Outputs without its observation cost a pass of its own, over
    their images, the first time.
    """

    needs: ClassVar[tuple[Need, ...]] = ("network",)

    _network: "Classifier | None" = None

    @property
    @abstractmethod
    def observation(self) -> str:
        """Names what it observes; two detectors with the same name observe the same."""

    def ask(self, look: Look) -> None:
        """Say what the plain forward pass has to leave behind, by the methods `want_...` of the look."""

    @abstractmethod
    def observe(self, look: Look) -> torch.Tensor:
        """Give what it keeps of a batch, floating [n, ...]. Gradients are off."""

    def attach(self, network: "Classifier") -> Self:
        """Take the network that images are to be run through, as `fit` does.

        After `load_state` it is all that is missing.

        Raises:
            InputError: The detector cannot be used with this network.
        """
        reason = self.misfit(network)
        if reason:
            raise InputError(f"{self.name} does not fit this network: {reason}.")
        self._network = network
        return self

    def fit(
        self,
        *,
        train: Outputs | None = None,
        val: Outputs | None = None,
        head: nn.Linear | None = None,
        network: "Classifier | None" = None,
    ) -> Self:
        """Learn what the score needs, and keep the network; see `Detector.fit`."""
        if network is not None:
            self.attach(network)
        return super().fit(train=train, val=val, head=head, network=network)

    def score(self, outputs: Outputs) -> Scores:
        """Score images; see `Detector.score`.

        Raises:
            InputError: Nothing was observed of the images, and they or the network are missing.
        """
        self._check_fitted()
        self.require_observation(outputs)
        return super().score(outputs)

    def require_observation(self, outputs: Outputs) -> torch.Tensor:
        """Give what was observed of outputs; run a pass if nothing was, and keep what it gives with the outputs.

        Raises:
            InputError: The images or the network are missing.
        """
        if self.observation not in outputs.observed:
            seen = compute_outputs(self._attached, require_images(self.name, outputs), self._place, [self])
            outputs.observed[self.observation] = seen.observed[self.observation].to(outputs.logits.device)
        return outputs.observed[self.observation]

    @property
    def _attached(self) -> "Classifier":
        if self._network is None:
            raise InputError(f"{self.name} looks at the network: give network= to fit, or call attach.")
        return self._network

    @property
    def _place(self) -> torch.device:
        return next(self._attached.parameters()).device


class WatchingDetector(NetworkDetector):
    """A network detector that learns from a pass over the training images.

    `compute_outputs` lets several of them watch one pass. If it did not watch one over the images of the outputs that
    `fit` gets, `fit` runs one of its own.
    """

    needs: ClassVar[tuple[Need, ...]] = ("train", "train labels", "network")

    _watched: int = 0
    _watched_images: ImageSet | None = None
    _digest: str | None = None

    @property
    @abstractmethod
    def settings(self) -> str:
        """Names what it learns: two detectors with the same name learn the same from the same images."""

    @property
    def observation(self) -> str:
        """Names what it observes, which hangs on what it learned.

        Raises:
            InputError: It has learned nothing.
        """
        if self._digest is None:
            raise InputError(f"{self.name} is not fitted: call fit first.")
        return f"{self.settings} {self._digest}"

    def load_state(self, state: Mapping[str, torch.Tensor]) -> Self:
        """Take what another one learned; see `Detector.load_state`."""
        with torch.inference_mode(mode=False):  # a gradient goes through it, which forbids tensors of that mode
            super().load_state({name: one.clone() if one.is_inference() else one for name, one in state.items()})
        self._digest = self._hash_state()
        return self

    def attach(self, network: "Classifier") -> Self:
        """Take the network, and bring what was learned to its device; see `NetworkDetector.attach`."""
        super().attach(network)
        self._device = self._place
        for name in self.learned:
            if hasattr(self, name):
                setattr(self, name, getattr(self, name).to(self._device))
        return self

    def begin(self, images: ImageSet) -> None:
        """Begin a pass over the training images: forget what was seen of an earlier one.

        Raises:
            ClassMapError: One has no label.
        """
        self._watched, self._watched_images = 0, images
        self._begin(images.require_labels())

    def watch(self, look: Look) -> None:
        """Learn from a batch of training images."""
        self._watch(look)
        self._watched += len(look.images)

    def _fit(self, given: Given) -> None:
        images = require_images(self.name, given.train)
        if not torch.equal(images.labels.cpu(), given.train.labels.cpu()):
            raise InputError(
                f"{self.name} learns from the labels of the training images, and their outputs have others: give an "
                "image set with the right labels to compute_outputs."
            )
        self._digest = None
        with torch.inference_mode(mode=False), torch.no_grad():
            if self._watched_images is not images or self._watched != len(images):
                compute_outputs(given.network, images, self._place, watchers=[self])
            self._watched, self._watched_images = 0, None
            self._finish(given)
        self._device = self._place  # what is learned lies there, whichever device the outputs are on
        self._digest = self._hash_state()

    def _hash_state(self) -> str:
        digest = hashlib.sha256()
        for value in self.state().values():
            digest.update(f"{value.dtype} {list(value.shape)}".encode())
            digest.update(value.cpu().contiguous().numpy().data)
        return digest.hexdigest()[:16]

    @abstractmethod
    def _begin(self, images: ImageSet) -> None:
        """Make ready for a pass over the training images."""

    @abstractmethod
    def _watch(self, look: Look) -> None:
        """Learn from a batch."""

    @abstractmethod
    def _finish(self, given: Given) -> None:
        """Make what is learned of what was watched."""


def require_images(detector: str, outputs: Outputs) -> ImageSet:
    """Give the images of outputs.

    Raises:
        InputError: They come without any.
    """
    if outputs.images is None:
        raise InputError(
            f"{detector} looks at images on their way through the network, and these outputs come without any: make "
            "them with compute_outputs, or give Outputs images=."
        )
    return outputs.images
