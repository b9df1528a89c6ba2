"""One training on its way: what it has learnt, where it is, and what is random about its next step."""

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import torch

from sio_data.errors import SioDataError
from sio_data.mixing import Batch, MixedBatches
from sio_data.shuffling import derive_seed
from sio_data.training.accuracy import measure_accuracy
from sio_data.training.augmentation import augment
from sio_data.training.beginning import TrainingData, begin, outlier_batches
from sio_data.training.checkpoint import Classifier
from sio_data.training.learner import Learner
from sio_data.training.methods.base import TrainingBatch, prepare_batch
from sio_data.training.ranks import Ranks
from sio_data.training.settings import Keep, TrainingSettings
from sio_data.training.state import Position, Saver

_BEST = "best."
_TOO_FAST = "give a lower learning rate."
_OUTLIERS, _DRAWS = 1, 2  # what a seed is for: no two of them share their random numbers


@dataclass
class Trained:
    """A finished run.

    Attributes:
        classifier: In evaluation mode, on the CPU, with the weights that `settings.keep` asks for.
        weights: Those of the last and of the best epoch.
        history: Mean loss and validation accuracy of each epoch.
        epoch: The epoch of the kept weights, counted from 1.
        accuracy: Share of the validation images that they get right, in [0, 1].
    """

    classifier: Classifier
    weights: dict[Keep, dict[str, torch.Tensor]]
    history: list[dict[str, float]]
    epoch: int
    accuracy: float

    def use(self, which: Keep) -> Classifier:
        """Give the classifier with the weights of the last or of the best epoch."""
        self.classifier.load_state_dict(self.weights[which])
        return self.classifier


class Run:
    """A training, from its beginning or from its saved state.

    Args:
        settings: The recipe.
        data: The images.
        seed: Of the initial weights, the batches and all draws.
        device: Where to train.
        ranks: The processes that train together.
        saver: Where the state is saved.
    """

    def __init__(
        self,
        settings: TrainingSettings,
        data: TrainingData,
        seed: int,
        device: torch.device,
        ranks: Ranks,
        saver: Saver,
    ) -> None:
        self._settings, self._data, self._seed, self._device, self._ranks = settings, data, seed, device, ranks
        classifier, self._method, self._method_state = begin(settings, data, seed, device)
        self.learner = Learner(settings, classifier, self._method, self._method_state, ranks)
        self.position, tensors = saver.restore(device)
        self._best = {name.removeprefix(_BEST): value for name, value in tensors.items() if name.startswith(_BEST)}
        if tensors:
            with saver.clear_errors():
                self.learner.load({name: value for name, value in tensors.items() if not name.startswith(_BEST)})
                self.learner.load_scale(self.position.scale)
        self._total = torch.tensor(self.position.total, dtype=torch.float64, device=device)

    def epoch(self, batches: MixedBatches) -> Iterator[tuple[Batch, torch.Tensor | None]]:
        """Give what is left of this epoch: each mixed batch with its outliers, if the method takes any."""
        number, start = self.position.epoch, self.position.step
        wanted = self._data.outliers if self._method.needs_outliers else None
        seed = derive_seed(self._seed, number, 0, _OUTLIERS)
        outliers = outlier_batches(self._settings, wanted, seed, start, len(batches), self._ranks)
        return zip(batches.epoch(number, start), outliers, strict=True)

    def prepare(self, batch: Batch, outliers: torch.Tensor | None, progress: float) -> TrainingBatch:
        """Augment a batch and let the method change it. What is drawn depends on (seed, epoch, step, rank) alone."""
        seed = derive_seed(self._seed, self.position.epoch, self.position.step, _DRAWS + self._ranks.rank)
        torch.manual_seed(seed)  # for the network: dropout
        generator = torch.Generator().manual_seed(seed)
        prepared = TrainingBatch(
            self._augment(batch.images, generator),
            batch.labels.to(self._device, non_blocking=True),
            batch.is_synthetic.to(self._device, non_blocking=True),
            None if outliers is None else self._augment(outliers, generator),
            smoothing=self._settings.label_smoothing,
        )
        return prepare_batch(self._method, prepared, self._method_state, generator, progress)

    def _augment(self, images: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
        settings = self._settings
        images = augment(
            images.to(self._device, non_blocking=True), settings.augmentation, generator, settings.crop_size
        )
        layout = torch.channels_last if settings.channels_last else torch.contiguous_format
        return images.to(torch.float32, memory_format=layout).div_(255)

    def count(self, loss: torch.Tensor) -> None:
        """Count a step that is done."""
        self._total += loss
        self.position.step += 1

    def finish_epoch(self) -> dict[str, float]:
        """Judge the epoch that is done, and go on to the next.

        Returns:
            Its number, counted from 1, its mean loss and its validation accuracy.

        Raises:
            SioDataError: The loss became NaN or infinite.
        """
        position = self.position
        self._check_loss()
        mean_loss = self._total.item() / position.step
        self._ranks.make_same(self.learner.classifier.buffers())  # batch norm has seen each rank's own part
        accuracy = measure_accuracy(self.learner.classifier, self._data.val, self._device, self._ranks)
        if accuracy >= max((row["val_accuracy"] for row in position.history), default=0.0):
            self._best = {name: value.clone() for name, value in self.learner.classifier.state_dict().items()}
        position.history.append({"loss": mean_loss, "val_accuracy": accuracy})
        position.epoch, position.step = position.epoch + 1, 0
        self._total.zero_()
        return {"epoch": position.epoch, **position.history[-1]}

    def state(self) -> tuple[Position, dict[str, torch.Tensor]]:
        """Give what has to be saved to go on from here.

        Raises:
            SioDataError: The loss or a weight became NaN or infinite.
        """
        self._check_loss()
        tensors = self.learner.tensors()
        self._check_weights(tensors)
        self.position.total, self.position.scale = self._total.item(), self.learner.scale()
        return self.position, tensors | {_BEST + name: value for name, value in self._best.items()}

    def _check_loss(self) -> None:
        """All ranks know the same loss, and raise alike."""
        if not math.isfinite(total := self._total.item()):
            raise SioDataError(f"the loss became {total} in epoch {self.position.epoch + 1}; {_TOO_FAST}")

    def _check_weights(self, tensors: Mapping[str, torch.Tensor]) -> None:
        if not all(bool(tensor.isfinite().all()) for tensor in tensors.values()):
            raise SioDataError(f"the weights became NaN or infinite in epoch {self.position.epoch + 1}; {_TOO_FAST}")

    def trained(self) -> Trained:
        """Give what the finished training ended in.

        Raises:
            SioDataError: The weights became NaN or infinite.
        """
        classifier = self.learner.classifier
        weights: dict[Keep, dict[str, torch.Tensor]] = {
            "last": {name: value.detach().cpu().clone() for name, value in classifier.state_dict().items()},
            "best": {name: value.cpu() for name, value in self._best.items()},
        }
        self._check_weights(weights["last"])
        accuracies = [row["val_accuracy"] for row in self.position.history]
        best = max(range(len(accuracies)), key=lambda epoch: (accuracies[epoch], epoch))
        epoch = best if self._settings.keep == "best" else len(accuracies) - 1
        classifier = classifier.cpu().eval()
        classifier.load_state_dict(weights[self._settings.keep])
        return Trained(classifier, weights, self.position.history, epoch + 1, accuracies[epoch])
