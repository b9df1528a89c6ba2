"""Back end `exported`: any generator that `torch.export.save` wrote, with the signature `(z, labels) -> images`."""

import math
from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import torch

from sio_data.backend import About, check_size, read_options, resize, seeded_noise, to_uint8
from sio_data.class_lists import expand_classes
from sio_data.device import pick_device
from sio_data.errors import InputError, UnknownNameError
from sio_data.files import read_json, sha256_file, sha256_json

from .pt2 import Program, TensorInfo

_ENTRIES = ("classes", "range", "z", "licence", "citation")


class ExportedGenerator:
    """Draw images with an exported program; see `sio_data.generator.Generator`.

    The program takes z (normal noise, float [B, ...]) and labels (int [B]) and gives images [B, 3, H, H], float or
    uint8. Beside `NAME.pt2` lies `NAME.json`: `classes` (names in the order of the labels, or a group like
    `["cifar10"]`) and `range` (the values of black and white, like `[-1, 1]`); it may state `licence`, `citation` and
    `z` (the noise's shape without the batch, to be compared with the program's).

    The revision is a hash of the program, the classes and the range, which decide the images. At first use two samples
    are drawn together and alone; a program whose images depend on the batch is refused.

    A program with a fixed batch is fed in pieces of that size, the last one filled up. How the file is kept from
    running code is told in `sio_data.generators.pt2.Program` and `sio_data.generators.aten_operators`.

    Args:
        weights: The `.pt2` file.
        image_size: None, or the size wanted, up to the program's own.
        sampling: No options are known.
        device: Where to run, wherever it was exported; None means the best device at hand.

    Raises:
        InputError: One of the files is missing or damaged, or the program is no such generator.
    """

    about = About(
        weights="a .pt2 file of torch.export.save, with a .json beside it",
        classes="those that the .json names",
        sizes="the program's own, or smaller",
        licence="as the .json says",
    )

    def __init__(
        self,
        weights: str,
        *,
        classes: Sequence[str] | None = None,
        image_size: int | None = None,
        sampling: Mapping[str, str] | None = None,
        device: str | None = None,
    ) -> None:
        path = Path(weights)
        if path.suffix != ".pt2" or not path.is_file():
            raise InputError(f"weights {weights!r}: no such .pt2 file. Write one with torch.export.save.")
        self.sampling = read_options("exported", self.about.options, sampling or {})
        self._device = pick_device(device)
        card_file = path.with_suffix(".json")
        card = _read_card(card_file)
        self._program = Program(path)
        self._noise, own_size = _check_signature(self._program, path)
        if "z" in card and card["z"] != [*self._noise.shape]:
            raise InputError(f"{card_file}: z is {card['z']}, but the program takes {[*self._noise.shape]}.")
        self._range: tuple[float, float] = tuple(card["range"])
        self.class_names = expand_classes(card["classes"])
        self.image_size = check_size("exported", image_size, own_size)
        self.licence: str = card.get("licence", "unknown")
        self.citation: str = card.get("citation", "")
        self.revision = sha256_json(
            {"program": sha256_file(path), "classes": self.class_names, "range": [float(end) for end in self._range]}
        )

    @cached_property
    def _weights(self) -> list[torch.Tensor | None]:
        return self._program.load(self._device)

    @cached_property
    def _is_checked(self) -> bool:
        """Draw two samples together and alone, once.

        Raises:
            InputError: Their images differ, so that a sample would depend on those that happen to be drawn with it.
        """
        noise, labels = seeded_noise(self._noise.shape, [0, 1]), torch.tensor([0, len(self.class_names) - 1])
        if self._program.batch[1] > 1:
            alone = torch.cat([self._draw(noise[i : i + 1], labels[i : i + 1]) for i in range(2)])
            difference = int((self._draw(noise, labels).int() - alone.int()).abs().max())
            if difference > 1:
                raise InputError(
                    f"the program mixes the images of a batch: one alone differs by {difference} of 255 levels. "
                    "Export it without statistics of the batch."
                )
        return True

    def sample(self, labels: torch.Tensor, seeds: Sequence[int]) -> torch.Tensor:
        """Make one image for each label; see `sio_data.generator.Generator.sample`."""
        _ = self._is_checked
        noise = seeded_noise(self._noise.shape, seeds)
        size = int(min(self._program.batch[1], len(seeds)))
        pieces = zip(noise.split(size), labels.cpu().split(size), strict=True)
        return torch.cat([self._draw(z, names) for z, names in pieces])

    def _draw(self, noise: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        """Run the program on one batch, filled up to the smallest that it takes."""
        count = len(labels)
        places = torch.arange(max(count, self._program.batch[0])) % count
        inputs = [
            tensor[places].to(self._device, info.dtype)
            for tensor, info in zip((noise, labels), self._program.inputs, strict=True)
        ]
        (images,) = self._program.run(self._weights, inputs, self._device)
        shape = (len(places), *self._program.outputs[0].shape)
        if not isinstance(images, torch.Tensor) or images.shape != shape:
            raise InputError(f"the program gave {_brief(images)}, where it promised images {list(shape)}.")
        low, high = self._range
        scaled = (images[:count].float() - low) / (high - low) * 2 - 1
        return resize(to_uint8(scaled), self.image_size)


def _brief(value: object) -> str:
    return f"a tensor {list(value.shape)}" if isinstance(value, torch.Tensor) else f"a {type(value).__name__}"


def _check_signature(program: Program, path: Path) -> tuple[TensorInfo, int]:
    """Compare a program to `(z, labels) -> images`, and give what it says of z, and the images' size."""
    match program.inputs:
        case [noise, labels] if (
            noise.dtype.is_floating_point and labels.dtype in (torch.int32, torch.int64) and not labels.shape
        ):
            pass
        case other:
            raise InputError(f"{path} takes {_list(other)}, not z (float [B, ...]) and labels (int64 [B]).")
    match program.outputs:
        case [TensorInfo(dtype, (3, height, width))] if height == width and (
            dtype.is_floating_point or dtype == torch.uint8
        ):
            return noise, height
        case other:
            raise InputError(f"{path} gives {_list(other)}, not images (float or uint8 [B, 3, H, H]).")


def _list(infos: Sequence[TensorInfo]) -> str:
    return ", ".join(f"{str(i.dtype).removeprefix('torch.')} {['B', *i.shape]}" for i in infos) or "nothing"


def _read_card(file: Path) -> dict[str, Any]:
    card = read_json(file)
    unknown = [entry for entry in card if entry not in _ENTRIES]
    if unknown:
        raise UnknownNameError(f"entry of {file}", unknown[0], _ENTRIES)
    names = card.get("classes")
    if not isinstance(names, list) or not names or not all(isinstance(name, str) and name for name in names):
        raise InputError(f"{file}: classes must be a list of names, in the order of the labels.")
    match card.get("range"):
        case [int() | float() as low, int() | float() as high] if low < high and math.isfinite(high - low):
            pass
        case other:
            raise InputError(f"{file}: range must be the values of black and white, like [-1, 1], not {other!r}.")
    for entry in ("licence", "citation"):
        if not isinstance(card.get(entry, ""), str):
            raise InputError(f"{file}: {entry} must be a text.")
    return card
