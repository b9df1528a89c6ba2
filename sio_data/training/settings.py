"""What decides the weights that a training ends in, beside the data and the seed."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal, get_args

from sio_data.errors import InputError
from sio_data.recipe import MAX_IMAGE_SIZE
from sio_data.training.augmentation import check_augmentation
from sio_data.training.checkpoint import check_normalisation
from sio_data.training.methods import make_method
from sio_data.training.networks import check_network
from sio_data.training.objective import Mix, check_mix

Keep = Literal["last", "best"]
Precision = Literal["fp32", "bf16", "fp16"]

_MOST = 1_000_000  # epochs, and images in a batch: more is a mistake, and would not fit into memory


@dataclass(frozen=True)
class TrainingSettings:
    """The recipe of a training. The defaults are the paper's for CIFAR, but for network, epochs, augmentation and keep.

    Attributes:
        method: A training method, with parameters like `logitnorm:temperature=0.05`; see `sio_data.training.methods`.
        network: See `sio_data.training.networks`.
        alpha: Weight of the real loss, in (0, 1]; 1 without synthetic data.
        mix: How alpha is reached; see `sio_loss`.
        real_share: Share of real images in a batch, in (0, 1); None means alpha. Only `mix="loss"` may have another.
        every_real: Whether an epoch is as long as it takes to see every real image; see `MixedBatches`.
        epochs: Passes; see `every_real`.
        batch_size: Images in each update, over all ranks.
        outlier_batch_size: Outliers in each update, over all ranks, for methods that need them.
        learning_rate: At the start; per-step cosine to `last_rate`.
        last_rate: Learning rate at the end.
        momentum: Of SGD, in [0, 1).
        nesterov: Whether momentum follows Nesterov's rule.
        weight_decay: Of SGD.
        augmentation: See `sio_data.training.augmentation`.
        crop_size: Pixels that an augmentation crops images to; None keeps their size.
        label_smoothing: Share of each target that is spread over all classes, in [0, 1).
        clip_norm: Largest norm of a gradient, above 0; None does not clip.
        ema: Decay of the averaged weights that are judged and kept, in (0, 1); None keeps the trained ones.
        precision: `fp32`, `bf16` or `fp16` for the network's forward and backward pass; weights are float32 always.
        channels_last: Whether images and weights lie channels last in memory, which GPUs with tensor cores prefer.
        compile: Whether `torch.compile` compiles the step.
        keep: Which weights become the checkpoint: `last`, those of the last epoch; `best`, those with the highest
            validation accuracy, the later ones on a tie (the paper's rule). The others lie beside them. On a small
            validation split `best` hangs on one image, and then keeps weights from before the rate came down.
        mean: Per channel, of images in [0, 1]; None measures the real training images.
        std: The same for the standard deviation.

    Raises:
        InputError: A value is out of range.
        UnknownNameError: No such method, network or augmentation.
    """

    method: str = "ce"
    network: str = "convnet"
    alpha: float = 0.8
    mix: Mix = "batch"
    real_share: float | None = None
    every_real: bool = False
    epochs: int = 60
    batch_size: int = 128
    outlier_batch_size: int = 256
    learning_rate: float = 0.1
    last_rate: float = 1e-6
    momentum: float = 0.9
    nesterov: bool = True
    weight_decay: float = 5e-4
    augmentation: str = "crop"
    crop_size: int | None = None
    label_smoothing: float = 0.0
    clip_norm: float | None = None
    ema: float | None = None
    precision: Precision = "fp32"
    channels_last: bool = False
    compile: bool = False
    keep: Keep = "last"
    mean: Sequence[float] | None = None
    std: Sequence[float] | None = None

    def __post_init__(self) -> None:
        self._check_types()
        check_mix(self.mix)
        check_augmentation(self.augmentation)
        check_network(self.network)
        make_method(self.method)
        _check_word("keep", self.keep, get_args(Keep))
        _check_word("precision", self.precision, get_args(Precision))
        self._check_numbers()
        if self.real_share is not None and self.mix == "batch":
            raise InputError("real_share needs mix=loss: under mix=batch the share of real images is alpha.")
        if (self.mean is None) != (self.std is None):
            raise InputError("mean and std are given together, or neither.")
        if self.mean is not None:
            check_normalisation(self.mean, self.std)

    def _check_types(self) -> None:
        for name in ("method", "network", "mix", "augmentation", "keep", "precision"):
            if not isinstance(getattr(self, name), str):
                raise InputError(f"{name} must be a text, not {getattr(self, name)!r}.")
        for name in ("every_real", "nesterov", "channels_last", "compile"):
            if not isinstance(getattr(self, name), bool):
                raise InputError(f"{name} must be true or false, not {getattr(self, name)!r}.")

    def _check_numbers(self) -> None:
        _check_whole("epochs", self.epochs, 1, _MOST)
        _check_whole("batch_size", self.batch_size, 2, _MOST)
        _check_whole("outlier_batch_size", self.outlier_batch_size, 1, _MOST)
        if self.crop_size is not None:
            _check_whole("crop_size", self.crop_size, 1, MAX_IMAGE_SIZE)
        _check_number("alpha", self.alpha, "in (0, 1]", lambda value: 0 < value <= 1)
        _check_number("learning_rate", self.learning_rate, "above 0", lambda value: value > 0)
        _check_number("last_rate", self.last_rate, "from 0 to learning_rate", lambda v: 0 <= v <= self.learning_rate)
        _check_number("momentum", self.momentum, "in [0, 1)", lambda value: 0 <= value < 1)
        _check_number("weight_decay", self.weight_decay, "at least 0", lambda value: value >= 0)
        _check_number("label_smoothing", self.label_smoothing, "in [0, 1)", lambda value: 0 <= value < 1)
        if self.real_share is not None:
            _check_number("real_share", self.real_share, "in (0, 1)", lambda value: 0 < value < 1)
        if self.clip_norm is not None:
            _check_number("clip_norm", self.clip_norm, "above 0", lambda value: value > 0)
        if self.ema is not None:
            _check_number("ema", self.ema, "in (0, 1)", lambda value: 0 < value < 1)

    def rate(self, step: int, steps: int) -> float:
        """Give the learning rate of a step: half a cosine from `learning_rate` to `last_rate`.

        Args:
            step: From 0.
            steps: How many there are.
        """
        return self.last_rate + (self.learning_rate - self.last_rate) * 0.5 * (1 + math.cos(math.pi * step / steps))


def _check_word(name: str, value: object, known: Sequence[str]) -> None:
    if value not in known:
        raise InputError(f"{name} must be one of {', '.join(known)}, not {value!r}.")


def _check_whole(name: str, value: object, least: int, most: int) -> None:
    if type(value) is not int or not least <= value <= most:
        raise InputError(f"{name} must be a whole number from {least} to {most:,}, not {value!r}.")


def _check_number(name: str, value: object, allowed: str, fits: Callable[[float], bool]) -> None:
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value) or not fits(value):
        raise InputError(f"{name} must be a number {allowed}, not {value!r}.")
