"""Folders of diffusers, read without running code, unpickling, or following a path out of them.

`DiffusionPipeline.from_pretrained` imports the modules that `model_index.json` names, and takes weights that fit only
in part. Here the parts are loaded one by one, of classes that we know, and every weight must fit.
"""

import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import torch
from huggingface_hub.errors import StrictDataclassError
from safetensors import SafetensorError, safe_open

from sio_data.errors import InputError
from sio_data.files import read_json

FOLDER_FILES = (
    "model_index.json",
    "*/*.json",
    "*/*.txt",
    "*/*.model",
    *(f"*/{name}{part}.safetensors" for name in ("model", "diffusion_pytorch_model") for part in ("", "-*-of-*")),
)
"""The files of a pipeline's folder that decide its images; a folder may hold more weights, of other number types."""

# Of transformers: parts of the pipelines that we take. None of them ever reads a pickle.
_TRANSFORMERS = frozenset(
    {"CLIPTextModel", "CLIPTextModelWithProjection", "CLIPVisionModelWithProjection", "T5EncoderModel", "Gemma2Model"}
    | {"CLIPTokenizer", "CLIPTokenizerFast", "T5Tokenizer", "T5TokenizerFast", "GemmaTokenizer", "GemmaTokenizerFast"}
    | {"CLIPImageProcessor", "CLIPImageProcessorFast", "CLIPImageProcessorPil", "CLIPFeatureExtractor"}
)
# One class in several versions of transformers, or with and without torchvision.
_RENAMED = dict.fromkeys(
    ("CLIPFeatureExtractor", "CLIPImageProcessorFast", "CLIPImageProcessorPil"), "CLIPImageProcessor"
)
_SAFETY_CHECKER = ("stable_diffusion", "StableDiffusionSafetyChecker")

# These make the libraries load code or weights from elsewhere.
_FORBIDDEN_KEYS = frozenset(
    {"auto_map", "custom_pipelines", "quantization_config", "attn_implementation", "_attn_implementation"}
)
_CONFIGS = ("config.json", "tokenizer_config.json", "preprocessor_config.json", "scheduler_config.json")
_LOADING_ERRORS = (
    OSError,
    ValueError,
    TypeError,
    RuntimeError,
    KeyError,
    AttributeError,
    SafetensorError,
    UnpicklingError,
    StrictDataclassError,
)


def check_weights(folder: Path) -> bool:
    """Read the headers of a network's weights, which say whether the files are whole, and the index of its pieces.

    Returns:
        Whether they are safetensors. Older models have `.bin` files, which torch reads without running what is in
        them (`weights_only`).

    Raises:
        InputError: There are no weights, one is damaged, or the index names something else.
    """
    files = sorted(folder.glob("*.safetensors"))
    try:
        for file in files:
            with safe_open(file, framework="pt"):
                pass
    except (SafetensorError, OSError) as error:
        raise InputError(f"{folder} holds no sound weights: {error}") from error
    if not files and not any(folder.glob("*.bin")):
        raise InputError(f"{folder} holds no sound weights: there is no safetensors file, nor a .bin file.")
    for index in folder.glob("*.safetensors.index.json"):
        pieces = read_json(index).get("weight_map")
        if not isinstance(pieces, dict) or not all(
            isinstance(name, str) and re.fullmatch(r"[\w.-]+\.safetensors", name) for name in pieces.values()
        ):
            raise InputError(f"{index} names pieces that are no safetensors files of its folder.")
    return bool(files)


def load_network(kind: Any, folder: Path, dtype: torch.dtype = torch.float32) -> Any:
    """Load a network of diffusers or transformers, in evaluation mode.

    Args:
        kind: Its class.
        folder: Where its `config.json` and weights lie.
        dtype: Number type to hold it in.

    Returns:
        The network, on the CPU.

    Raises:
        InputError: The config or the weights are damaged, or they do not fit together wholly.
    """
    are_safetensors = check_weights(folder)
    _check_configs(folder)
    extra = {"low_cpu_mem_usage": False} if kind.__module__.startswith("diffusers.models") else {}
    try:
        network, report = kind.from_pretrained(
            str(folder),
            use_safetensors=are_safetensors,
            local_files_only=True,
            output_loading_info=True,
            torch_dtype=dtype,
            **extra,
        )
    except _LOADING_ERRORS as error:
        raise InputError(f"{folder} holds no sound {kind.__name__}: {_first_line(error)}") from error
    # Older transformers saved the buffer position_ids; newer ones make it anew.
    unexpected = {key for key in report["unexpected_keys"] if not key.endswith("position_ids")}
    if wrong := sorted(map(str, {*report["missing_keys"]} | unexpected | {*report["mismatched_keys"]})):
        raise InputError(
            f"{folder}: weights and config do not fit, {len(wrong)} weight(s) are missing or too many ({wrong[0]}, …)."
        )
    return network.eval()


