"""Reads the archives of `torch.export.save` without `torch.export.load`, which unpickles and runs what they hold."""

import json
import math
import re
import zipfile
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path
from typing import Any

import torch

from sio_data.errors import InputError

from .aten_graph import DTYPES, Graph

_SCHEMA = 8
_AGAIN = "Save it again with torch.export.save of torch 2.9 or newer."
_MODEL = "models/model.json"
_CONFIGS = {"weights": "model_weights_config.json", "constants": "model_constants_config.json"}
_NAME_KEYS = {"parameter": "parameter_name", "buffer": "buffer_name", "tensor_constant": "tensor_constant_name"}
_SYMBOL = re.compile(r"(?:Symbol\(')?(\w+)(?:'(?:, \w+=\w+)*\))?")


@dataclass(frozen=True)
class TensorInfo:
    """What a program says of a tensor that it takes or gives: its dtype, and its shape without the batch."""

    dtype: torch.dtype
    shape: tuple[int, ...]


class Program:
    """A program of `torch.export.save`, opened without reading its weights.

    Nothing in a hostile file can run as code. Of the archive are read only JSON and the plain bytes of tensors, never
    its pickles (sample inputs, custom objects, tensor subclasses, older formats) nor compiled code, and `Graph` calls
    nothing but the operators of `aten_operators`. No member is longer than the file, and no tensor than its member;
    but what the program computes may take more memory or time than there is.

    Args:
        path: The `.pt2` file.

    Attributes:
        inputs: What the caller gives.
        outputs: What comes back.
        batch: The smallest and the largest batch that it takes; the largest may be infinite.

    Raises:
        InputError: It is no such archive, is damaged, or needs what is not run here.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        with _reading(path) as archive:
            model = _read_json(archive, _MODEL)
            if model["schema_version"]["major"] != _SCHEMA:
                raise InputError(f"{path} is written in format {model['schema_version']}, not {_SCHEMA}. {_AGAIN}")
            self._graph = Graph(model["graph_module"]["graph"])
            payloads = {kind: _read_json(archive, f"data/{kind}/{name}")["config"] for kind, name in _CONFIGS.items()}
            specs = model["graph_module"]["signature"]["input_specs"]
            self._sources = [_find_source(spec, payloads) for spec in specs]
            given = [name for name, source in zip(self._graph.inputs, self._sources, strict=True) if source is None]
            tensors = self._graph.tensors
            self.inputs = [_describe(tensors[name]) for name in given]
            self.outputs = [_describe(tensors[name]) for name in self._graph.outputs]
            bounds = [_read_batch(tensors[name]["sizes"][0], model["range_constraints"]) for name in given]
            self.batch = max(least for least, _ in bounds), min(most for _, most in bounds)

    def load(self, device: torch.device) -> list[torch.Tensor | None]:
        """Read the weights, in the order of the graph's inputs; None stands for what the caller gives.

        Raises:
            InputError: They are damaged.
        """
        with _reading(self._path) as archive:
            read = cache(partial(_read_storage, archive))
            return [source and _read_tensor(read, *source).to(device) for source in self._sources]

    def run(
        self, weights: Sequence[torch.Tensor | None], inputs: Sequence[torch.Tensor], device: torch.device
    ) -> tuple[Any, ...]:
        """Run it.

        Args:
            weights: What `load` gave.
            inputs: On the same device, as `inputs` and `batch` say.
            device: Where these are.

        Returns:
            Its outputs.

        Raises:
            InputError: An operator fails, or the program's results depend on more than its inputs.
        """
        own = [tensor for tensor in weights if tensor is not None]
        before, versions = _random_state(device), [tensor._version for tensor in own]
        left = iter(inputs)
        with torch.no_grad():
            outputs: tuple[Any, ...] = self._graph.run(
                [next(left) if tensor is None else tensor for tensor in weights], device
            )
        if not all(map(torch.equal, before, _random_state(device))):
            raise InputError(f"{self._path} draws random numbers of its own. Export it with all noise in z.")
        if versions != [tensor._version for tensor in own]:
            raise InputError(f"{self._path} changes its own weights when it runs. Export it without such a state.")
        return outputs


@contextmanager
def _reading(path: Path) -> Iterator[zipfile.ZipFile]:
    """Open the archive; whatever is wrong with what is read from it says that it is damaged."""
    try:
        with zipfile.ZipFile(path) as archive:
            yield archive
    except (
        *(zipfile.BadZipFile, zlib.error, OSError, EOFError),
        *(LookupError, TypeError, ValueError, AttributeError, RuntimeError, OverflowError, MemoryError),
    ) as error:
        reason = (str(error).splitlines() or [""])[0]
        raise InputError(
            f"{path} is damaged, or no program of torch.export.save ({type(error).__name__}: {reason}). {_AGAIN}"
        ) from error


def _read_member(archive: zipfile.ZipFile, name: str) -> bytes:
    """Read a member, which is never longer than the file: torch does not compress."""
    root = archive.namelist()[0].split("/")[0]
    member = archive.getinfo(f"{root}/{name}")
    if member.compress_type != zipfile.ZIP_STORED or member.file_size != member.compress_size:
        raise ValueError(f"{name} is compressed")
    return archive.read(member)


def _read_storage(archive: zipfile.ZipFile, name: str) -> torch.Tensor:
    data = bytearray(_read_member(archive, name))
    return torch.frombuffer(data, dtype=torch.uint8) if data else torch.empty(0, dtype=torch.uint8)


def _read_json(archive: zipfile.ZipFile, name: str) -> Any:
    return json.loads(_read_member(archive, name))


def _find_source(spec: Mapping[str, Any], payloads: Mapping[str, Any]) -> tuple[str, Mapping[str, Any]] | None:
    """Tell where the tensor of an input lies: in which folder, and as what; None if the caller gives it."""
    ((kind, content),) = spec.items()
    if kind == "user_input":
        return None
    if kind not in _NAME_KEYS:
        raise InputError(f"the program has an input of the kind {kind!r}; only tensors can be given.")
    name = content[_NAME_KEYS[kind]]
    folder = "constants" if kind == "tensor_constant" or content.get("persistent") is False else "weights"
    payload = payloads[folder][name]
    if payload["use_pickle"] or payload["tensor_meta"] is None:
        raise InputError(f"the program keeps {name!r} as a pickle, which is not read: it could run code.")
    return folder, payload


def _read_tensor(read: Callable[[str], torch.Tensor], folder: str, payload: Mapping[str, Any]) -> torch.Tensor:
    meta = payload["tensor_meta"]
    dtype = DTYPES[meta["dtype"]]
    sizes, strides = ([entry["as_int"] for entry in meta[key]] for key in ("sizes", "strides"))
    storage = read(f"data/{folder}/{payload['path_name']}")
    if math.prod(sizes) * dtype.itemsize > len(storage):
        raise ValueError(f"{payload['path_name']} has {len(storage)} bytes, too few for {sizes}")
    if dtype == torch.bool:  # other bits than those of 0 and 1 would be no truth values
        storage = storage != 0
    return storage.view(dtype).as_strided(sizes, strides, meta["storage_offset"]["as_int"])


def _describe(tensor: Mapping[str, Any]) -> TensorInfo:
    sizes = tensor["sizes"][1:]
    if not all("as_int" in size for size in sizes):
        raise InputError("the program has tensors of open size. Export it with the batch as its only dynamic size.")
    return TensorInfo(DTYPES[tensor["dtype"]], tuple(size["as_int"] for size in sizes))


def _read_batch(size: Mapping[str, Any], ranges: Mapping[str, Any]) -> tuple[int, float]:
    """Give the smallest and the largest batch that an input may have."""
    if "as_int" in size:
        return size["as_int"], size["as_int"]
    text = size["as_expr"]["expr_str"]
    symbol = _SYMBOL.fullmatch(text)
    if not symbol:
        raise InputError(f"the program takes batches of {text[:60]} only. Export it with torch.export.Dim('batch').")
    bounds = ranges.get(symbol[1], {})
    return max(1, bounds.get("min_val") or 1), bounds.get("max_val") or math.inf


def _random_state(device: torch.device) -> list[torch.Tensor]:
    return [torch.get_rng_state(), *([torch.cuda.get_rng_state(device)] if device.type == "cuda" else [])]
