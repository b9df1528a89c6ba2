"""Which operators a program of strangers may call: those that image generators are made of, going forward.

Many operators of torch trust their arguments: a backward pass writes wherever it is told, a sparse tensor reads there,
and `empty` shows what lay in memory before. So everything that is not listed here is refused. What was found
to crash on the CPU, in trials with senseless shapes, indices and settings, is left out or guarded below.
The trials were not exhaustive, and none was on a GPU: the list makes it much harder to reach memory
that is not the program's own, but is no proof. A program can still ask for more memory or time than there is.
"""

import math
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import torch

from sio_data.errors import InputError

_OPERATORS = {  # by their names without the overload
    "sizes and checks": """
        sym_size sym_numel sym_stride sym_storage_offset _assert_async _assert_scalar _assert_tensor_metadata
    """,
    "new tensors with values": """
        arange eye full full_like linspace new_full new_ones new_zeros ones ones_like scalar_tensor zeros zeros_like
        _to_copy alias clone contiguous copy detach lift_fresh_copy to type_as fill
    """,
    "shapes": """
        _unsafe_view broadcast_to cat channel_shuffle chunk concat diagonal expand expand_as flatten flip hstack
        meshgrid movedim narrow numpy_T permute pixel_shuffle pixel_unshuffle repeat repeat_interleave reshape
        reshape_as roll select select_scatter slice slice_scatter split split_with_sizes squeeze stack swapaxes t
        tile transpose tril triu unbind unflatten unfold unsafe_split unsqueeze view view_as vstack im2col
    """,
    "indices, which these compare with the size": """
        embedding gather index index_put index_select one_hot scatter scatter_add masked_fill where
    """,
    "elements": """
        abs acos add addcdiv addcmul asin atan atan2 ceil clamp clamp_max clamp_min cos cosh div divide erf exp exp2
        expm1 floor floor_divide fmod frac lerp log log10 log1p log2 maximum minimum mul multiply neg negative pow
        reciprocal remainder round rsqrt rsub sign sin sinh sqrt square sub subtract tan tanh trunc true_divide
        bitwise_and bitwise_not bitwise_or bitwise_xor logical_and logical_not logical_or logical_xor eq ge greater
        gt isfinite isinf isnan le less lt ne not_equal
    """,
    "activations": """
        celu elu gelu glu hardsigmoid hardswish hardtanh leaky_relu log_sigmoid log_softmax _log_softmax mish
        _prelu_kernel prelu relu relu6 selu sigmoid silu softmax _softmax _safe_softmax softplus dropout
        feature_dropout
    """,
    "reductions": """
        all amax amin any argmax argmin cumsum linalg_vector_norm logsumexp max mean min norm prod std std_mean sum
        var var_mean
    """,
    "layers": """
        addmm baddbmm bmm dot einsum linear matmul mm mv outer scaled_dot_product_attention conv1d conv2d conv3d
        conv_transpose1d conv_transpose2d conv_transpose3d convolution _native_batch_norm_legit
        _native_batch_norm_legit_no_training batch_norm group_norm instance_norm layer_norm native_group_norm
        native_layer_norm rms_norm _fused_rms_norm _adaptive_avg_pool2d adaptive_avg_pool1d adaptive_avg_pool2d
        avg_pool1d avg_pool2d avg_pool3d max_pool2d max_pool2d_with_indices constant_pad_nd pad
        reflection_pad1d reflection_pad2d
        reflection_pad3d replication_pad1d replication_pad2d replication_pad3d _upsample_bicubic2d_aa
        _upsample_bilinear2d_aa _upsample_nearest_exact1d _upsample_nearest_exact2d _upsample_nearest_exact3d
        upsample_bicubic2d upsample_bilinear2d upsample_linear1d upsample_nearest1d upsample_nearest2d
        upsample_nearest3d upsample_trilinear3d
    """,
    "in place, element by element, so none changes a size": """
        add_ clamp_ copy_ div_ elu_ exp_ fill_ hardtanh_ leaky_relu_ mul_ neg_ relu_ relu6_ sigmoid_ silu_ sub_
        tanh_ zero_ detach_ masked_fill_
    """,
}
_ALLOWED = frozenset(name for names in _OPERATORS.values() for name in names.split())
_BARRED = {
    ("view", "dtype"),  # would make truth values of any bits
    ("to", "prim_Device"),  # crash where nothing is asked for
    ("to", "prim_dtype"),
    ("repeat_interleave", "Tensor"),  # crashes where the sum of the counts overflows
    ("repeat_interleave", "self_Tensor"),
}
_WITHOUT_TENSORS = {"sym_size", "sym_numel", "sym_stride", "sym_storage_offset"}
_INSTANCE_NORM = "_native_batch_norm_legit.no_stats"  # what it is decomposed into, "training" or not
_TRAINING = ("train", "training")
_SCALES = 1 / 1024, 1024
_WINDOWS = ("kernel_size", "stride", "padding", "output_padding", "dilation", "groups", "pad", "output_size")
_LONGEST = 2**24  # torch computes with these unchecked, so that products of larger ones overflow
_KINDS = {  # torch takes whole numbers for these too, and crashes if they stand for none
    "dtype": torch.dtype,
    "layout": torch.layout,
    "memory_format": torch.memory_format,
    "device": torch.device,
}