def load_part(kind: Any, folder: Path) -> Any:
    """Load what has no weights: a scheduler, a tokenizer, an image processor.

    Raises:
        InputError: Its files are missing or damaged.
    """
    _check_configs(folder)
    if not folder.is_dir():
        raise InputError(f"{folder}: no such folder.")
    try:
        return kind.from_pretrained(str(folder), local_files_only=True)
    except _LOADING_ERRORS as error:
        raise InputError(f"{folder} holds no sound {kind.__name__}: {_first_line(error)}") from error


def find_components(folder: Path, pipelines: Sequence[str]) -> tuple[Any, dict[str, Any]]:
    """Find the classes of a pipeline and of its components, and refuse a folder that brings code.

    Args:
        folder: A folder that diffusers saved a pipeline in.
        pipelines: Names of the pipelines of diffusers that are taken.

    Returns:
        The pipeline's class, and the class of each component by name, None for one that is left empty.

    Raises:
        InputError: There is no index, or it names a pipeline or a component that we do not know.
    """
    import diffusers

    path = folder / "model_index.json"
    index = read_json(path)
    if code := next(folder.rglob("*.py"), None):
        raise InputError(f"{folder} brings code ({code.name}), and code from a folder is never run. Remove it.")
    pipeline = index.get("_class_name")
    if not isinstance(pipeline, str) or pipeline not in pipelines or "custom_pipeline" in index:
        raise InputError(f"{path}: the pipeline {pipeline!r} is none of {', '.join(pipelines)}.")
    components = {}
    for name, value in index.items():
        if isinstance(value, list):
            components[name] = _find_class(path, name, value)
            _check_configs(folder / name)
    return getattr(diffusers, pipeline), components


def _find_class(path: Path, name: str, value: list[object]) -> Any:
    import diffusers
    import transformers
    from diffusers import ModelMixin, SchedulerMixin
    from diffusers.pipelines.stable_diffusion.safety_checker import StableDiffusionSafetyChecker

    if value == [None, None]:
        return None
    library, kind = value if len(value) == 2 else (None, None)
    if isinstance(kind, str) and name.isidentifier():
        if (library, kind) == _SAFETY_CHECKER:
            return StableDiffusionSafetyChecker
        if library == "transformers" and kind in _TRANSFORMERS:
            return getattr(transformers, _RENAMED.get(kind, kind))
        found = getattr(diffusers, kind, None) if library == "diffusers" and kind.isidentifier() else None
        if isinstance(found, type) and issubclass(found, ModelMixin | SchedulerMixin):
            return found
    raise InputError(
        f"{path}: component {name!r} is {value}, and is not loaded: only known classes of diffusers and transformers "
        "are, since a folder might name any code."
    )


def _check_configs(folder: Path) -> None:
    """Refuse configs that would make a library fetch code or weights from elsewhere."""
    if (folder / "adapter_config.json").exists():
        raise InputError(f"{folder} holds an adapter, whose config names other weights. Merge it into the model first.")
    for path in (folder / name for name in _CONFIGS):
        if path.exists() and (keys := _FORBIDDEN_KEYS & {*_keys(read_json(path))}):
            raise InputError(f"{path} has {', '.join(sorted(keys))}, which may load code. Remove it, or the weights.")


def _keys(value: object) -> Iterator[str]:
    if isinstance(value, dict):
        yield from (key for key, inner in value.items() if inner is not None)
        value = list(value.values())
    if isinstance(value, list):
        for inner in value:
            yield from _keys(inner)


def _first_line(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0]
