"""Back end `biggan`: BigGAN-deep on ImageNet, by pytorch-pretrained-biggan."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from pickle import UnpicklingError
from typing import TYPE_CHECKING, Any

import torch
import torch.nn.functional as F

from sio_data.backend import (
    About,
    Number,
    check_size,
    hash_files,
    name_classes,
    read_options,
    resize,
    seeded_generators,
    to_uint8,
)
from sio_data.device import pick_device
from sio_data.errors import InputError
from sio_data.files import read_json, sha256_file, sha256_json

if TYPE_CHECKING:
    from pytorch_pretrained_biggan import BigGAN, BigGANConfig

_FILES = ("config.json", "pytorch_model.bin")
_NAMES = ("biggan-deep-128", "biggan-deep-256", "biggan-deep-512")
_COUNTS = ("output_dim", "z_dim", "class_embed_dim", "channel_width", "num_classes", "n_stats")


class BigGANGenerator:
    """Draw images with BigGAN-deep (Brock et al. 2019, arXiv 1809.11096); see `sio_data.generator.Generator`.

    Sampling option: `truncation` in [0.02, 1], default 1. The noise is a normal one, cut off at two standard
    deviations and multiplied by it: less gives better images that are more alike; a training set wants variety.

    The licence of the released weights is Apache-2.0 as far as is known: the conversion's authors (code MIT) state
    none, others state that of the TF Hub modules that it was made from. Of weights in a folder nothing is known.

    Args:
        weights: `biggan-deep-128`, `-256` or `-512`, or a folder with `config.json` and `pytorch_model.bin`.
        classes: Names for weights that are not ImageNet's; WordNet ids make ImageNet's go by these.
        image_size: None, or the size wanted, up to the network's own.
        sampling: Options as text.
        device: Where to run; None means the best device at hand.

    Raises:
        InputError: There are no such weights, they are damaged, or the size or an option cannot be had.
    """

    citation = (
        "Andrew Brock, Jeff Donahue, Karen Simonyan. Large Scale GAN Training for High Fidelity Natural Image "
        "Synthesis. ICLR 2019. arXiv 1809.11096."
    )
    about = About(
        weights=f"{', '.join(_NAMES)} (downloaded), or a folder with {' and '.join(_FILES)}",
        classes="the 1000 of ImageNet, by name or WordNet id",
        sizes="128, 256 or 512, or smaller",
        licence="apache-2.0",
        options={"truncation": Number(1.0, 0.02, 1.0)},
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
        self.sampling = read_options("biggan", self.about.options, sampling or {})
        self._device = pick_device(device)
        config_file, self._file, self.revision = _find_files(weights)
        self._config = _read_config(config_file)
        _check_truncation(float(self.sampling["truncation"]), self._config.n_stats)
        self.image_size = check_size("biggan", image_size, self._config.output_dim)
        self.class_names = name_classes(self._config.num_classes, classes)
        self.licence = self.about.licence if weights in _NAMES else "unknown"
        self._empty = _build(self._config)
        _check_weights(self._empty, _read_weights(self._file, "meta"), self._file)

    @cached_property
    def _network(self) -> BigGAN:
        self._empty.load_state_dict(_read_weights(self._file, "cpu"), assign=True)
        _fix_statistics(self._empty, float(self.sampling["truncation"]))
        self._empty.eval()
        return self._empty.to(self._device, torch.float32)

    def sample(self, labels: torch.Tensor, seeds: Sequence[int]) -> torch.Tensor:
        """Make one image for each label; see `sio_data.generator.Generator.sample`."""
        truncation = float(self.sampling["truncation"])
        noise = truncation * _truncated_noise(self._config.z_dim, seeds)
        targets = F.one_hot(labels.cpu(), self._config.num_classes).float()
        with torch.inference_mode():
            images = self._network(noise.to(self._device), targets.to(self._device), truncation)
        return resize(to_uint8(images), self.image_size)


def _truncated_noise(size: int, seeds: Sequence[int]) -> torch.Tensor:
    noise = torch.empty(len(seeds), size)
    for row, generator in zip(noise, seeded_generators(seeds), strict=True):
        torch.nn.init.trunc_normal_(row, a=-2, b=2, generator=generator)
    return noise


def _find_files(weights: str) -> tuple[Path, Path, str]:
    """Give config, weights and the hash of both, whatever names the library's cache has for them."""
    if weights in _NAMES:
        config, network = _download(weights)
        return config, network, sha256_json(dict(zip(_FILES, map(sha256_file, (config, network)), strict=True)))
    folder = Path(weights)
    if not folder.is_dir():
        raise InputError(f"weights {weights!r}: no such folder, and none of {', '.join(_NAMES)}.")
    config, network = (folder / name for name in _FILES)
    missing = [path.name for path in (config, network) if not path.is_file()]
    if missing:
        raise InputError(f"weights {weights!r}: no BigGAN folder, it holds no {' and no '.join(missing)}.")
    return config, network, hash_files(folder, [config, network])


