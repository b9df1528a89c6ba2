"""Image models of transformers without their heads, read without running code or unpickling."""

from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch

from sio_data.errors import InputError, first_line
from sio_data.safe_loading import TRANSFORMERS_WEIGHTS, check_configs, check_weights, load_part, quiet

TRUNK_FILES = ("config.json", "preprocessor_config.json", *TRANSFORMERS_WEIGHTS)
"""The files of a model's folder that decide its features."""

_BATCH = 50


def load_trunk(folder: Path, device: torch.device) -> Callable[[torch.Tensor], torch.Tensor]:
    """Load any image model of transformers for its pooled output.

    Args:
        folder: Where `config.json`, `preprocessor_config.json` and safetensors lie.
        device: Where to run it.

    Returns:
        A function from images, uint8 [B, 3, H, H], to features, float32 [B, D]. It prepares the images as the folder
        says. Where the weights have no pooler, the features are the class token, or the mean of a feature map.

    Raises:
        InputError: transformers is missing, or the folder is damaged or of something else.
    """
    if find_spec("transformers") is None:
        raise InputError("this needs the package transformers: pip install 'sio-data[features]'.")
    from transformers import AutoImageProcessor

    network, has_pooler = _load_network(folder)
    network = network.to(device)
    processor = load_part(AutoImageProcessor, folder, trust_remote_code=False)

    def compute(images: torch.Tensor) -> torch.Tensor:
        pictures = list(images.permute(0, 2, 3, 1).numpy())
        pixels = processor(images=pictures, return_tensors="pt")["pixel_values"]
        return torch.cat([_pool(network, part.to(device), has_pooler).cpu() for part in pixels.split(_BATCH)])

    return compute


def _load_network(folder: Path) -> tuple[Any, bool]:
    """Give the network, and whether its pooler, if it has one, has weights of its own."""
    from transformers import AutoModel

    if not check_weights(folder):
        raise InputError(f"{folder} has no safetensors, and nothing else is read. Save the model with save_pretrained.")
    check_configs(folder)
    try:
        with quiet():
            network, report = AutoModel.from_pretrained(
                str(folder),
                use_safetensors=True,
                local_files_only=True,
                output_loading_info=True,
                trust_remote_code=False,
                dtype=torch.float32,
            )
    except Exception as error:  # damaged configs make the library raise errors of any kind
        raise InputError(f"{folder} holds no sound image model: {first_line(error)}") from error
    parts = {name for name, _ in network.named_children()}
    prefix = f"{network.base_model_prefix}."
    surplus = {key for key in report["unexpected_keys"] if key.removeprefix(prefix).split(".")[0] in parts}
    lacking = {key for key in report["missing_keys"] if "pooler" not in key.split(".")}
    if wrong := sorted(map(str, lacking | surplus | {*report["mismatched_keys"]})):
        raise InputError(
            f"{folder}: weights and config do not fit, {len(wrong)} weight(s) are missing or too many ({wrong[0]}, …)."
        )
    return network.eval(), not report["missing_keys"]


def _pool(network: Any, pixels: torch.Tensor, has_pooler: bool) -> torch.Tensor:
    two_towers = hasattr(network, "get_image_features")  # like CLIP and SigLIP
    output = network.get_image_features(pixel_values=pixels) if two_towers else network(pixel_values=pixels)
    pooled: torch.Tensor | None = getattr(output, "pooler_output", None)
    if pooled is not None and has_pooler:
        return pooled.flatten(1)
    state: torch.Tensor = output.last_hidden_state
    return state[:, 0] if state.ndim == 3 else state.mean((2, 3))