def find_operator(name: str, overload: str) -> Callable[..., Any]:
    """Give the operator `torch.ops.aten.NAME.OVERLOAD`, guarded, if a generator may call it.

    Raises:
        InputError: It is none, or is not among those that are known to be safe.
    """
    target = f"torch.ops.aten.{name}.{overload}"[:80]
    found = getattr(getattr(torch.ops.aten, name, None), overload, None)
    if not isinstance(found, torch._ops.OpOverload):
        raise InputError(f"the program calls {target!r}, which is no operator of torch.ops.aten.")
    if name not in _ALLOWED and torch.Tag.nondeterministic_seeded in found.tags:
        raise InputError(f"the program draws random numbers of its own ({target}). Export it with all noise in z.")
    if not _is_listed(found, name, overload):
        raise InputError(f"the program calls {target!r}, which is not among the operators that generators are made of.")
    return partial(_call, found, f"{name}.{overload}")


def _is_listed(found: torch._ops.OpOverload, name: str, overload: str) -> bool:
    """Judge by the name, and leave out the overloads that change their arguments, or are for lists and texts."""
    schema = found._schema
    if name not in _ALLOWED or schema.is_mutable != name.endswith("_"):
        return False
    if (name, overload) in _BARRED:
        return False
    if any(word in str(schema) for word in ("Dimname", "Generator")):
        return False
    kinds = [str(result.type) for result in schema.returns]
    return name in _WITHOUT_TENSORS or all(kind in ("Tensor", "List[Tensor]") for kind in kinds)


def _call(operator: torch._ops.OpOverload, target: str, *positional: Any, **keyword: Any) -> Any:
    names = (argument.name for argument in operator._schema.arguments)
    _check(target, {**dict(zip(names, positional, strict=False)), **keyword})
    return operator(*positional, **keyword)


def is_training(operator: Callable[..., Any], positional: list[Any], keyword: Mapping[str, Any]) -> bool:
    """Tell whether a call is one of training: a dropout that drops, or a norm by the batch's own statistics."""
    if not isinstance(operator, partial):
        return False
    found, target = operator.args
    names = (argument.name for argument in found._schema.arguments)
    given = {**dict(zip(names, positional, strict=False)), **keyword}
    return target != _INSTANCE_NORM and any(bool(given.get(name)) for name in _TRAINING)


def _check(target: str, given: Mapping[str, Any]) -> None:
    """Refuse what torch itself does not.

    Raises:
        ValueError: The arguments do not fit together.
    """
    base = target.split(".")[0]
    for name, kind in _KINDS.items():
        if not isinstance(given.get(name), kind | None):
            raise ValueError(f"{given[name]!r} is no {name}")
    for name in _WINDOWS:
        lengths = given.get(name)
        for length in lengths if isinstance(lengths, list) else [lengths]:
            if isinstance(length, int) and abs(length) > _LONGEST:
                raise ValueError(f"{name} {length} is senseless")
    values: Any = given.get("input", given.get("self"))
    if "batch_norm" in base:
        _check_batch_norm(target, values, given)
    if base == "native_group_norm":
        counts = [given[name] for name in ("N", "C", "HxW", "group")]
        if min(counts) < 0 or math.prod(counts[:3]) != values.numel() or counts[3] < 1 or counts[1] % counts[3]:
            raise ValueError(f"the counts {counts} do not fit the shape {[*values.shape]}")
    if "upsample" in base:
        scales = [value for name, value in given.items() if name.startswith("scale") and value is not None]
        for scale in [part for value in scales for part in (value if isinstance(value, list) else [value])]:
            if not _SCALES[0] <= scale <= _SCALES[1]:
                raise ValueError(f"a scale of {scale} is senseless")
    if given.get("rounding_mode") == "trunc" and not any(
        isinstance(value, torch.Tensor) and value.is_floating_point() for value in given.values()
    ):  # the processor stops at the least whole number divided by -1
        raise ValueError("whole numbers are not divided with rounding_mode 'trunc' here")


def _check_batch_norm(target: str, values: torch.Tensor, given: Mapping[str, Any]) -> None:
    if values.dim() < 2:
        raise ValueError(f"{values.dim()} dimensions are too few")
    for name in ("weight", "bias", "running_mean", "running_var"):
        if given.get(name) is not None and given[name].shape != values.shape[1:2]:
            raise ValueError(f"{name} has the shape {[*given[name].shape]}, not {[*values.shape[1:2]]}")
    if target != _INSTANCE_NORM:
        if given.get("running_mean") is None or given.get("running_var") is None:
            raise ValueError("the running statistics are missing")
    elif given.get("training") is not True:
        raise ValueError("without running statistics it works in training mode only")
    elif len(values) != 1:
        raise ValueError("it mixes the images of a batch. Export the program with running statistics")
