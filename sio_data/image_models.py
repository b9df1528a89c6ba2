"""Image models of transformers, read from a folder without running code or unpickling."""

from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch

from sio_data.errors import InputError
from sio_data.safe_loading import TRANSFORMERS_WEIGHTS, check_weights, read_model, refuse_misfit

PREPROCESSOR = "preprocessor_config.json"

MODEL_FILES = ("config.json", PREPROCESSOR, *TRANSFORMERS_WEIGHTS)
"""The files of a model's folder that decide what it computes."""


def require_transformers() -> None:
    """Refuse to go on without the library.

    Raises:
        InputError: It is not installed.
    """
    if find_spec("transformers") is None:
        raise InputError("this needs the package transformers: pip install 'sio-data[features]'.")


def load_image_model(kind: Any, folder: Path, may_lack: Callable[[str], bool]) -> tuple[Any, bool]:
    """Load an image model.

    Args:
        kind: `AutoModel` or one of its kin.
        folder: Where `config.json` and safetensors lie.
        may_lack: Tells of a weight by its name whether the folder may be without it. It is drawn anew then.

    Returns:
        The model, float32 on the CPU, in evaluation mode; and whether the folder had all of its weights.

    Raises:
        InputError: The folder is damaged or of something else.
    """
    if not check_weights(folder):
        raise InputError(f"{folder} has no safetensors, and nothing else is read. Save the model with save_pretrained.")
    model, report = read_model(
        kind, folder, "image model", use_safetensors=True, trust_remote_code=False, dtype=torch.float32
    )
    lacking = {key for key in report["missing_keys"] if not may_lack(key)}
    refuse_misfit(folder, lacking | _surplus(model, report["unexpected_keys"]) | {*report["mismatched_keys"]})
    return model.eval(), not report["missing_keys"]


def _surplus(model: Any, unexpected: list[str]) -> set[str]:
    """Give the weights that belong to a part of the model, and have no place there. Other parts are left out."""
    parts = {name for owner in (model, model.base_model) for name, _ in owner.named_children()}
    prefix = f"{model.base_model_prefix}."
    return {key for key in unexpected if key.removeprefix(prefix).split(".")[0] in parts}
