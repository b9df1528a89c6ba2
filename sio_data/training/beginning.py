"""What a training begins with: data that fit together, and fresh weights."""

from collections.abc import Iterator
from dataclasses import dataclass, replace

import torch
from torch import nn

from sio_data.errors import InputError
from sio_data.image_set import ImageSet
from sio_data.streaming import StreamedSet
from sio_data.training.checkpoint import Classifier
from sio_data.training.methods import make_method
from sio_data.training.methods.base import Method
from sio_data.training.networks import own_normalisation
from sio_data.training.ranks import Ranks
from sio_data.training.settings import TrainingSettings

_PIXELS_AT_ONCE = 1000
_IMAGES_FOR_SPREAD = 10_000


@dataclass(frozen=True)
class TrainingData:
    """The images of a training.

    Attributes:
        real: Real training images.
        val: Real validation images in the same class map.
        synthetic: Synthetic images, or None for the baseline.
        outliers: Images of no known class, for methods that need them.

    Raises:
        InputError: The validation images or the outliers are of another size than the real ones.
    """

    real: ImageSet | StreamedSet
    val: ImageSet
    synthetic: ImageSet | StreamedSet | None = None
    outliers: ImageSet | StreamedSet | None = None

    def __post_init__(self) -> None:
        for images in (self.val, self.outliers):
            if images is not None and images.image_size != self.real.image_size:
                raise InputError(
                    f"{images.name} has images of {images.image_size} pixels, {self.real.name} of "
                    f"{self.real.image_size}; load all with the same image size (--image-size)."
                )


def place(data: TrainingData, device: torch.device) -> TrainingData:
    """Put the images where the training runs, if they take at most half of the memory that is free there."""
    held = {name: images for name, images in vars(data).items() if isinstance(images, ImageSet)}
    if device.type != "cuda" or isinstance(data.real, StreamedSet):  # batches are mixed where the real images are
        return data
    free, _ = torch.cuda.mem_get_info(device)
    if sum(images.images.nbytes for images in held.values()) > free // 2:
        return data
    return replace(data, **{name: images.to(device) for name, images in held.items()})


def begin(
    settings: TrainingSettings, data: TrainingData, seed: int, device: torch.device
) -> tuple[Classifier, Method, nn.Module]:
    """Make a classifier, the method and its state on the device; what is not pretrained is drawn from the seed alone.

    Where the settings do not say how to normalise, it is done as a pretrained network expects, or by the real images.

    Raises:
        InputError: The data do not fit the settings.
    """
    method = make_method(settings.method)
    if method.needs_outliers and data.outliers is None:
        raise InputError(f"the method {settings.method} trains on outliers, too: give a source (--outliers).")
    if settings.mean and settings.std:
        mean, std = settings.mean, settings.std
    else:
        mean, std = own_normalisation(settings.network) or measure_spread(data.real)
    size = settings.crop_size or data.real.image_size
    if size > data.real.image_size:
        raise InputError(f"crop_size {size} is larger than the images of {data.real.image_size} pixels (--image-size).")
    side_heads = method.side_heads(len(data.real.class_names))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        classifier = Classifier(
            settings.network, data.real.class_names, size, mean, std, method.head, side_heads, data.real.image_size
        )
        state = method.state(len(data.real.class_names), classifier.network.feature_dim)
    if settings.channels_last:
        classifier = classifier.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    return classifier.to(device), method, state.to(device)


def measure_spread(images: ImageSet | StreamedSet) -> tuple[list[float], list[float]]:
    """Give mean and standard deviation of each channel, of pixels in [0, 1], over at most 10,000 images."""
    count = min(len(images), _IMAGES_FOR_SPREAD)
    total, squares, pixels = (torch.zeros(3, dtype=torch.float64) for _ in range(3))
    for part, _ in images.read(torch.arange(count).split(_PIXELS_AT_ONCE), seed=0):
        values = part.cpu().double().div_(255)
        total += values.sum((0, 2, 3))
        squares += values.square().sum((0, 2, 3))
        pixels += values[:, 0].numel()
    mean = total / pixels
    std = (squares / pixels - mean.square()).clamp(min=0).sqrt()
    return [round(value, 4) for value in mean.tolist()], [max(round(value, 4), 1e-4) for value in std.tolist()]


def outlier_batches(
    settings: TrainingSettings, outliers: ImageSet | StreamedSet | None, seed: int, first: int, last: int, ranks: Ranks
) -> Iterator[torch.Tensor | None]:
    """Give this rank's outliers for the steps `first` to `last` - 1 of an epoch; None for each without outliers.

    Args:
        settings: The recipe.
        outliers: Their images.
        seed: Of this epoch.
        first: From 0.
        last: How many steps the epoch has.
        ranks: The processes that train together.
    """
    if outliers is None:
        yield from (None for _ in range(first, last))
        return
    size = settings.outlier_batch_size
    places = [torch.arange(step * size, (step + 1) * size)[ranks.rank :: ranks.world] for step in range(first, last)]
    yield from (images for images, _ in outliers.read(places, seed))
