"""Files as NVlabs' training code pickles them, with weights of ours."""

import math
import pickle
import sys
from collections import OrderedDict
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import torch

from sio_data.generators.nvlabs_pickle import PickledNetwork
from sio_data.generators.stylegan2 import _empty_network
from sio_data.generators.stylegan2_config import read_config

TINY: dict[str, Any] = {
    "z_dim": 6,
    "c_dim": 3,
    "w_dim": 5,
    "img_resolution": 8,
    "img_channels": 3,
    "mapping_kwargs": {"num_layers": 2},
    "synthesis_kwargs": {"channel_base": 32, "channel_max": 6, "num_fp16_res": 4, "conv_clamp": 256},
}


# Mapping layers use a hundredth of their weights; the others are chosen so that images are neither grey nor saturated.
_SCALES = {".fc": 100.0, "noise_strength": 0.5, "torgb.affine": 1.0, "torgb": 0.12}


class EasyDict(dict[str, Any]):
    pass


def _reconstruct_persistent_obj(meta: object) -> object:
    raise AssertionError("our reader must not call this")


class Persistent:
    """A module that is pickled as `torch_utils.persistence` does it."""

    def __init__(self, class_name: str, state: dict[str, Any], source: str = "raise SystemExit") -> None:
        self.meta = {"type": "class", "version": 6, "module_src": source, "class_name": class_name, "state": state}

    def __reduce__(self) -> tuple[Any, ...]:
        return _reconstruct_persistent_obj, (self.meta,), None


@contextmanager
def nvlabs_modules() -> Iterator[None]:
    """Let pickle find the two helpers above under the names that they have in the original."""
    persistence, util = ModuleType("torch_utils.persistence"), ModuleType("dnnlib.util")
    homes = {(persistence, _reconstruct_persistent_obj), (util, EasyDict)}
    names = {module.__name__: module for module, _ in homes} | {n: ModuleType(n) for n in ("torch_utils", "dnnlib")}
    before = {helper: helper.__module__ for _, helper in homes}
    for module, helper in homes:
        setattr(module, helper.__name__, helper)
        helper.__module__ = module.__name__
    sys.modules.update(names)
    try:
        yield
    finally:
        for helper, name in before.items():
            helper.__module__ = name
        for name in names:
            del sys.modules[name]


def dump(path: Path, content: object, protocol: int = 4) -> Path:
    with nvlabs_modules():
        path.write_bytes(pickle.dumps(content, protocol))
    return path


def made_up_tensors(arguments: Mapping[str, Any]) -> dict[str, torch.Tensor]:
    """Weights by a formula, so that the original code can be given the same."""
    network = _empty_network(read_config(PickledNetwork("Generator", dict(arguments), {})))
    tensors = {}
    for place, (name, tensor) in enumerate(sorted(network.state_dict().items())):
        if name.endswith("resample_filter"):
            usual = [1, 3, 3, 1]  # the second convolution has it in any case, and does not use it
            taps = usual if "conv1" in name else arguments["synthesis_kwargs"].get("resample_filter", usual)
            filter_ = torch.tensor(taps, dtype=torch.float32)
            tensors[name] = torch.outer(filter_, filter_) / filter_.sum().square()
        else:
            waves = torch.sin(torch.arange(tensor.numel(), dtype=torch.float64) * 1.7 + place) * 1.4
            scale = next((scale for part, scale in _SCALES.items() if part in name), 1)
            tensors[name] = (waves * scale).reshape(tensor.shape).float()
    return tensors


def as_module(tensors: Mapping[str, torch.Tensor], class_name: str, **state: Any) -> Persistent:
    """Nest tensors as modules do, with the odds and ends that they hold besides."""
    own = {name: tensor for name, tensor in tensors.items() if "." not in name}
    buffers = {name: tensor for name, tensor in own.items() if name in ("resample_filter", "noise_const", "w_avg")}
    children: OrderedDict[str, Persistent] = OrderedDict()
    for child in dict.fromkeys(name.partition(".")[0] for name in tensors if "." in name):
        inner = {name.partition(".")[2]: tensor for name, tensor in tensors.items() if name.startswith(f"{child}.")}
        children[child] = as_module(inner, "Layer", _init_args=(), _init_kwargs={})
    parameters = {name: torch.nn.Parameter(t, requires_grad=False) for name, t in own.items() if name not in buffers}
    return Persistent(
        class_name,
        {
            "training": False,
            "_parameters": OrderedDict(parameters) | {"none": None},
            "_buffers": OrderedDict(buffers),
            "_non_persistent_buffers_set": set(),
            "_modules": children,
            "weight_gain": 1 / np.sqrt(5),
            "act_gain": math.sqrt(2),
            **state,
        },
    )


def write_network(
    path: Path,
    arguments: Mapping[str, Any] = TINY,
    tensors: Mapping[str, torch.Tensor] | None = None,
    *,
    class_name: str = "Generator",
    init_args: tuple[object, ...] = (),
    protocol: int = 4,
) -> Path:
    tensors = made_up_tensors(arguments) if tensors is None else tensors
    network = as_module(tensors, class_name, _init_args=init_args, _init_kwargs=EasyDict(arguments))
    other = as_module({"weight": torch.ones(2)}, "Discriminator", _init_args=(), _init_kwargs={})
    content = {"training_set_kwargs": EasyDict(path="x"), "G": network, "D": other, "G_ema": network}
    return dump(path, content | {"augment_pipe": None}, protocol)
