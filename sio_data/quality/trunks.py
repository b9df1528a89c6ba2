"""Image models of transformers without their heads."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from sio_data.image_models import load_image_model, require_transformers
from sio_data.safe_loading import load_part

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
    require_transformers()
    from transformers import AutoImageProcessor, AutoModel

    network, complete = load_image_model(AutoModel, folder, may_lack=lambda key: "pooler" in key.split("."))
    network = network.to(device)
    processor = load_part(AutoImageProcessor, folder, trust_remote_code=False)

    def compute(images: torch.Tensor) -> torch.Tensor:
        pictures = list(images.permute(0, 2, 3, 1).numpy())
        pixels = processor(images=pictures, return_tensors="pt")["pixel_values"]
        return torch.cat([_pool(network, part.to(device), complete).cpu() for part in pixels.split(_BATCH)])

    return compute


def _pool(network: Any, pixels: torch.Tensor, has_pooler: bool) -> torch.Tensor:
    two_towers = hasattr(network, "get_image_features")  # like CLIP and SigLIP
    output = network.get_image_features(pixel_values=pixels) if two_towers else network(pixel_values=pixels)
    pooled: torch.Tensor | None = getattr(output, "pooler_output", None)
    if pooled is not None and has_pooler:
        return pooled.flatten(1)
    state: torch.Tensor = output.last_hidden_state
    return state[:, 0] if state.ndim == 3 else state.mean((2, 3))