def _download(name: str) -> tuple[Path, Path]:
    from pytorch_pretrained_biggan.file_utils import cached_path
    from pytorch_pretrained_biggan.model import PRETRAINED_CONFIG_ARCHIVE_MAP, PRETRAINED_MODEL_ARCHIVE_MAP

    try:
        return (
            Path(cached_path(PRETRAINED_CONFIG_ARCHIVE_MAP[name])),
            Path(cached_path(PRETRAINED_MODEL_ARCHIVE_MAP[name])),
        )
    except OSError as error:  # what requests raises is one, too
        raise InputError(
            f"weights {name!r} cannot be downloaded ({type(error).__name__}). Check the network, "
            f"or name a folder that holds its {' and '.join(_FILES)}."
        ) from error


def _read_config(file: Path) -> BigGANConfig:
    from pytorch_pretrained_biggan import BigGANConfig

    config = BigGANConfig.from_dict(read_json(file))
    bad = [name for name in _COUNTS if not _is_count(getattr(config, name))]
    if not _are_layers(config.layers):
        bad.append("layers")
    if not isinstance(config.eps, float) or not 0 < config.eps < 1:
        bad.append("eps")
    if type(config.attention_layer_position) is not int:
        bad.append("attention_layer_position")
    if bad:
        raise InputError(f"{file}: {', '.join(bad)}: not a value that a BigGAN can have.")
    drawn = 4 * 2 ** sum(layer[0] for layer in config.layers)
    if config.output_dim != drawn:
        raise InputError(f"{file}: output_dim is {config.output_dim}, but its layers draw {drawn} pixels.")
    return config


def _is_count(value: object) -> bool:
    return type(value) is int and 1 <= value <= 100_000


def _are_layers(layers: object) -> bool:
    """Tell whether blocks of (enlarges, width before, width after) lead from width 16 to 1, keeping or halving it."""
    if not isinstance(layers, list | tuple):
        return False
    width = 16
    for layer in layers:
        match layer:
            case [bool(), int() as before, int() as after] if before == width and after in (width, width // 2):
                width = after
            case _:
                return False
    return width == 1


def _check_truncation(truncation: float, count: int) -> None:
    """Refuse noise for which the weights hold no statistics: they do for `count` truncations, evenly from 0 to 1."""
    if count < 2 or truncation * (count - 1) < 1:
        raise InputError(f"the weights hold statistics for {count} truncations, none of them for {truncation:g}.")


def _build(config: BigGANConfig) -> BigGAN:
    """Build the network without memory or random numbers; the weights are put in its parameters' places."""
    from pytorch_pretrained_biggan import BigGAN

    try:
        with torch.device("meta"):
            return BigGAN(config)
    except (RuntimeError, ValueError, TypeError, ZeroDivisionError) as error:
        raise InputError(f"config.json describes no network that can be built: {error}") from error


def _read_weights(file: Path, device: str) -> dict[str, torch.Tensor]:
    try:
        state = torch.load(file, map_location=device, weights_only=True)
    except (UnpicklingError, RuntimeError, ValueError, LookupError, AttributeError, EOFError, OSError) as error:
        raise InputError(
            f"{file} holds no sound weights: it is cut off, or more than tensors ({type(error).__name__})."
        ) from error
    if not isinstance(state, dict) or not all(isinstance(value, torch.Tensor) for value in state.values()):
        raise InputError(f"{file} holds no sound weights: it is no table of tensors.")
    return state


def _check_weights(network: BigGAN, found: Mapping[str, torch.Tensor], file: Path) -> None:
    wanted = network.state_dict()
    faults = {
        "missing": [key for key in wanted if key not in found],
        "unexpected": [key for key in found if key not in wanted],
        "of another shape": [key for key in wanted if key in found and found[key].shape != wanted[key].shape],
    }
    told = [f"{fault}: {', '.join(map(str, keys[:3]))} ({len(keys)})" for fault, keys in faults.items() if keys]
    if told:
        raise InputError(f"{file} does not fit its config.json: {'; '.join(told)}.")


def _fix_statistics(network: Any, truncation: float) -> None:
    """Put the batch-norm statistics of one truncation in the places of all.

    The library takes the mean of the two nearest statistics with their weights exchanged, and the rounding of
    0.3 / 0.02 is enough for it to take those of 0.28.
    """
    from pytorch_pretrained_biggan.model import BigGANBatchNorm

    for module in network.modules():
        if isinstance(module, BigGANBatchNorm):
            for name in ("running_means", "running_vars"):
                rows = getattr(module, name)
                place = truncation * (len(rows) - 1)
                below = min(int(place), len(rows) - 2)
                row = torch.lerp(rows[below], rows[below + 1], place - below)
                setattr(module, name, row.expand_as(rows).clone())
