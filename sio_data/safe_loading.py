"""Folders of diffusers, read without running code, unpickling, or following a path out of them.

`DiffusionPipeline.from_pretrained` imports the modules that `model_index.json` names, and takes weights that fit only
in part. Here the parts are loaded one by one, of classes that we know, and every weight must fit.
"""

import logging
import warnings
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from fnmatch import fnmatchcase
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError, safe_open

from sio_data.errors import InputError, first_line
from sio_data.files import read_json
from sio_data.shared_context import SharedContext


def _names(ending: str, *stems: str) -> tuple[str, ...]:
    """Give the names of weights as patterns: in one file, or in pieces and their index."""
    forms = (f"{{}}.{ending}", f"{{}}-*-of-*.{ending}", f"{{}}.{ending}.index.json")
    return tuple(form.format(stem) for stem in stems for form in forms)


# What diffusers and transformers read. Files of other names, such as `model.fp16.safetensors`, they never do.
DIFFUSERS_WEIGHTS = _names("safetensors", "diffusion_pytorch_model")
TRANSFORMERS_WEIGHTS = _names("safetensors", "model")
_SAFETENSORS = (*DIFFUSERS_WEIGHTS, *TRANSFORMERS_WEIGHTS)
OLD_WEIGHTS = _names("bin", "diffusion_pytorch_model", "pytorch_model")

FOLDER_FILES = (
    "model_index.json",
    "*/*.json",
    "*/*.txt",
    "*/*.model",
    *(f"*/{name}" for name in _SAFETENSORS),
)
"""The files of a pipeline's folder that decide its images; a folder may hold more weights, of other number types."""

# Of transformers: parts of the pipelines that we take. The networks' `.bin` files it reads with `weights_only`, as
# diffusers does; the others read JSON and text alone.
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

# These make the libraries load code, or weights from elsewhere or of another name.
_FORBIDDEN_KEYS = frozenset(
    {"auto_map", "custom_pipelines", "quantization_config", "attn_implementation", "_attn_implementation"}
    | {"transformers_weights", "backbone", "pretrained_cfg"}
)
_TIMM_TYPES = frozenset({"timm_wrapper", "timm_backbone"})  # timm builds them, of whatever their config names
_CONFIGS = ("config.json", "tokenizer_config.json", "preprocessor_config.json", "scheduler_config.json")


@contextmanager
def quiet() -> Iterator[None]:
    """Keep progress bars, log lines and deprecations of diffusers and transformers off the terminal.

    They tell of old configs, which are understood, and of images that a safety checker flags, which `judge` refuses.
    """
    # The safety checker turns values that are no numbers into pixels, which numpy would warn of.
    with _SILENCE, np.errstate(invalid="ignore"):
        yield


@contextmanager
def _silence() -> Iterator[None]:
    installed = [name for name in ("diffusers", "transformers") if find_spec(name)]
    libraries = [import_module(f"{name}.utils.logging") for name in installed]
    before = [(library.get_verbosity(), library.is_progress_bar_enabled()) for library in libraries]
    for library in libraries:
        library.set_verbosity(logging.CRITICAL)
        library.disable_progress_bar()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)
            yield
    finally:
        for library, (verbosity, bars) in zip(libraries, before, strict=True):
            library.set_verbosity(verbosity)
            if bars:
                library.enable_progress_bar()


_SILENCE = SharedContext(_silence)


def weights_names(folder: Path) -> tuple[str, ...]:
    """Give the names, as patterns, of the weights that the libraries read from a network's folder.

    They are safetensors where the folder has such, or an index of such. Older models have `.bin` files instead, which
    torch reads without running what is in them (`weights_only`).
    """
    # Pieces alone, without their index, are not read.
    whole = [name for name in _SAFETENSORS if "*" not in name]
    return _SAFETENSORS if any((folder / name).is_file() for name in whole) else OLD_WEIGHTS


def check_weights(folder: Path) -> bool:
    """Read the headers of a network's weights, which say whether the files are whole, and the index of its pieces.

    Returns:
        Whether they are safetensors; see `weights_names`.

    Raises:
        InputError: There are no weights, one is damaged, or the index names something else.
    """
    names = weights_names(folder)
    files = sorted(path for name in names for path in folder.glob(name))
    if not files:
        raise InputError(
            f"{folder} holds no sound weights: there is no safetensors file, nor a .bin file{_hint(folder)}."
        )
    for file in files:
        if file.suffix == ".json":
            _check_index(file, names)
        elif file.suffix == ".safetensors":
            try:
                with safe_open(file, framework="pt"):
                    pass
            except (SafetensorError, OSError) as error:
                raise InputError(f"{folder} holds no sound weights: {error}") from error
    return names is _SAFETENSORS


