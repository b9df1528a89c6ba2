"""What a generator back end is, and how one is found: by entry point, so that anybody's package can add one."""

from collections.abc import Mapping, Sequence
from importlib.metadata import EntryPoint, entry_points
from typing import Protocol

import torch

from sio_data.errors import SioDataError, UnknownNameError
from sio_data.recipe import Option

ENTRY_POINTS = "sio_data.generators"


class Generator(Protocol):
    """A class-conditional image generator.

    All noise of a sample comes from its own seed and is drawn on the CPU, so that noise and label do not depend on
    the batch, the device or the number of workers. Opening one is cheap: the network is read when `sample` is
    first called.

    Attributes:
        class_names: The generator's own class map, in its own order.
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


class Backend(Protocol):
    """What an entry point of the group `sio_data.generators` names: a class or function that opens a generator."""

    def __call__(
        self, weights: str, *, image_size: int | None, sampling: Mapping[str, str], device: str | None
    ) -> Generator:
        """Open a generator.

        Args:
            weights: A local folder or file, or a name on the Hub.
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
    image_size: int | None = None,
    sampling: Mapping[str, str] | None = None,
    device: str | None = None,
) -> Generator:
    """Open the generator of a back end; for the arguments see `Backend`.

    Raises:
        UnknownNameError: No installed package has a back end of that name.
        InputError: The back end cannot do what is asked.
    """
    found = {point.name: point for point in entry_points(group=ENTRY_POINTS)}
    if name not in found:
        raise UnknownNameError("generator", name, sorted(found))
    backend = _import_backend(found[name])
    return backend(weights, image_size=image_size, sampling=sampling or {}, device=device)


def _import_backend(point: EntryPoint) -> Backend:
    try:
        backend: Backend = point.load()
    except ImportError as error:
        owner = point.dist.name if point.dist else "its package"
        raise SioDataError(f"generator {point.name!r} of {owner} cannot be imported: {error}.") from error
    return backend
