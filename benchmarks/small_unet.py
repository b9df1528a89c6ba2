"""A class-conditional U-Net with random weights: its speed does not depend on what it knows."""

from pathlib import Path

import torch
from diffusers import DDIMScheduler, UNet2DModel

from sio_data.fitting.pipeline import ClassConditionalPipeline

CLASSES = 10


def save_unet(folder: Path, image_size: int, channels: tuple[int, ...]) -> str:
    """Save one in the form that `generate --generator diffusers` reads; gives its folder as text."""
    torch.manual_seed(0)
    plain = len(channels) - 1
    unet = UNet2DModel(
        sample_size=image_size,
        layers_per_block=1,
        block_out_channels=channels,
        down_block_types=("DownBlock2D",) * plain + ("AttnDownBlock2D",),
        up_block_types=("AttnUpBlock2D",) + ("UpBlock2D",) * plain,
        attention_head_dim=16,
        norm_num_groups=8,
        num_class_embeds=CLASSES + 1,
    )
    names = {str(label): f"class {label}" for label in range(CLASSES)}
    ClassConditionalPipeline(unet.eval(), DDIMScheduler(), names).save_pretrained(folder)
    return str(folder)
