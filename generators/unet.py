"""Back end `unet`: the class-conditional U-Net that `sio-data fit` trains."""

from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path

import torch

from sio_data.backend import About, Number, read_licence, read_options, seeded_generators, to_uint8
from sio_data.device import pick_device
from sio_data.errors import InputError
from sio_data.files import read_json
from sio_data.fitting import hash_weights, require_fitted
from sio_data.fitting.pipeline import (
    DEFAULT_GUIDANCE,
    DEFAULT_STEPS,
    ClassConditionalPipeline,
    load_pipeline,
    read_class_map,
)
from sio_data.safe_loading import check_weights


class UNetGenerator:
    """Draw images with a U-Net folder; see `sio_data.generator.Generator`.

    Sampling options: `steps` (of DDIM, default 20) and `guidance` (classifier-free, 1 = none, default 1).

    Args:
        weights: A folder that `sio-data fit` made.
        image_size: None, or the size that the U-Net was trained for.
        sampling: Options as text.
        device: Where to run; None means the best device at hand.

    Raises:
        InputError: The folder is no such generator, or the size or an option cannot be had.
    """

    citation = ""
    about = About(
        weights="a folder that `sio-data fit` made",
        classes="those it was trained on",
        sizes="the one it was trained for",
        licence="that of the training images",
        options={"steps": Number(DEFAULT_STEPS, 1, 1000), "guidance": Number(DEFAULT_GUIDANCE, 0, 100)},
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
        self._folder = Path(weights)
        if not self._folder.is_dir():
            raise InputError(f"weights {weights!r}: no such folder. Train a generator with: sio-data fit.")
        if not (self._folder / "model_index.json").is_file():
            raise InputError(f"weights {weights!r}: no generator folder, it holds no model_index.json.")
        require_fitted(self._folder)
        check_weights(self._folder / "unet")
        self._device = pick_device(device)
        self.class_names = tuple(read_class_map(self._folder).values())
        self.image_size = _read_size(self._folder / "unet" / "config.json")
        if image_size not in (None, self.image_size):
            raise InputError(
                f"generator {weights!r} makes images of {self.image_size} pixels, not {image_size}. "
                f"Train one with: sio-data fit --image-size {image_size}."
            )
        self.sampling = read_options("unet", self.about.options, sampling or {})
        self.revision = hash_weights(self._folder)
        self.licence = read_licence(self._folder / "README.md")

    @cached_property
    def _pipeline(self) -> ClassConditionalPipeline:
        return load_pipeline(self._folder, self._device)

    def sample(self, labels: torch.Tensor, seeds: Sequence[int]) -> torch.Tensor:
        """Make one image for each label; see `sio_data.generator.Generator.sample`."""
        steps, guidance = int(self.sampling["steps"]), float(self.sampling["guidance"])
        return to_uint8(self._pipeline.denoise(labels, seeded_generators(seeds), steps, guidance))


def _read_size(config: Path) -> int:
    size = read_json(config).get("sample_size")
    if type(size) is not int or size < 1:
        raise InputError(f"{config}: sample_size must be a number of pixels, not {size!r}.")
    return size
