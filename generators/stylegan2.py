"""Back end `stylegan2`: StyleGAN2-ADA networks as NVlabs' PyTorch code saves them."""

from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path

import numpy as np
import torch

from sio_data.backend import (
    About,
    Choice,
    Number,
    check_size,
    name_classes,
    read_options,
    resize,
    seeded_generators,
    to_uint8,
)
from sio_data.device import pick_device
from sio_data.errors import InputError
from sio_data.files import sha256_file

from .nvlabs_pickle import PickledNetwork, read_network
from .stylegan2_config import read_config
from .stylegan2_network import NetworkConfig, StyleGAN2


class StyleGAN2Generator:
    """Draw images with a StyleGAN2-ADA network; see `sio_data.generator.Generator`.

    The code in the file is not run: its weights are read into a network of ours, in float32.

    Sampling options: `truncation` (psi of the truncation trick; 1 = none, the default, smaller means more typical and
    less varied images) and `noise` (`const`, the default: the maps stored with the weights; `random`: fresh ones from
    each sample's seed; `none`).

    Latents are drawn with NumPy as the original's `generate.py` does: a seed shows the image that
    `generate.py --seeds=<seed> --trunc=<truncation> --noise-mode=<noise>` shows, unless noise is random.

    Args:
        weights: A local `.pkl` file.
        classes: Names for the classes, in the weights' order: the file has none.
        image_size: None, or the network's size, or a smaller one.
        sampling: Options as text.
        device: Where to run; None means the best device at hand.

    Raises:
        InputError: The file is no such network, or the size or an option cannot be had.
    """

    citation = (
        "Karras et al., Training Generative Adversarial Networks with Limited Data, NeurIPS 2020, arXiv 2006.06676."
    )
    about = About(
        weights="a local .pkl file of StyleGAN2-ADA (PyTorch)",
        classes="those it was trained on, numbered or named by --class in their order; without classes, one",
        sizes="the network's own, 4 to 1024, or smaller",
        licence="Nvidia Source Code License: research and evaluation only",
        options={"truncation": Number(1.0, 0, 2), "noise": Choice("const", ("const", "random", "none"))},
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
        path = _find_file(weights)
        self.sampling = read_options("stylegan2", self.about.options, sampling or {})
        self._device = pick_device(device)
        self._pickled = read_network(path, "G_ema")
        try:
            self._config = read_config(self._pickled)
            _check_tensors(self._config, self._pickled)
        except InputError as error:
            raise InputError(f"{path}: {error}") from error
        self._path = path
        self.class_names = _name_classes(self._config.c_dim, classes)
        self.image_size = check_size("this stylegan2 network", image_size, self._config.image_size)
        self.revision = sha256_file(path)
        self.licence = "other"

    @cached_property
    def _network(self) -> StyleGAN2:
        try:
            tensors = {name: tensor.load() for name, tensor in self._pickled.tensors.items()}
        except InputError as error:
            raise InputError(f"{self._path}: {error}") from error
        network = _empty_network(self._config)
        network.load_state_dict(tensors, assign=True)
        return network.to(self._device).eval()

    @torch.inference_mode()
    def sample(self, labels: torch.Tensor, seeds: Sequence[int]) -> torch.Tensor:
        """Make one image for each label; see `sio_data.generator.Generator.sample`."""
        # By default cuDNN rounds the factors of float32 convolutions to ten bits, which shows in the pixels.
        with torch.backends.cudnn.flags(enabled=True, allow_tf32=False):
            images = self._network(
                _latents(self._config.z_dim, seeds).to(self._device),
                labels.to(self._device),
                float(self.sampling["truncation"]),
                str(self.sampling["noise"]),
                seeded_generators(seeds),
            )
        return resize(to_uint8(images).expand(-1, 3, -1, -1), self.image_size)


def _find_file(weights: str) -> Path:
    path = Path(weights)
    if "://" in weights:
        raise InputError(f"weights {weights!r}: only local files are read. Download it, then name the file.")
    if path.is_dir():
        raise InputError(f"weights {weights!r}: this is a folder; name a .pkl file of StyleGAN2-ADA.")
    if not path.is_file():
        raise InputError(f"weights {weights!r}: no such file; name a .pkl file of StyleGAN2-ADA.")
    return path


def _name_classes(count: int, asked: Sequence[str] | None) -> tuple[str, ...]:
    if count == 0:
        return (asked[0] if asked else "0",)
    return name_classes(count, asked)


def _latents(length: int, seeds: Sequence[int]) -> torch.Tensor:
    """Draw z as the original's generate.py does, with NumPy's old generator."""
    drawn = [np.random.RandomState(seed).standard_normal(length) for seed in seeds]
    return torch.from_numpy(np.stack(drawn)).to(torch.float32)


def _empty_network(config: NetworkConfig) -> StyleGAN2:
    with torch.device("meta"):  # shapes without memory
        return StyleGAN2(config)


def _check_tensors(config: NetworkConfig, pickled: PickledNetwork) -> None:
    """Compare names and shapes of the file's tensors with those of the network that it describes."""
    expected = {name: tuple(tensor.shape) for name, tensor in _empty_network(config).state_dict().items()}
    found = {name: tensor.shape for name, tensor in pickled.tensors.items()}
    for problem, names in (
        ("lacks", expected.keys() - found.keys()),
        ("has unknown", found.keys() - expected.keys()),
        ("has misshapen", {name for name in expected.keys() & found.keys() if expected[name] != found[name]}),
    ):
        if names:
            some = ", ".join(sorted(names)[:3]) + (f", … ({len(names)} in all)" if len(names) > 3 else "")
            raise InputError(f"the network {problem} weights: {some}.")