def _hint(folder: Path) -> str:
    """Tell of weights whose names have the number type in them, which are read on request alone."""
    other = next((path.name for path in folder.glob("*model.*.safetensors") if "-of-" not in path.name), None)
    if other is None:
        return ""
    stem, _, _ = other.partition(".")
    return f" of the names that are read. To use {other}, rename it to {stem}.safetensors"


def _check_index(index: Path, names: Sequence[str]) -> None:
    """Check that pieces lie beside their index, under names that count for the revision."""
    pieces = read_json(index).get("weight_map")
    if not isinstance(pieces, dict) or not pieces:
        raise InputError(f"{index} names no pieces.")
    for piece in {str(value) for value in pieces.values()}:
        if Path(piece).name != piece or not any(fnmatchcase(piece, name) for name in names):
            raise InputError(f"{index} names {piece!r}, which is no piece of these weights.")
        if not (index.parent / piece).is_file():
            raise InputError(f"{index} names {piece}, which is not there.")


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
    extra = {"low_cpu_mem_usage": False} if kind.__module__.startswith("diffusers.models") else {}
    use_safetensors = check_weights(folder)
    network, report = read_model(
        kind, folder, kind.__name__, use_safetensors=use_safetensors, torch_dtype=dtype, **extra
    )
    # Older transformers saved the buffer position_ids; newer ones make it anew.
    unexpected = {key for key in report["unexpected_keys"] if not key.endswith("position_ids")}
    refuse_misfit(folder, {*report["missing_keys"]} | unexpected | {*report["mismatched_keys"]})
    return network.eval()


def read_model(kind: Any, folder: Path, what: str, **options: object) -> tuple[Any, dict[str, Any]]:
    """Read a model with the library's own `from_pretrained`, from a checked folder and from nowhere else.

    Args:
        kind: The class that reads it.
        folder: Where its `config.json` and weights lie.
        what: What it is, for messages.
        **options: Of `from_pretrained`.

    Returns:
        The model, and the library's report on its weights.

    Raises:
        InputError: The folder is damaged.
    """
    check_configs(folder)
    try:
        with quiet():
            model, report = kind.from_pretrained(
                str(folder), local_files_only=True, output_loading_info=True, **options
            )
    except Exception as error:  # damaged configs make the libraries raise errors of any kind
        raise InputError(f"{folder} holds no sound {what}: {first_line(error)}") from error
    return model, report


def refuse_misfit(folder: Path, weights: Collection[object]) -> None:
    """Refuse weights that do not fit their config.

    Args:
        folder: Where they lie.
        weights: Those that are missing, too many, or of another shape.

    Raises:
        InputError: There are any.
    """
    if wrong := sorted(map(str, weights)):
        raise InputError(
            f"{folder}: weights and config do not fit, {len(wrong)} weight(s) are missing or too many ({wrong[0]}, …)."
        )


def load_part(kind: Any, folder: Path, **changes: object) -> Any:
    """Load what has no weights: a scheduler, a tokenizer, an image processor.

    Args:
        kind: Its class.
        folder: Where its files lie.
        changes: Values to put in the place of the config's.

    Raises:
        InputError: Its files are missing or damaged.
    """
    check_configs(folder)
    if not folder.is_dir():
        raise InputError(f"{folder}: no such folder.")
    try:
        with quiet():
            return kind.from_pretrained(str(folder), local_files_only=True, **changes)
    except Exception as error:  # damaged configs make the libraries raise errors of any kind
        raise InputError(f"{folder} holds no sound {kind.__name__}: {first_line(error)}") from error


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
            check_configs(folder / name)
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


def check_configs(folder: Path) -> None:
    """Refuse configs that would make a library fetch code or weights from elsewhere."""
    if (folder / "adapter_config.json").exists():
        raise InputError(f"{folder} holds an adapter, whose config names other weights. Merge it into the model first.")
    for path in (folder / name for name in _CONFIGS):
        if path.exists():
            check_config(read_json(path), path)


def check_config(config: Mapping[str, object], where: object) -> None:
    """Refuse a config, read at some place, that would make a library fetch code or weights from elsewhere."""
    entries = list(_entries(dict(config)))
    if any(key == "model_type" and str(value) in _TIMM_TYPES for key, value in entries):
        raise InputError(f"{where} is of a model of timm, which may load other weights. Use one of transformers' own.")
    if keys := _FORBIDDEN_KEYS & {key for key, _ in entries}:
        found = ", ".join(sorted(keys))
        raise InputError(f"{where} has {found}, which may load code or other weights. Remove it, or the model.")


def _entries(value: object) -> Iterator[tuple[str, object]]:
    if isinstance(value, dict):
        yield from ((key, inner) for key, inner in value.items() if inner is not None)
        value = list(value.values())
    if isinstance(value, list):
        for inner in value:
            yield from _entries(inner)
