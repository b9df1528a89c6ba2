"""Runs the graph of an exported program: a list of calls of torch's own operators, and nothing else.

This is what keeps a hostile file from running code. `torch.export.load` would unpickle, load native code, evaluate
texts as Python and call whatever can be reached from the module `torch`. Here a call is made only if its target is
listed in `sio_data.generators.aten_operators`, or is one of a few functions of numbers; its arguments are numbers,
words and tensors. There is nothing else in the language.
"""

import math
import operator
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any

import torch

from sio_data.errors import InputError

from .aten_operators import find_operator, is_training

DTYPES = {
    1: torch.uint8,
    2: torch.int8,
    3: torch.int16,
    4: torch.int32,
    5: torch.int64,
    6: torch.float16,
    7: torch.float32,
    8: torch.float64,
    10: torch.complex64,
    11: torch.complex128,
    12: torch.bool,
    13: torch.bfloat16,
}
_MEMORY_FORMATS = {
    1: torch.contiguous_format,
    2: torch.channels_last,
    3: torch.channels_last_3d,
    4: torch.preserve_format,
}
_LAYOUTS = {7: torch.strided}
_ATEN = re.compile(r"torch\.ops\.aten\.(\w+)\.(\w+)")
_WIDTH, _POWER = 64, 64  # the bits of a size, and the largest exponent between two


def _of_numbers(call: Callable[..., Any]) -> Callable[..., Any]:
    """Keep a function to the numbers that sizes are computed with: texts and long integers could fill the memory."""

    def compute(*values: Any) -> Any:
        if call is operator.pow and abs(values[-1]) > _POWER:
            raise ValueError(f"an exponent of {values[-1]} is senseless")
        result = call(*map(_check_number, values))
        return _check_number(result)

    return compute


def _check_number(value: Any) -> Any:
    if not isinstance(value, int | float) or (isinstance(value, int) and value.bit_length() > _WIDTH):
        raise TypeError(f"only numbers of {_WIDTH} bits are computed with, not a {type(value).__name__}")
    return value


_CALLS: dict[str, Callable[..., Any]] = {
    **{f"math.{call.__name__}": _of_numbers(call) for call in (math.ceil, math.floor, math.trunc)},
    **{
        f"_operator.{call.__name__}": _of_numbers(call)
        for call in (
            *(operator.add, operator.sub, operator.mul, operator.floordiv, operator.truediv, operator.mod),
            *(operator.pow, operator.neg, operator.and_, operator.or_),
            *(operator.eq, operator.ne, operator.lt, operator.le, operator.gt, operator.ge),
        )
    },
    **{
        f"torch.{call.__name__}": _of_numbers(call)
        for call in (torch.sym_float, torch.sym_int, torch.sym_ite, torch.sym_max, torch.sym_min, torch.sym_not)
    },
    # What stands under torch.no_grad() in the source: a graph of its own, and gradients are off anyway.
    "torch.ops.higher_order.wrap_with_set_grad_enabled": lambda enabled, graph, *values: graph(values),
}


class _Name(str):
    """Stands in an argument for the value of that name."""


class Graph:
    """The graph of an exported program, checked but not yet run.

    Args:
        graph: As it stands in the program's JSON.

    Attributes:
        inputs: Names of the values that it takes.
        outputs: Names of the values that it gives.
        tensors: The JSON's shapes and dtypes, by name.

    Raises:
        InputError: It calls what is no operator of torch, or what a generator must not.
        LookupError, TypeError, ValueError, AttributeError: It is no graph.
    """

    def __init__(self, graph: Mapping[str, Any]) -> None:
        self.inputs = [_name(entry) for entry in graph["inputs"]]
        self.outputs = [_name(entry) for entry in graph["outputs"]]
        self.tensors: Mapping[str, Any] = graph["tensor_values"]
        self._nodes = [_Node(node) for node in graph["nodes"]]
        needed = {*self.outputs}
        for node in reversed(self._nodes):
            node.last_uses = node.names - needed
            needed |= node.names

    def run(self, values: Sequence[Any], device: torch.device) -> tuple[Any, ...]:
        """Call the operators one after another; what is no longer needed is freed.

        Args:
            values: One for each of `inputs`.
            device: Where these are; new tensors are made there, wherever the program was exported.

        Raises:
            InputError: An operator fails.
        """
        known: dict[str, Any] = dict(zip(self.inputs, values, strict=True))
        for node in self._nodes:
            try:
                node.run(known, device)
            except (
                *(RuntimeError, LookupError, TypeError, ValueError),
                *(ArithmeticError, AttributeError, MemoryError),
            ) as error:
                reason = (str(error).splitlines() or [type(error).__name__])[0]
                raise InputError(f"the program fails in {node.target}: {reason}") from error
            for name in node.last_uses:
                known.pop(name, None)
        return tuple(known[name] for name in self.outputs)


