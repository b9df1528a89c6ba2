"""Image classifiers of the transformers library as networks, with the head that they bring taken off."""

import copy
import json
from collections.abc import Mapping
from math import isqrt
from pathlib import Path
from typing import Any

import torch
from torch import nn

from sio_data.backend import find_folder
from sio_data.commands import shown_place
from sio_data.errors import InputError, first_line
from sio_data.files import read_json
from sio_data.image_models import MODEL_FILES, PREPROCESSOR, load_image_model, require_transformers
from sio_data.safe_loading import check_config, check_configs, quiet
from sio_data.training.networks.base import Network
from sio_data.training.networks.probing import Probed, build_model, call_options, probe

PREFIX = "transformers:"
_CLASS_AND_DISTILLATION = 2  # tokens that stand before those of the patches


class PretrainedNetwork(Network):
    """An image classifier of transformers, whose features are exactly what its own head takes.

    These are not always the mean of its maps: a vision transformer may give its class token, for example.
    """

    def __init__(self, model: Any, probed: Probed, config_entries: dict[str, Any]) -> None:
        super().__init__()
        model.set_submodule(probed.head, nn.Identity())
        for name in probed.unused:
            model.get_parameter(name).requires_grad_(False)
        self.model = model.train()
        self._options = call_options(model)
        self.feature_dim = probed.feature_dim
        self.config_entries = config_entries

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Give the features, float [N, D]; for the images see `maps`."""
        features: torch.Tensor = self.model(pixel_values=images, **self._options).logits
        return features

    def maps(self, images: torch.Tensor) -> torch.Tensor:
        """Give the last hidden state as maps, float [N, D, h, w], without class and distillation tokens.

        Args:
            images: float [N, 3, H, H], normalised.

        Raises:
            InputError: The model has none, or none with D channels.
        """
        kind = type(self.model).__name__
        trunk = getattr(self.model, "vision_model", self.model.base_model)  # CLIP and SigLIP have the former alone
        state = getattr(trunk(pixel_values=images, **self._options), "last_hidden_state", None)
        if state is not None and state.ndim == 3:
            state = _on_grid(state, images.shape[-1], self.model.config)
        if state is None or state.ndim != 4 or state.shape[1] != self.feature_dim:
            raise InputError(f"{kind} has no feature maps of {self.feature_dim} channels; its features can be had.")
        maps: torch.Tensor = state
        return maps


def load_pretrained_network(name: str, image_size: int) -> PretrainedNetwork:
    """Load a network with its pretrained weights.

    Args:
        name: `transformers:FOLDER`, or `transformers:OWNER/NAME@REVISION` on the Hub.
        image_size: Height and width of the images that it is to take.

    Raises:
        InputError: There is none of that name, it is unsound, or it does not take such images.
    """
    require_transformers()
    from transformers import AutoConfig, AutoModelForImageClassification

    place = name.removeprefix(PREFIX)
    folder, revision = find_folder(place, MODEL_FILES)
    check_configs(folder)
    try:
        with quiet():
            config = AutoConfig.from_pretrained(str(folder), local_files_only=True, trust_remote_code=False)
    except Exception as error:  # damaged configs make the library raise errors of any kind
        raise InputError(f"{folder} holds no sound image model: {first_line(error)}") from error
    probed = probe(config, image_size, name)
    model, _ = load_image_model(
        AutoModelForImageClassification, folder, may_lack=lambda key: key.startswith(f"{probed.head}.")
    )
    shown = shown_place(place) if Path(place).is_dir() else place.partition("@")[0]
    entries = {"network": f"{PREFIX}{shown}@{revision}", "network_config": _describe(model)}
    return PretrainedNetwork(model, probed, entries)


def rebuild_pretrained_network(name: str, image_size: int, network_config: Mapping[str, Any]) -> PretrainedNetwork:
    """Build a network with fresh weights from what `config_entries` holds, without its folder.

    Args:
        name: What it was called, for messages.
        image_size: Height and width of the images that it is to take.
        network_config: The config of transformers.

    Raises:
        InputError: The config is unsound, or the network does not take such images.
    """
    require_transformers()
    from transformers import AutoConfig

    if not isinstance(network_config, Mapping) or not isinstance(network_config.get("model_type"), str):
        raise InputError(f"{name}: network_config must be a config of transformers, with its model_type.")
    check_config(network_config, f"{name}: network_config")
    try:
        with quiet():
            config = AutoConfig.for_model(**copy.deepcopy(dict(network_config)))  # some configs change their lists
            probed = probe(config, image_size, name)
            model = build_model(config)
    except InputError:
        raise
    except Exception as error:  # as above
        raise InputError(f"{name}: network_config is unsound: {first_line(error)}") from error
    return PretrainedNetwork(model, probed, {"network_config": dict(network_config)})


def read_normalisation(name: str) -> tuple[list[float], list[float]] | None:
    """Read the mean and the std that a pretrained network expects, per channel, of images in [0, 1].

    Args:
        name: As for `load_pretrained_network`.

    Returns:
        None if its folder does not say.

    Raises:
        InputError: There is no such folder, or what it says is no normalisation.
    """
    folder, _ = find_folder(name.removeprefix(PREFIX), ("config.json", PREPROCESSOR))
    if not (folder / PREPROCESSOR).is_file():
        return None
    settings = read_json(folder / PREPROCESSOR)
    if not settings.get("do_normalize", True):
        return [0.0] * 3, [1.0] * 3
    values: list[Any] = [settings.get("image_mean"), settings.get("image_std")]
    if values == [None, None]:
        return None
    try:
        scale = 255 * float(settings.get("rescale_factor", 1 / 255)) if settings.get("do_rescale", True) else 255.0
        mean, std = ([round(float(value) / scale, 6) for value in numbers] for numbers in values)
    except (TypeError, ValueError, ZeroDivisionError) as error:
        raise InputError(f"{folder / PREPROCESSOR}: image_mean and image_std must be numbers, not {values}.") from error
    return mean, std


def _on_grid(tokens: torch.Tensor, image_size: int, config: Any) -> torch.Tensor | None:
    """Lay tokens, float [N, L, D], on their square grid; None if they have none."""
    config = getattr(config, "vision_config", config)
    patch = getattr(config, "patch_size", 1)
    patch = patch if isinstance(patch, int) else patch[0]
    side = min(image_size // patch, isqrt(tokens.shape[1]))  # the latter where the network merges patches
    others = tokens.shape[1] - side**2
    if not 0 <= others <= _CLASS_AND_DISTILLATION + getattr(config, "num_register_tokens", 0):
        return None
    maps: torch.Tensor = tokens[:, others:].transpose(1, 2).unflatten(2, (side, side))
    return maps


def _describe(model: Any) -> dict[str, Any]:
    """Give the config that a model is rebuilt from: without the classes of its own head, and where it was loaded."""
    config = copy.deepcopy(model.config)
    config.num_labels = 2
    config.architectures = [type(model).__name__]
    described = json.loads(config.to_json_string(use_diff=True))
    return {key: value for key, value in described.items() if not key.startswith("_") and key != "dtype"}
