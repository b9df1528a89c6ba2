"""The training loop: data, loss, step and schedule on one screen."""

import copy
import math
from dataclasses import dataclass, field
from typing import Any, Literal, get_args

import torch
import torch.nn.functional as F

from sio_data.errors import InputError, SioDataError
from sio_data.image_set import ImageSet
from sio_data.mixing import MixedBatches, check_alpha
from sio_data.progress import progress
from sio_data.training.augmentation import augment, check_augmentation
from sio_data.training.checkpoint import Classifier
from sio_data.training.networks import check_network, own_normalisation
from sio_data.training.objective import Mix, check_mix, sio_loss

Keep = Literal["last", "best"]

_LAST_RATE = 1e-6
_EVALUATION_BATCH = 500


@dataclass(frozen=True)
class TrainingSettings:
    """What decides the trained weights, beside data and seed. The defaults are the paper's, but for epochs and keep.

    Attributes:
        network: See `sio_data.training.networks`.
        alpha: Weight of the real loss, in (0, 1]; 1 without synthetic data.
        mix: How alpha is reached; see `sio_loss`.
        epochs: Of `ceil(N_real / batch_size)` updates.
        batch_size: Images in each update.
        learning_rate: At the start; per-step cosine to 1e-6.
        momentum: Of SGD with Nesterov's rule.
        weight_decay: Of SGD.
        augmentation: See `sio_data.training.augmentation`.
        keep: Which weights: `last`, those of the last epoch; `best`, those with the highest validation accuracy, the
            later ones on a tie (the paper's rule). On a small validation split `best` hangs on one image, and then
            keeps weights from before the rate came down.
    """

    network: str = "convnet"
    alpha: float = 0.8
    mix: Mix = "batch"
    epochs: int = 60
    batch_size: int = 128
    learning_rate: float = 0.1
    momentum: float = 0.9
    weight_decay: float = 5e-4
    augmentation: str = "crop"
    keep: Keep = "last"

    def __post_init__(self) -> None:
        check_alpha(self.alpha)
        check_mix(self.mix)
        check_augmentation(self.augmentation)
        check_network(self.network)
        if self.keep not in get_args(Keep):
            raise InputError(f"keep must be one of {', '.join(get_args(Keep))}, not {self.keep!r}.")
        if self.epochs < 1:
            raise InputError(f"epochs must be at least 1, not {self.epochs}.")
        if self.batch_size < 2:
            raise InputError(f"batch_size must be at least 2 (batch normalisation), not {self.batch_size}.")
        if not 0 < self.learning_rate < math.inf or not 0 <= self.momentum < 1 or not 0 <= self.weight_decay < math.inf:
            raise InputError("learning_rate must be above 0, momentum in [0, 1), weight_decay at least 0.")


@dataclass
class Trained:
    """A finished run.

    Attributes:
        classifier: With the weights that are kept, on the CPU.
        epoch: The epoch they are from, counted from 1.
        accuracy: Share of the validation images that they get right, in [0, 1].
        history: Mean loss and validation accuracy of each epoch.
    """

    classifier: Classifier
    epoch: int = 0
    accuracy: float = -1.0
    history: list[dict[str, float]] = field(default_factory=list)


def train_run(
    settings: TrainingSettings,
    real: ImageSet,
    val: ImageSet,
    synthetic: ImageSet | None,
    seed: int,
    device: torch.device,
) -> Trained:
    """Train one classifier.

    Args:
        settings: See there.
        real: Real training images.
        val: Real validation images.
        synthetic: Synthetic images, or None for the baseline.
        seed: Of the initial weights, the batches and the augmentation.
        device: Where to train.

    Raises:
        SioDataError: The loss became NaN or infinite.
        InputError: The data do not fit together; see `MixedBatches`.
    """
    batches = MixedBatches(real, synthetic, batch_size=settings.batch_size, alpha=settings.alpha, seed=seed)
    model = _new_classifier(settings, real, seed).to(device)
    optimizer = torch.optim.SGD(
        model.parameters(),
        settings.learning_rate,
        momentum=settings.momentum,
        nesterov=settings.momentum > 0,
        weight_decay=settings.weight_decay,
    )
    steps = settings.epochs * len(batches)
    kept = Trained(model)
    weights: dict[str, Any] = {}
    with progress(f"training, seed {seed}", settings.epochs) as advance:
        for epoch in range(settings.epochs):
            generator = torch.Generator().manual_seed((seed * 1_000_003 + epoch + 2**31) % 2**32)
            total = 0.0
            for number, batch in enumerate(batches.epoch(epoch)):
                _set_rate(optimizer, settings.learning_rate, epoch * len(batches) + number, steps)
                images = augment(batch.images.to(device), settings.augmentation, generator)
                losses = F.cross_entropy(model.train()(images), batch.labels.to(device), reduction="none")
                loss = sio_loss(losses, batch.is_synthetic.to(device), settings.alpha, settings.mix)
                optimizer.zero_grad(set_to_none=True)
                loss.backward()
                optimizer.step()
                total += loss.item()
            mean_loss = total / len(batches)
            if not math.isfinite(mean_loss):
                raise SioDataError(f"the loss became {mean_loss} in epoch {epoch + 1}; give a lower learning rate.")
            accuracy = measure_accuracy(model, val, device)
            kept.history.append({"loss": mean_loss, "val_accuracy": accuracy})
            if settings.keep == "last" or accuracy >= kept.accuracy:
                kept.epoch, kept.accuracy = epoch + 1, accuracy
                weights = copy.deepcopy(model.state_dict())
            advance(1, f"loss {mean_loss:.3f}, accuracy {accuracy:.1%}")
    model.load_state_dict(weights)
    kept.classifier = model.cpu().eval()
    return kept


@torch.inference_mode()
def measure_accuracy(model: Classifier, images: ImageSet, device: torch.device) -> float:
    """Give the share of images whose class is right, in [0, 1]."""
    model.eval()
    parts = images.images.split(_EVALUATION_BATCH)
    predicted = torch.cat([model(part.to(device)).argmax(1).cpu() for part in parts])
    return float((predicted == images.labels).double().mean())


def _new_classifier(settings: TrainingSettings, real: ImageSet, seed: int) -> Classifier:
    """Build a classifier with weights from the seed alone, or from a pretrained network.

    It normalises as that network expects, otherwise by the real training images.
    """
    mean, std = own_normalisation(settings.network) or _measure_normalisation(real)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return Classifier(settings.network, real.class_names, real.image_size, mean, std)


def _measure_normalisation(real: ImageSet) -> tuple[list[float], list[float]]:
    pixels = real.images.float().div_(255)
    mean = [round(value, 4) for value in pixels.mean((0, 2, 3)).tolist()]
    return mean, [max(round(value, 4), 1e-4) for value in pixels.std((0, 2, 3)).tolist()]


def _set_rate(optimizer: torch.optim.Optimizer, first: float, step: int, steps: int) -> None:
    """Per-step cosine from the first rate to 1e-6."""
    rate = _LAST_RATE + (first - _LAST_RATE) * 0.5 * (1 + math.cos(math.pi * step / steps))
    for group in optimizer.param_groups:
        group["lr"] = rate
