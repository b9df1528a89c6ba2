"""Read networks that NVlabs' code pickled (StyleGAN2-ADA and its kin) without running anything the file holds.

Such a file carries the source text of its network, and the original code runs that text to read it. Here every global
that the file names is looked up in a list of inert records of ours, whose making runs nothing; a global that is not
in the list refuses the file. Only tensors, plain values and the constructor's arguments come out.
"""

import io
import mmap
import pickle
import pickletools
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, BinaryIO, cast

import torch

from sio_data.errors import InputError, first_line

_MOST_STEPS = 200_000  # a network of 1024 pixels, with all that is saved beside it, takes 43,000
_MOST_TUPLES = 20_000  # the same takes 3,000; Python crashes when it hashes a hundred thousand in one another
_MOST_MODULES = 10_000
# Opcodes that no such file needs and that look up objects past our list.
_REFUSED = {"EXT1", "EXT2", "EXT4", "PERSID", "BINPERSID", "NEXT_BUFFER", "READONLY_BUFFER"}


class _Inert:
    """What a call in the file becomes: a record of its arguments.

    Its `__setstate__` keeps the file from writing attributes, of the record and of the class alike.
    """

    __slots__ = ("arguments",)
    arguments: tuple[object, ...]

    def __new__(cls, *arguments: object) -> "_Inert":
        record = super().__new__(cls)
        record.arguments = arguments
        return record

    def __setstate__(self, state: object) -> None:
        raise InputError(f"it changes a {type(self).__name__.strip('_').lower()} after making it.")


class _Module(_Inert):
    __slots__ = ()


class _Parameter(_Inert):
    __slots__ = ()


class _Tensor(_Inert):
    __slots__ = ()


class _Storage(_Inert):
    __slots__ = ()


class _Unused(_Inert):
    """Something that the files hold and nobody reads; numpy's number types are given a state."""

    __slots__ = ()

    def __setstate__(self, state: object) -> None:
        pass


class _Dict(dict[object, object]):
    def __setstate__(self, state: object) -> None:
        raise InputError("it changes a mapping after making it.")


_GLOBALS: dict[tuple[str, str], type] = {
    ("torch_utils.persistence", "_reconstruct_persistent_obj"): _Module,
    ("torch._utils", "_rebuild_parameter"): _Parameter,
    ("torch._utils", "_rebuild_tensor_v2"): _Tensor,
    ("torch.storage", "_load_from_bytes"): _Storage,
    ("collections", "OrderedDict"): _Dict,
    ("dnnlib.util", "EasyDict"): _Dict,
    ("builtins", "set"): _Unused,
    ("numpy", "dtype"): _Unused,
    ("numpy.core.multiarray", "scalar"): _Unused,
    ("numpy._core.multiarray", "scalar"): _Unused,
}


class _Reader(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> type:
        if module.startswith("dnnlib.tflib"):
            raise InputError(
                "it holds networks of the TensorFlow version. Convert it with legacy.py of stylegan2-ada-pytorch."
            )
        if (module, name) not in _GLOBALS:
            raise InputError(f"it asks for {module}.{name}, which no network needs. Nothing of it was run.")
        return _GLOBALS[module, name]


@dataclass(frozen=True)
class PickledTensor:
    """A tensor that is still bytes.

    Attributes:
        shape: Its shape.
        stride: Distances between neighbours in the storage, a number for each dimension.
        offset: Where in the storage it begins.
        storage: The storage in torch's own file format.
    """

    shape: tuple[int, ...]
    stride: tuple[int, ...]
    offset: int
    storage: bytes

    def load(self) -> torch.Tensor:
        """Decode it.

        Returns:
            float32 [shape], with memory of its own.

        Raises:
            InputError: The bytes are no such tensor.
        """
        if self.storage.startswith(b"PK"):  # torch.save packs storages plainly; zipped ones can burst the memory
            raise InputError("a tensor is zipped, as no such file has it.")
        try:
            storage = torch.load(io.BytesIO(self.storage), map_location="cpu", weights_only=True)
            flat = torch.empty(0, dtype=storage.dtype).set_(storage._untyped_storage)
            tensor = flat.as_strided(self.shape, self.stride, self.offset)
        except Exception as error:  # damaged and hostile bytes raise all kinds of errors
            raise InputError(f"a tensor cannot be read: {first_line(error)[:200]}") from error
        if not tensor.is_floating_point():
            raise InputError(f"a tensor holds {tensor.dtype} where floats are expected.")
        return tensor.to(torch.float32).clone(memory_format=torch.contiguous_format)


@dataclass(frozen=True)
class PickledNetwork:
    """A network as its file describes it.

    Attributes:
        class_name: Name of its class in the original source.
        arguments: What its constructor was given, by name.
        tensors: Parameters and buffers under the names of the original's state dict.
    """

    class_name: str
    arguments: dict[str, object]
    tensors: dict[str, PickledTensor]


def read_network(path: Path, key: str) -> PickledNetwork:
    """Read one network of a file; its tensors stay bytes.

    Args:
        path: A `.pkl` that holds a dictionary of networks.
        key: Which of them, like `G_ema`.

    Raises:
        InputError: The file is damaged, asks for anything but networks, or holds no such network.
    """
    try:
        with path.open("rb") as file:
            return _as_network(_unpickle(file), key)
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror}).") from error
    except InputError as error:
        raise InputError(f"{path}: {error}") from error