class _Node:
    """One call: a target, arguments, and names for what comes out."""

    def __init__(self, node: Mapping[str, Any]) -> None:
        self.target = str(node["target"])
        self._call = _find(self.target)
        self._positional = [_parse(entry["arg"]) for entry in node["inputs"] if entry["kind"] == 1]
        self._keyword = {entry["name"]: _parse(entry["arg"]) for entry in node["inputs"] if entry["kind"] == 2}
        self._results = [_parse(entry) for entry in node["outputs"]]
        if is_training(self._call, self._positional, self._keyword):
            raise InputError(f"the program was exported in training mode ({self.target}). Call .eval() before.")
        self.names = {*_names_in([*self._positional, *self._keyword.values(), *self._results])}
        self.last_uses: set[str] = set()

    def run(self, known: dict[str, Any], device: torch.device) -> None:
        positional = _resolve(self._positional, known, device)
        keyword = {name: _resolve(value, known, device) for name, value in self._keyword.items()}
        given = self._call(*positional, **keyword)
        values = given if isinstance(given, tuple) else [given] * len(self._results)
        for result, value in zip(self._results, values, strict=True):
            if isinstance(result, list):
                known.update(zip(result, value, strict=True))
            elif result is not None:
                known[result] = value


def _find(target: str) -> Callable[..., Any]:
    """Find what a target names, if it may be called at all."""
    if target in _CALLS:
        return _CALLS[target]
    match = _ATEN.fullmatch(target)
    if not match:
        raise InputError(f"the program calls {target[:80]!r}, which is no operator of torch.ops.aten.")
    return find_operator(match[1], match[2])


def _parse(argument: Mapping[str, Any]) -> Any:
    """Read an argument: a value, a list of values, a `_Name`, or a `Graph`."""
    ((kind, value),) = argument.items()
    match kind:
        case "as_none":
            return None
        case "as_tensor" | "as_sym_int" | "as_sym_float" | "as_sym_bool":
            return _parse_symbol(value)
        case "as_tensors" | "as_sym_ints" | "as_sym_floats" | "as_sym_bools":
            return [_parse_symbol(entry) for entry in value]
        case "as_optional_tensor":
            return _parse(value)
        case "as_optional_tensors":
            return [_parse(entry) for entry in value]
        case "as_int" | "as_bool" | "as_string" | "as_ints" | "as_bools" | "as_strings":
            return value
        case "as_float":
            return float(value)
        case "as_floats":
            return [float(entry) for entry in value]
        case "as_scalar_type":
            return DTYPES[value]
        case "as_memory_format":
            return _MEMORY_FORMATS[value]
        case "as_layout":
            return _LAYOUTS[value]
        case "as_device":
            return torch.device("meta")  # `_resolve` puts the device asked for in its place
        case "as_graph":
            return Graph(value["graph"])
    raise InputError(f"the program uses an argument of the kind {kind[:40]!r}, which is not known here.")


def _parse_symbol(value: Mapping[str, Any]) -> Any:
    """Read a value that has a name, or else a plain number."""
    ((kind, content),) = value.items()
    return _Name(content) if kind in ("name", "as_name") else content


def _name(entry: Mapping[str, Any]) -> str:
    name = _parse(entry)
    if not isinstance(name, _Name):
        raise ValueError(name)
    return name


def _names_in(values: Iterable[Any]) -> Iterator[str]:
    for value in values:
        if isinstance(value, list):
            yield from _names_in(value)
        elif isinstance(value, _Name):
            yield value


def _resolve(value: Any, known: Mapping[str, Any], device: torch.device) -> Any:
    """Put values in the places of their names, and the device asked for in the place of the program's."""
    if isinstance(value, list):
        return [_resolve(entry, known, device) for entry in value]
    if isinstance(value, _Name):
        return known[value]
    if isinstance(value, torch.device):
        return device
    return partial(value.run, device=device) if isinstance(value, Graph) else value
