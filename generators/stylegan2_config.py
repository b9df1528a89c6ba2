"""Read the shape of a StyleGAN2-ADA network from the arguments that its file records. None of them is trusted."""

from collections.abc import Mapping
from typing import cast

from sio_data.errors import InputError

from .nvlabs_pickle import PickledNetwork
from .stylegan2_network import Architecture, NetworkConfig

_LARGEST = 4096  # of latents and layers; published networks have 512
_MOST_CLASSES = 100_000
_SIZES = (4, 8, 16, 32, 64, 128, 256, 512, 1024)
_ARCHITECTURES = ("skip", "orig", "resnet")

_TOP = {"z_dim", "c_dim", "w_dim", "img_resolution", "img_channels", "mapping_kwargs", "synthesis_kwargs"}
_MAPPING = {"num_layers", "embed_features", "layer_features", "activation", "lr_multiplier", "w_avg_beta"}
_SYNTHESIS = {
    "channel_base",
    "channel_max",
    "num_fp16_res",
    "architecture",
    "resample_filter",
    "conv_clamp",
    "fp16_channels_last",
    "use_noise",
    "activation",
}
# The stylegan3 repository saves a StyleGAN2 with what its synthesis network takes among the arguments of the whole, and
# with this one, which says how to calculate, not what.
_UNUSED = {"fused_modconv_default"}


def read_config(network: PickledNetwork) -> NetworkConfig:
    """Read a network's shape; what the arguments leave out has the original's default.

    Arguments that matter in training, or in half precision, alone are left aside.

    Raises:
        InputError: It is another kind of network, or an argument is unknown, of another kind or out of range.
    """
    if network.class_name != "Generator":
        raise InputError(f"it holds a network of class {network.class_name!r}, not StyleGAN2's Generator.")
    top = _known(network.arguments, _TOP | _SYNTHESIS | _UNUSED, "network")
    mapping = _known(top.get("mapping_kwargs", {}), _MAPPING, "mapping network")
    synthesis = {
        **{name: value for name, value in top.items() if name in _SYNTHESIS},
        **_known(top.get("synthesis_kwargs", {}), _SYNTHESIS, "synthesis network"),
    }
    for part in (mapping, synthesis):
        _one_of(part, "activation", ("lrelu",), "lrelu")
    w_dim = _count(top, "w_dim", _LARGEST)
    config = NetworkConfig(
        z_dim=_count(top, "z_dim", _LARGEST),
        c_dim=_count(top, "c_dim", _MOST_CLASSES, lowest=0),
        w_dim=w_dim,
        image_size=cast(int, _one_of(top, "img_resolution", _SIZES)),
        image_channels=cast(int, _one_of(top, "img_channels", (1, 3))),
        mapping_layers=_count(mapping, "num_layers", 16, 8),
        embed_features=_count(mapping, "embed_features", _LARGEST, w_dim),
        layer_features=_count(mapping, "layer_features", _LARGEST, w_dim),
        lr_multiplier=_number(mapping, "lr_multiplier", 100, 0.01),
        channel_base=_count(synthesis, "channel_base", 2**20, 32768),
        channel_max=_count(synthesis, "channel_max", _LARGEST, 512),
        architecture=cast(Architecture, _one_of(synthesis, "architecture", _ARCHITECTURES, "skip")),
        resample_filter=_taps(synthesis.get("resample_filter", [1, 3, 3, 1])),
        conv_clamp=None if synthesis.get("conv_clamp") is None else _number(synthesis, "conv_clamp", 1e6),
        use_noise=cast(bool, _one_of(synthesis, "use_noise", (True, False), True)),
    )
    if config.channel_base < config.image_size:
        raise InputError(f"argument channel_base is {config.channel_base}, too little for {config.image_size} pixels.")
    return config


def _known(arguments: object, names: set[str], part: str) -> Mapping[str, object]:
    if not isinstance(arguments, dict) or not all(isinstance(name, str) for name in arguments):
        raise InputError(f"the arguments of the {part} are not given by name.")
    if unknown := sorted({*arguments} - names):
        raise InputError(f"the {part} has an argument that StyleGAN2-ADA does not know: {unknown[0][:100]}.")
    return arguments


def _count(
    arguments: Mapping[str, object], name: str, highest: int, default: int | None = None, lowest: int = 1
) -> int:
    value = arguments.get(name)
    value = default if value is None else value
    if type(value) is not int or not lowest <= value <= highest:
        raise InputError(f"argument {name} is {_show(value)}, not a whole number from {lowest} to {highest}.")
    return value


def _number(arguments: Mapping[str, object], name: str, highest: float, default: float | None = None) -> float:
    value = arguments.get(name, default)
    if type(value) not in (int, float) or not 0 < cast(float, value) <= highest:
        raise InputError(f"argument {name} is {_show(value)}, not a number above 0 and up to {highest:g}.")
    return float(cast(float, value))


def _one_of(
    arguments: Mapping[str, object], name: str, known: tuple[object, ...], default: object | None = None
) -> object:
    value = arguments.get(name, default)
    if not any(type(value) is type(one) and value == one for one in known):
        raise InputError(f"argument {name} is {_show(value)}, not {' or '.join(map(str, known))}.")
    return value


def _taps(value: object) -> tuple[float, ...]:
    # Longer filters are stored in another form, by rows and columns; nobody has published such a network.
    if isinstance(value, list | tuple) and 1 <= len(value) <= 7 and all(type(tap) in (int, float) for tap in value):
        return tuple(map(float, value))
    raise InputError(f"argument resample_filter is {_show(value)}, not a list of 1 to 7 numbers.")


def _show(value: object) -> str:
    """Show a plain value; others may have no end."""
    return repr(value)[:100] if isinstance(value, int | float | str | None) else f"of type {type(value).__name__}"
