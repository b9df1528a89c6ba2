"""What a generator back end is, and how one is found: by entry point, so that anybody's package can add one."""

from collections.abc import Mapping, Sequence
from importlib.metadata import EntryPoint, entry_points
from typing import Protocol, runtime_checkable

import torch

from sio_data.backend import About
from sio_data.errors import SioDataError, UnknownNameError
from sio_data.recipe import Option

ENTRY_POINTS = "sio_data.generators"


class Generator(Protocol):
    """An image generator.

    All noise of a sample comes from its own seed and is drawn on the CPU, so that noise and label do not depend on
    the batch, the device or the number of workers. Opening one is cheap: the network is read when `sample` is
    first called.

    Attributes:
        class_names: The generator's own class map, in its own order. A name may stand there several times: the images
            of that class are then drawn from its places in turn (say, one place for each prompt template).
        image_size: Height and width of what `sample` gives, in pixels.
        revision: SHA-256 of local weights, or the commit on the Hub.
        sampling: All sampling options with the values in force.
        licence: Licence of the weights, an SPDX name in lower case, or `unknown`.
        citation: How to cite the generator; may be empty.
    """

    class_names: Sequence[str]
    image_size: int
    revision: str
    sampling: Mapping[str, Option]
    licence: str
    citation: str

    def sample(self, labels: torch.Tensor, seeds: Sequence[int]) -> torch.Tensor:
        """Make one image for each label.

        Args:
            labels: int64 [B], indices into `class_names`.
            seeds: B numbers in [0, 2**32).

        Returns:
            uint8 [B, 3, image_size, image_size], RGB, on any device.
        """
        ...


@runtime_checkable
class JudgingGenerator(Generator, Protocol):
    """A generator some of whose draws are refused: a blacked-out image, or one that a classifier is not sure of.

    A refused sample is drawn again with another seed of the plan; the seed that made the accepted image is recorded.

    Attributes:
        conditional: Whether `sample` heeds its labels. If not, `judge` says which class an image is of, and images
            are spread over the samples of their class that are still open.
        patience: How many draws in a row may go by without an accepted one.
    """

    conditional: bool
    patience: int

    def judge(self, images: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        """Say what each image shows.

        Args:
            images: uint8 [B, 3, H, W], as `sample` gave them.
            labels: int64 [B], those that `sample` was given.

        Returns:
            int64 [B] on the CPU: the image's class, an index into `class_names`, or -1 to have it drawn again.
        """
        ...

    def explain(self) -> str:
        """Say what is usually wrong when no draw is accepted any more, and what to do."""
        ...


class Backend(Protocol):
    """What an entry point of the group `sio_data.generators` names: a class or function that opens a generator.

    Attributes:
        about: What `sio-data generators` tells of it.
    """

    about: About

    def __call__(
        self,
        weights: str,
        *,
        classes: Sequence[str] | None,
        image_size: int | None,
        sampling: Mapping[str, str],
        device: str | None,
    ) -> Generator:
        """Open a generator.

        Args:
            weights: A local folder or file, or a name on the Hub.
            classes: The classes that the user named; None means all. For back ends that draw any class, and for
                weights that carry no names; the others may leave it aside.
            image_size: Size asked for; None means the generator's own.
            sampling: Options by name, as text; the back end parses them.
            device: Where to run; None means the best device at hand.

        Raises:
            InputError: It cannot do what is asked.
        """
        ...


def open_generator(
    name: str,
    weights: str,
    *,
    classes: Sequence[str] | None = None,
    image_size: int | None = None,
    sampling: Mapping[str, str] | None = None,
    device: str | None = None,
) -> Generator:
    """Open the generator of a back end; for the arguments see `Backend`.

    Raises:
        UnknownNameError: No installed package has a back end of that name.
        InputError: The back end cannot do what is asked.
    """
    backend = find_backend(name)
    return backend(weights, classes=classes, image_size=image_size, sampling=sampling or {}, device=device)


def backend_names() -> list[str]:
    """List the back ends of all installed packages."""
    return sorted({point.name for point in entry_points(group=ENTRY_POINTS)})


def find_backend(name: str) -> Backend:
    """Import a back end.

    Raises:
        UnknownNameError: No installed package has one of that name.
        SioDataError: Its package cannot be imported.
    """
    found = {point.name: point for point in entry_points(group=ENTRY_POINTS)}
    if name not in found:
        raise UnknownNameError("generator", name, sorted(found))
    return _import_backend(found[name])


def _import_backend(point: EntryPoint) -> Backend:
    try:
        backend: Backend = point.load()
    except ImportError as error:
        owner = point.dist.name if point.dist else "its package"
        raise SioDataError(f"generator {point.name!r} of {owner} cannot be imported: {error}.") from error
    return backend
