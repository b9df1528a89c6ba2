"""One pass of images through a network: its outputs, and what detectors that look at the network see on the way."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import torch

from sio_data.detection.judging import judging
from sio_data.detection.looks import Look
from sio_data.detection.outputs import Outputs
from sio_data.errors import InputError
from sio_data.image_set import ImageSet
from sio_data.training.augmentation import centre
from sio_data.training.checkpoint import Classifier

_BATCH = 32  # on a processor, whose caches larger batches overflow on the way back of a gradient
_BATCH_ELSEWHERE = 128
_PRECISIONS = (torch.float32, torch.float64)


class Asker(Protocol):
    """Wants something of every batch of a pass."""

    def ask(self, look: Look) -> None:
        """Say what the plain forward pass has to leave behind, by the methods `want_...` of the look."""


class Observer(Asker, Protocol):
    """Sees every batch of a pass, and keeps something of it."""

    @property
    def observation(self) -> str:
        """Names what it sees: two observers with the same name see the same."""

    def observe(self, look: Look) -> torch.Tensor:
        """Give what is to be kept of a batch, floating [n, ...]."""


class Watcher(Asker, Protocol):
    """Learns from every batch of a pass over the training images."""

    def begin(self, images: ImageSet) -> None:
        """Begin anew, with labels in the class map of the classifier."""

    def watch(self, look: Look) -> None:
        """Learn from a batch."""


def batch_size(device: torch.device | str) -> int:
    """Give how many images go through a network at once on a device."""
    return _BATCH if torch.device(device).type == "cpu" else _BATCH_ELSEWHERE


@dataclass(frozen=True)
class Seen:
    """What a pass gives of one batch, on the CPU.

    Attributes:
        places: int64 [n], which images these are, one after another.
        logits: float [n, C].
        features: float [n, D].
        observed: What each observer kept, by the name of its observation, floating [n, ...].
    """

    places: torch.Tensor
    logits: torch.Tensor
    features: torch.Tensor
    observed: Mapping[str, torch.Tensor]


def run_pass(
    classifier: Classifier,
    images: ImageSet,
    device: torch.device | str = "cpu",
    observers: Sequence[Observer] = (),
    watchers: Sequence[Watcher] = (),
    start: int = 0,
) -> Iterator[Seen]:
    """Run a classifier once over a set of images, batch by batch.

    Args:
        classifier: On `device`.
        images: Of the classifier's `load_size`, with labels in its class map.
        device: Where to run.
        observers: Detectors that look at the network meanwhile. Those that see the same are asked once.
        watchers: Detectors that learn from these images meanwhile.
        start: At which image to begin; a multiple of `batch_size`, so that the batches are those of a whole pass.

    Raises:
        InputError: The classifier has parameters of half precision.
    """
    _check_precision(classifier)
    by_name = {one.observation: one for one in observers}
    for one in watchers:
        one.begin(images)
    for places in torch.arange(start, len(images)).split(batch_size(device)):
        # Between batches the classifier is the caller's, who may run another pass meanwhile.
        with judging(classifier), torch.inference_mode(mode=False), torch.no_grad():
            pixels = centre(images.images[places].to(device), classifier.image_size)
            look = Look(classifier, pixels, images.labels[places].to(device), places)
            for asker in (*by_name.values(), *watchers):
                asker.ask(look)
            for watcher in watchers:
                watcher.watch(look)
            observed = {name: one.observe(look).cpu() for name, one in by_name.items()}
            seen = Seen(places, look.logits.cpu(), look.features.cpu(), observed)
        yield seen


def _check_precision(classifier: Classifier) -> None:
    for name, parameter in classifier.named_parameters():
        if parameter.dtype not in _PRECISIONS:
            raise InputError(
                f"the network's {name} is {str(parameter.dtype).removeprefix('torch.')}, too coarse for the small "
                "steps and distances that detectors look at: call float() of the classifier first."
            )


def compute_outputs(
    classifier: Classifier,
    images: ImageSet,
    device: torch.device | str = "cpu",
    observers: Sequence[Observer] = (),
    watchers: Sequence[Watcher] = (),
) -> Outputs:
    """Run a classifier once over a set of images, and hold what that gives in memory; see `run_pass`.

    Returns:
        Outputs on the CPU, float32, with the images and what was observed.
    """
    parts = list(run_pass(classifier, images, device, observers, watchers))
    return Outputs(
        torch.cat([one.logits for one in parts]),
        torch.cat([one.features for one in parts]),
        images.labels,
        images=images,
        observed={name: torch.cat([one.observed[name] for one in parts]) for name in parts[0].observed},
    )
