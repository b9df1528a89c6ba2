"""The diffusers pipeline of what `fit` trains: a class-conditional U-Net with DDIM sampling."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from diffusers import DDIMScheduler, DiffusionPipeline, ImagePipelineOutput, SchedulerMixin, UNet2DModel

from sio_data.backend import to_uint8
from sio_data.denoising import DEFAULT_GUIDANCE, DEFAULT_STEPS, denoise
from sio_data.errors import InputError
from sio_data.files import read_json
from sio_data.safe_loading import load_network, load_part


class ClassConditionalPipeline(DiffusionPipeline):
    """Draw images of given classes.

    The U-Net has one class embedding more than there are classes: the last one means "no class" and serves
    classifier-free guidance (Ho & Salimans 2021, arXiv 2207.12598).

    Args:
        unet: A `UNet2DModel` with class embeddings.
        scheduler: A scheduler of diffusers; `fit` gives a `DDIMScheduler` (Song et al. 2021, arXiv 2010.02502).
        id2label: Class names by index, as text. (It has a default because diffusers takes what has none for a module.)
    """

    def __init__(self, unet: UNet2DModel, scheduler: SchedulerMixin, id2label: dict[str, str] | None = None) -> None:
        super().__init__()
        self.register_modules(unet=unet, scheduler=scheduler)
        self.register_to_config(id2label=id2label or {})

    @property
    def class_names(self) -> tuple[str, ...]:
        """The class map."""
        names: dict[str, str] = self.config.id2label
        return tuple(names[str(label)] for label in range(len(names)))

    def denoise(
        self,
        class_labels: Sequence[int] | torch.Tensor,
        generator: Sequence[torch.Generator],
        num_inference_steps: int = DEFAULT_STEPS,
        guidance_scale: float = DEFAULT_GUIDANCE,
    ) -> torch.Tensor:
        """Sample with the pipeline's scheduler; all noise of an image comes from its generator.

        Args:
            class_labels: B indices into `class_names`.
            generator: One CPU generator for each image.
            num_inference_steps: Steps of the sampler.
            guidance_scale: 1 means no guidance; w gives `none + w * (class - none)` (the paper's w + 1).

        Returns:
            float32 [B, 3, H, W] in [-1, 1], on the pipeline's device.
        """
        images = denoise(
            self.unet,
            self.scheduler,
            torch.as_tensor(class_labels, device=self.device),
            generator,
            steps=num_inference_steps,
            guidance=guidance_scale,
            null_class=self.unet.config.num_class_embeds - 1,
        )
        return images.clamp(-1, 1)

    def __call__(
        self,
        class_labels: Sequence[int],
        generator: Sequence[torch.Generator] | None = None,
        num_inference_steps: int = DEFAULT_STEPS,
        guidance_scale: float = DEFAULT_GUIDANCE,
    ) -> ImagePipelineOutput:
        """Draw PIL images, as the pipelines of diffusers do; for the arguments see `denoise`.

        Args:
            class_labels: B indices into `class_names`.
            generator: One CPU generator for each image; None draws fresh seeds.
            num_inference_steps: Steps of the sampler.
            guidance_scale: 1 means no guidance.

        Returns:
            An object whose `images` are B pictures.
        """
        from PIL import Image

        generators = generator or [torch.Generator() for _ in class_labels]
        if generator is None:
            for fresh in generators:
                fresh.seed()
        pixels = to_uint8(self.denoise(class_labels, generators, num_inference_steps, guidance_scale))
        return ImagePipelineOutput([Image.fromarray(image) for image in pixels.permute(0, 2, 3, 1).cpu().numpy()])


def load_pipeline(folder: str | Path, device: torch.device | str = "cpu") -> ClassConditionalPipeline:
    """Load a folder that `fit` saved.

    The parts are loaded one by one, from safetensors: `DiffusionPipeline.from_pretrained` would import whatever module
    the folder's `model_index.json` names.

    Args:
        folder: The folder.
        device: Where to put the network.

    Raises:
        InputError: A part is missing or damaged.
    """
    folder = Path(folder)
    id2label = read_class_map(folder)
    unet = load_network(UNet2DModel, folder / "unet")
    scheduler = load_part(DDIMScheduler, folder / "scheduler")
    if unet.config.num_class_embeds != len(id2label) + 1:
        raise InputError(
            f"{folder}: the U-Net has {unet.config.num_class_embeds} class embeddings, "
            f"its class map of {len(id2label)} classes needs {len(id2label) + 1}."
        )
    pipeline = ClassConditionalPipeline(unet, scheduler, id2label)
    pipeline.to(device)
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


def read_class_map(folder: Path) -> dict[str, str]:
    """Read class names by index from a pipeline folder's `model_index.json`.

    Raises:
        InputError: There is none, or the indices are not 0, 1, 2, ...
    """
    index: dict[str, Any] = read_json(folder / "model_index.json")
    names = index.get("id2label")
    if not isinstance(names, dict) or {*names} != {str(label) for label in range(len(names))}:
        raise InputError(f"{folder / 'model_index.json'} has no sound class map (id2label).")
    return {str(label): str(names[str(label)]) for label in range(len(names))}
