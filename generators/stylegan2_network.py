"""The generator network of StyleGAN2, for sampling only.

Written from the papers: Karras et al., "Analyzing and Improving the Image Quality of StyleGAN" (arXiv 1912.04958) and
"Training Generative Adversarial Networks with Limited Data" (arXiv 2006.06676). Parameters and buffers bear the names
that published weights have.

All learned weights are stored at unit variance and scaled when used ("equalized learning rate"): by 1/sqrt(fan-in).
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F
from torch import nn

from .stylegan2_ops import activate, clamp, modulated_conv, unit_length, upsample

Architecture = Literal["skip", "orig", "resnet"]


@dataclass(frozen=True)
class NetworkConfig:
    """What decides the network's shape.

    Attributes:
        z_dim: Length of the latent z.
        c_dim: Number of classes; 0 is unconditional.
        w_dim: Length of the latent w, which styles all layers.
        image_size: Height and width of the images: a power of two, 4 at least.
        image_channels: Colour channels.
        mapping_layers: Layers from z to w.
        embed_features: Length of the class embedding.
        layer_features: Width of the layers between z and w.
        lr_multiplier: Factor of the mapping layers' weights and biases.
        channel_base: A layer of R pixels has channel_base / R feature maps,
        channel_max: but no more than these.
        architecture: `skip` adds up an RGB image from each resolution, `orig` and `resnet` make one at the end.
        resample_filter: Taps of the low-pass filter of upsampling.
        conv_clamp: Largest absolute value of activations; None is no limit.
        use_noise: Whether layers take noise.
    """

    z_dim: int
    c_dim: int
    w_dim: int
    image_size: int
    image_channels: int
    mapping_layers: int
    embed_features: int
    layer_features: int
    lr_multiplier: float
    channel_base: int
    channel_max: int
    architecture: Architecture
    resample_filter: tuple[float, ...]
    conv_clamp: float | None
    use_noise: bool

    def feature_maps(self, resolution: int) -> int:
        """Give the number of feature maps of the layers at a resolution."""
        return min(self.channel_base // resolution, self.channel_max)


class StyleGAN2(nn.Module):
    """Latents and classes in, images out.

    Args:
        config: The network's shape. Weights are left uninitialized.
    """

    def __init__(self, config: NetworkConfig) -> None:
        super().__init__()
        self.config = config
        self.mapping = _Mapping(config)
        self.synthesis = _Synthesis(config)

    def forward(
        self,
        z: torch.Tensor,
        labels: torch.Tensor,
        truncation: float = 1.0,
        noise: str = "const",
        generators: Sequence[torch.Generator] = (),
    ) -> torch.Tensor:
        """Make images.

        Args:
            z: float32 [B, z_dim], standard normal.
            labels: int64 [B] in [0, c_dim); not looked at without classes.
            truncation: 1 leaves w as it is, 0 puts the average w in its place.
            noise: `const` adds the noise maps stored with the weights, `random` fresh ones, `none` nothing.
            generators: For random noise, a CPU generator for each sample.

        Returns:
            float32 [B, image_channels, image_size, image_size], about [-1, 1].
        """
        w = self.mapping(z, labels)
        if truncation != 1:
            w = torch.lerp(self.mapping.w_avg, w, truncation)
        image: torch.Tensor = self.synthesis(w, noise, generators)
        return image


def _parameter(*shape: int) -> nn.Parameter:
    return nn.Parameter(torch.empty(shape))


class _Linear(nn.Module):
    def __init__(self, inputs: int, outputs: int, lr_multiplier: float = 1.0) -> None:
        super().__init__()
        self.weight = _parameter(outputs, inputs)
        self.bias = _parameter(outputs)
        self._gain = lr_multiplier

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return F.linear(x, self.weight * (self._gain / math.sqrt(x.shape[1])), self.bias * self._gain)


class _Mapping(nn.Module):
    """From z and class to w."""

    w_avg: torch.Tensor

    def __init__(self, config: NetworkConfig) -> None:
        super().__init__()
        self._classes, self._layers = config.c_dim, config.mapping_layers
        if config.c_dim:
            self.embed = _Linear(config.c_dim, config.embed_features)
        widths = [config.layer_features] * (config.mapping_layers - 1) + [config.w_dim]
        inputs = config.z_dim + (config.embed_features if config.c_dim else 0)
        for index, outputs in enumerate(widths):
            self.add_module(f"fc{index}", _Linear(inputs, outputs, config.lr_multiplier))
            inputs = outputs
        self.register_buffer("w_avg", torch.empty(config.w_dim))

    def forward(self, z: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        x = unit_length(z)
        if self._classes:
            one_hot = F.one_hot(labels, self._classes).to(x.dtype)
            x = torch.cat([x, unit_length(self.embed(one_hot))], 1)
        for index in range(self._layers):
            x = activate(self.get_submodule(f"fc{index}")(x))
        return x


class _StyledConv(nn.Module):
    """A modulated 3x3 convolution with noise, bias and activation; it may upsample by two."""

    resample_filter: torch.Tensor
    noise_const: torch.Tensor

    def __init__(self, config: NetworkConfig, inputs: int, resolution: int, *, up: bool) -> None:
        super().__init__()
        outputs = config.feature_maps(resolution)
        self._up, self._resolution, self._clamp, self._use_noise = up, resolution, config.conv_clamp, config.use_noise
        self.affine = _Linear(config.w_dim, inputs)
        self.weight = _parameter(outputs, inputs, 3, 3)
        self.bias = _parameter(outputs)
        taps = len(config.resample_filter) if up else 4  # stored even where it is not used, then of the default length
        self.register_buffer("resample_filter", torch.empty(taps, taps))
        if config.use_noise:
            self.noise_strength = _parameter()
            self.register_buffer("noise_const", torch.empty(resolution, resolution))

    def forward(
        self, x: torch.Tensor, w: torch.Tensor, noise: str, generators: Sequence[torch.Generator], gain: float
    ) -> torch.Tensor:
        up_filter = self.resample_filter if self._up else None
        x = modulated_conv(x, self.weight, self.affine(w), demodulate=True, up_filter=up_filter)
        if self._use_noise and noise == "const":
            x = x + self.noise_const * self.noise_strength
        elif self._use_noise and noise == "random":
            shape = (1, self._resolution, self._resolution)
            fresh = torch.stack([torch.randn(shape, generator=generator) for generator in generators])
            x = x + fresh.to(x.device) * self.noise_strength
        return clamp(activate(x + self.bias[:, None, None]) * gain, self._clamp, gain)


class _ToRGB(nn.Module):
    """A modulated 1x1 convolution to colours, without demodulation."""

    def __init__(self, config: NetworkConfig, inputs: int) -> None:
        super().__init__()
        self._clamp = config.conv_clamp
        self.affine = _Linear(config.w_dim, inputs)
        self.weight = _parameter(config.image_channels, inputs, 1, 1)
        self.bias = _parameter(config.image_channels)

    def forward(self, x: torch.Tensor, w: torch.Tensor) -> torch.Tensor:
        styles = self.affine(w) / math.sqrt(x.shape[1])
        colours = modulated_conv(x, self.weight, styles, demodulate=False, up_filter=None)
        return clamp(colours + self.bias[:, None, None], self._clamp)


class _Shortcut(nn.Module):
    """A 1x1 convolution that upsamples: the other branch of a residual block."""

    resample_filter: torch.Tensor

    def __init__(self, config: NetworkConfig, inputs: int, outputs: int) -> None:
        super().__init__()
        self.weight = _parameter(outputs, inputs, 1, 1)
        self.register_buffer("resample_filter", _empty_filter(config))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return upsample(F.conv2d(x, self.weight / math.sqrt(x.shape[1])), self.resample_filter)


class _Block(nn.Module):
    """The layers of one resolution."""

    resample_filter: torch.Tensor

    def __init__(self, config: NetworkConfig, resolution: int) -> None:
        super().__init__()
        outputs = config.feature_maps(resolution)
        self._first = resolution == 4
        self._residual = config.architecture == "resnet" and not self._first
        self._colours = config.architecture == "skip" or resolution == config.image_size
        self.register_buffer("resample_filter", _empty_filter(config))
        if self._first:
            self.const = _parameter(outputs, 4, 4)
        else:
            inputs = config.feature_maps(resolution // 2)
            self.conv0 = _StyledConv(config, inputs, resolution, up=True)
        self.conv1 = _StyledConv(config, outputs, resolution, up=False)
        if self._colours:
            self.torgb = _ToRGB(config, outputs)
        if self._residual:
            self.skip = _Shortcut(config, inputs, outputs)

    def forward(
        self,
        x: torch.Tensor | None,
        image: torch.Tensor | None,
        w: torch.Tensor,
        noise: str,
        generators: Sequence[torch.Generator],
    ) -> tuple[torch.Tensor, torch.Tensor | None]:
        gain = math.sqrt(0.5) if self._residual else 1.0
        if x is None:
            y = self.conv1(self.const.expand(len(w), -1, -1, -1), w, noise, generators, gain)
        else:
            y = self.conv1(self.conv0(x, w, noise, generators, 1.0), w, noise, generators, gain)
            if self._residual:
                y = y + self.skip(x) * gain
        if image is not None:
            image = upsample(image, self.resample_filter)
        if self._colours:
            colours = self.torgb(y, w)
            image = colours if image is None else image + colours
        return y, image


class _Synthesis(nn.Module):
    """From w to an image, from 4x4 pixels upwards."""

    def __init__(self, config: NetworkConfig) -> None:
        super().__init__()
        self._resolutions = [2**power for power in range(2, config.image_size.bit_length())]
        for resolution in self._resolutions:
            self.add_module(f"b{resolution}", _Block(config, resolution))

    def forward(self, w: torch.Tensor, noise: str, generators: Sequence[torch.Generator]) -> torch.Tensor | None:
        x = image = None
        for resolution in self._resolutions:
            x, image = self.get_submodule(f"b{resolution}")(x, image, w, noise, generators)
        return image


def _empty_filter(config: NetworkConfig) -> torch.Tensor:
    return torch.empty(len(config.resample_filter), len(config.resample_filter))