def _unpickle(file: BinaryIO) -> object:
    try:
        # Mapped, a file gives what it has when more is asked for; otherwise that much memory would be set aside.
        with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
            _check_steps(data)
            data.seek(0)
            return _Reader(data).load()
    except (InputError, OSError):
        raise
    except Exception as error:  # damaged and hostile pickles raise all kinds of errors
        raise InputError(f"it is no pickle, or a damaged one: {first_line(error)[:200]}") from error


def _check_steps(data: mmap.mmap) -> None:
    """Look through the opcodes before any is followed."""
    tuples = 0
    for count, (opcode, argument, _) in enumerate(pickletools.genops(cast(IO[bytes], data))):
        if opcode.name in _REFUSED:
            raise InputError(f"it uses the pickle opcode {opcode.name}, which no network needs. Nothing of it was run.")
        tuples += opcode.name.startswith("TUPLE")
        # The unpickler makes a table as long as the highest number that is put into.
        high = "PUT" in opcode.name and type(argument) is int and argument > _MOST_STEPS
        if high or count > _MOST_STEPS or tuples > _MOST_TUPLES:
            raise InputError("it is far longer than any network's. Nothing of it was run.")


def _as_network(content: object, key: str) -> PickledNetwork:
    if not isinstance(content, dict) or not isinstance(content.get(key), _Module):
        raise InputError(f"it holds no network {key!r}; a file of NVlabs' training code is expected.")
    module = content[key]
    class_name, state = _described(module)
    arguments = state.get("_init_kwargs")
    if state.get("_init_args") not in ((), []) or not isinstance(arguments, dict):
        raise InputError(f"network {key!r} does not tell its constructor's arguments by name.")
    if not all(isinstance(name, str) for name in arguments):
        raise InputError(f"network {key!r} has constructor arguments without names.")
    return PickledNetwork(class_name, dict(arguments), dict(_tensors(state)))


def _described(module: _Inert) -> tuple[str, dict[object, object]]:
    """Give a module's class name and state; its source text is left unread."""
    meta = module.arguments[0] if len(module.arguments) == 1 else None
    if not isinstance(meta, dict):
        raise InputError("a module is not described.")
    name, state = meta.get("class_name"), meta.get("state")
    if not isinstance(name, str) or not isinstance(state, dict):
        raise InputError("a module has no class name or no state.")
    return name, state


def _tensors(state: dict[object, object]) -> Iterator[tuple[str, PickledTensor]]:
    """Give all parameters and buffers. A module that contains itself would have no end: modules are counted."""
    waiting = [("", state)]
    for _ in range(_MOST_MODULES):
        if not waiting:
            return
        prefix, state = waiting.pop()
        for name, value in [*_entries(state, "_parameters"), *_entries(state, "_buffers")]:
            yield prefix + name, _as_tensor(prefix + name, value)
        for name, value in _entries(state, "_modules"):
            if not isinstance(value, _Module):
                raise InputError(f"{prefix + name} is no module.")
            waiting.append((f"{prefix}{name}.", _described(value)[1]))
    raise InputError("it has far more modules than any network.")


def _entries(state: dict[object, object], kind: str) -> Iterator[tuple[str, object]]:
    entries = state.get(kind)
    if not isinstance(entries, dict):
        raise InputError(f"a module has no {kind.strip('_')}.")
    for name, value in entries.items():
        if not isinstance(name, str) or len(name) > 100:
            raise InputError(f"a module has {kind.strip('_')} without sound names.")
        if value is not None:
            yield name, value


def _as_tensor(name: str, value: object) -> PickledTensor:
    if isinstance(value, _Parameter) and value.arguments:
        value = value.arguments[0]
    match value:
        case _Tensor(arguments=(_Storage(arguments=(bytes() as storage,)), offset, shape, stride, *_)):
            (start,) = _counts(name, (offset,))
            return PickledTensor(_counts(name, shape), _counts(name, stride), start, storage)
    raise InputError(f"{name} is no sound tensor.")


def _counts(name: str, values: object) -> tuple[int, ...]:
    if isinstance(values, tuple) and all(type(value) is int and 0 <= value < 2**62 for value in values):
        return values
    raise InputError(f"{name} is no sound tensor.")
