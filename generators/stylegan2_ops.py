"""The arithmetic of StyleGAN2's generator: modulated convolution, upsampling, activation (arXiv 1912.04958)."""

import math

import torch
import torch.nn.functional as F


def unit_length(x: torch.Tensor) -> torch.Tensor:
    """Scale vectors so that the mean of their squares is 1."""
    return x * torch.rsqrt(x.square().mean(1, keepdim=True) + 1e-8)


def modulated_conv(
    x: torch.Tensor, weight: torch.Tensor, styles: torch.Tensor, *, demodulate: bool, up_filter: torch.Tensor | None
) -> torch.Tensor:
    """Convolve each sample with weights of its own (arXiv 1912.04958, equations 1 and 3).

    Scaling the weights' input channels by s and their output channels by d gives what scaling the input by s and the
    output by d gives; the latter has one set of weights for the whole batch, and is much faster.

    Args:
        x: float32 [B, I, H, H].
        weight: float32 [O, I, K, K], K odd.
        styles: float32 [B, I], the scale s of each input channel.
        demodulate: Whether to bring each output channel back to unit variance.
        up_filter: A low-pass filter to upsample by two, or None to keep the size.

    Returns:
        float32 [B, O, H, H], or twice the height and width.
    """
    x = x * styles[:, :, None, None]
    if up_filter is None:
        x = F.conv2d(x, weight, padding=weight.shape[-1] // 2)
    else:
        x = upsampling_conv(x, weight, up_filter)
    if demodulate:
        power = styles.square() @ weight.square().sum((2, 3)).T
        x = x * torch.rsqrt(power + 1e-8)[:, :, None, None]
    return x


def upsampling_conv(x: torch.Tensor, weight: torch.Tensor, low_pass: torch.Tensor) -> torch.Tensor:
    """Put zeros between pixels, convolve with the weights, then with a low-pass filter of gain 4.

    Args:
        x: float32 [B, I, H, H].
        weight: float32 [O, I, K, K], K odd; turned by 180 degrees if compared to torch's own convolutions.
        low_pass: float32 [T, T], summing to 1.

    Returns:
        float32 [B, O, 2H, 2H].
    """
    spread = F.conv_transpose2d(x, weight.transpose(0, 1), stride=2)
    taps = low_pass.shape[-1]
    # Zeros and weights have shifted the image by (K - 1) / 2 pixels; the filter is put in the middle of the rest.
    before = (taps + 1) // 2 - weight.shape[-1] // 2
    after = 2 * x.shape[-1] + taps - 1 - before - spread.shape[-1]
    return _filter(F.pad(spread, (before, after, before, after)), 4 * low_pass)


def upsample(x: torch.Tensor, low_pass: torch.Tensor) -> torch.Tensor:
    """Put zeros between pixels and convolve with a low-pass filter of gain 4.

    Args:
        x: float32 [B, C, H, H].
        low_pass: float32 [T, T], summing to 1.

    Returns:
        float32 [B, C, 2H, 2H].
    """
    batch, channels, size, _ = x.shape
    flat = x.reshape(batch * channels, 1, size, size)
    spread = F.conv_transpose2d(flat, 4 * low_pass[None, None], stride=2)
    before = (low_pass.shape[-1] + 1) // 2 - (low_pass.shape[-1] - 1)
    after = 2 * size - before - spread.shape[-1]
    return F.pad(spread, (before, after, before, after)).reshape(batch, channels, 2 * size, 2 * size)


def _filter(x: torch.Tensor, kernel: torch.Tensor) -> torch.Tensor:
    """Convolve each channel with the same kernel, without padding."""
    batch, channels, height, width = x.shape
    filtered = F.conv2d(x.reshape(batch * channels, 1, height, width), kernel.flip(0, 1)[None, None])
    return filtered.reshape(batch, channels, *filtered.shape[-2:])


def activate(x: torch.Tensor) -> torch.Tensor:
    """Apply a leaky ReLU that keeps the variance."""
    return F.leaky_relu(x, 0.2) * math.sqrt(2)


def clamp(x: torch.Tensor, limit: float | None, gain: float = 1.0) -> torch.Tensor:
    """Cut values off at +-limit * gain; None is no limit."""
    return x if limit is None else x.clamp(-limit * gain, limit * gain)
