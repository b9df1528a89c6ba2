"""Back end `text2image`: text-to-image models of diffusers, which draw any class that can be named."""

import inspect
from collections.abc import Mapping, Sequence
from functools import cached_property
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch

from sio_data.backend import (
    OWN,
    About,
    Choice,
    Number,
    Own,
    Text,
    check_size,
    find_folder,
    read_licence,
    read_options,
    resize,
    seeded_generators,
    to_uint8,
)
from sio_data.denoising import load_scheduler
from sio_data.device import pick_device
from sio_data.errors import InputError
from sio_data.files import read_json
from sio_data.recipe import MAX_IMAGE_SIZE, Option
from sio_data.safe_loading import FOLDER_FILES, check_weights, find_components, load_network, load_part, quiet

# What `AutoPipelineForText2Image` knows and these options suit; its table takes seconds to import.
_PIPELINES = (
    "StableDiffusionPipeline",
    "StableDiffusionXLPipeline",
    "StableDiffusion3Pipeline",
    "LatentConsistencyModelPipeline",
    "PixArtAlphaPipeline",
    "PixArtSigmaPipeline",
    "SanaPipeline",
    "FluxPipeline",
)
_ARGUMENTS = {"steps": "num_inference_steps", "guidance": "guidance_scale"}
# Left out, these depend on which other packages are installed.
_SETTINGS = {"add_watermarker": False}
_CALL_SETTINGS = {"clean_caption": False}
_NEEDED = ("scheduler", "text_encoder", "tokenizer", "transformer", "unet", "vae")
_CLASS = "{class}"


class TextToImageGenerator:
    """Draw images from prompts; see `sio_data.generator.JudgingGenerator`.

    Sampling options: `prompt` (templates with `{class}`, separated by `|`; the images of a class take them in turn),
    `negative_prompt`, `steps` and `guidance` (default: the pipeline's own), `dtype`, and `draw_size` (pixels that the
    pipeline draws, of which `image_size` is made; default: the model's own).

    An image that comes out black is refused: a safety checker put it in the place of one it flagged, or half precision
    overflowed. A folder's safety checker always stays active.

    Args:
        weights: A folder in the format of diffusers, or its name on the Hub.
        classes: What to draw; required.
        image_size: None, or less than `draw_size` to have the images made smaller.
        sampling: Options as text.
        device: Where to run; None means the best device at hand.

    Raises:
        InputError: The folder is no such model or brings code, no class is named, or an option cannot be had.
    """

    citation = ""
    about = About(
        weights="a text-to-image folder of diffusers (Stable Diffusion, SDXL, SD 3, LCM, PixArt, Sana, Flux) or its "
        "name on the Hub",
        classes="any that can be named, with --class",
        sizes="up to what the pipeline draws",
        licence="that of the model's card",
        options={
            "prompt": Text(f"a photo of a {_CLASS}"),
            "negative_prompt": Text(""),
            "steps": Own(Number(1, 1, 1000)),
            "guidance": Own(Number(1.0, 0, 100)),
            "dtype": Choice("float32", ("float32", "float16", "bfloat16")),
            "draw_size": Own(Number(1, 1, MAX_IMAGE_SIZE)),
        },
    )
    conditional = True
    patience = 20

    def __init__(
        self,
        weights: str,
        *,
        classes: Sequence[str] | None = None,
        image_size: int | None = None,
        sampling: Mapping[str, str] | None = None,
        device: str | None = None,
    ) -> None:
        if not find_spec("transformers"):
            raise InputError("text2image needs the package transformers: pip install 'sio-data[text2image]'.")
        options = read_options("text2image", self.about.options, sampling or {})
        if not classes:
            raise InputError("text2image draws any class that can be named: name the classes with --class.")
        templates = _split_templates(str(options["prompt"]))
        self.class_names = tuple(name for name in classes for _ in templates)
        self._prompts = [template.replace(_CLASS, name) for name in classes for template in templates]
        self._device = pick_device(device)
        self._folder, self.revision = find_folder(weights, FOLDER_FILES)
        with quiet():
            self._kind, self._components = find_components(self._folder, _PIPELINES)
        self._check_components()
        self.sampling = self._settle(options)
        self._scheduler = load_scheduler(
            self._components["scheduler"], self._folder / "scheduler", int(self.sampling["steps"])
        )
        self.image_size = check_size("text2image", image_size, int(self.sampling["draw_size"]))
        self.licence = read_licence(self._folder / "README.md")

    def _check_components(self) -> None:
        for name in inspect.signature(self._kind).parameters:
            if name in _NEEDED and self._components.get(name) is None:
                raise InputError(f"{self._folder}: its model_index.json names no {name}, which is needed.")
        for name, kind in self._components.items():
            if _is_network(kind):
                check_weights(self._folder / name)

    def _settle(self, options: Mapping[str, Option]) -> dict[str, Option]:
        """Put in the place of what was not given what this pipeline does by itself."""
        known = inspect.signature(self._kind.__call__).parameters
        if options["negative_prompt"] and ("negative_prompt" not in known or "true_cfg_scale" in known):
            raise InputError(f"{self._kind.__name__} heeds no negative_prompt; leave it out.")
        own = {option: known[argument].default for option, argument in _ARGUMENTS.items() if options[option] == OWN}
        asked = None if options["draw_size"] == OWN else int(options["draw_size"])
        return {**options, **own, "draw_size": _settle_size(self._folder, asked)}

    @cached_property
    def _pipeline(self) -> Any:
        dtype = getattr(torch, str(self.sampling["dtype"]))
        index = {**read_json(self._folder / "model_index.json"), **_SETTINGS}
        parts = {
            name: kind and (load_network(kind, path, dtype) if _is_network(kind) else load_part(kind, path))
            for name, kind in self._components.items()
            if name != "scheduler"
            for path in [self._folder / name]
        }
        parts["scheduler"] = self._scheduler
        known = inspect.signature(self._kind).parameters
        settings = {name: index[name] for name in known if name in index and name not in parts}
        try:
            pipeline = self._kind(**settings, **parts)
        except (TypeError, ValueError, AttributeError) as error:
            raise InputError(f"{self._folder} holds no sound {self._kind.__name__}: {error}") from error
        pipeline.set_progress_bar_config(disable=True)
        return pipeline.to(self._device)

    def sample(self, labels: torch.Tensor, seeds: Sequence[int]) -> torch.Tensor:
        """Make one image for each label; see `sio_data.generator.Generator.sample`."""
        prompts = [self._prompts[label] for label in labels.tolist()]
        with quiet():
            images = self._draw(prompts, seeds)
        # An overflow need not befall every draw, so such an image is one to be drawn again, as a flagged one is.
        broken = ~images.isfinite().flatten(1).all(1)
        whole = images.masked_fill(broken.view(-1, 1, 1, 1), 0)
        return resize(to_uint8(whole * 2 - 1), self.image_size)

    @torch.no_grad()
    def _draw(self, prompts: list[str], seeds: Sequence[int]) -> torch.Tensor:
        """Give float32 images [B, 3, H, W] in [0, 1]; one that overflowed is not finite."""
        size = int(self.sampling["draw_size"])
        known = inspect.signature(self._kind.__call__).parameters
        arguments: dict[str, Any] = {name: value for name, value in _CALL_SETTINGS.items() if name in known}
        arguments |= {argument: self.sampling[option] for option, argument in _ARGUMENTS.items()}
        if negative := self.sampling["negative_prompt"]:
            arguments["negative_prompt"] = [negative] * len(prompts)
        try:
            images: torch.Tensor = self._pipeline(
                prompt=prompts,
                height=size,
                width=size,
                generator=seeded_generators(seeds),
                output_type="pt",
                **arguments,
            ).images.float()
        except (ValueError, TypeError, AttributeError, RuntimeError) as error:
            raise InputError(f"{self._kind.__name__} cannot draw this: {error}") from error
        if images.shape[1:] != (3, size, size):
            raise InputError(
                f"{self._kind.__name__} cannot draw {size} pixels, it gave {tuple(images.shape[2:])}. "
                "Ask for another draw_size."
            )
        return images

    def judge(self, images: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        """Take every image but black ones for what was asked; see `sio_data.generator.JudgingGenerator.judge`."""
        black = (images == 0).flatten(1).all(1).cpu()
        return torch.where(black, -1, labels.cpu())

    def explain(self) -> str:
        """Say why images come out black, and what to do."""
        return (
            "The images come out black: the model's safety checker flags them, or numbers overflow. Try another "
            "prompt or class, or, with dtype=float16, dtype=float32 or dtype=bfloat16."
        )


def _split_templates(prompt: str) -> list[str]:
    templates = [template.strip() for template in prompt.split("|")]
    if wrong := [template for template in templates if _CLASS not in template]:
        raise InputError(f"prompt {wrong[0]!r} does not say {_CLASS}, the place of the class's name.")
    return templates


def _is_network(kind: Any) -> bool:
    return isinstance(kind, type) and issubclass(kind, torch.nn.Module)


def _settle_size(folder: Path, wanted: int | None) -> int:
    """Give the pixels to draw: those asked for, or those of the denoiser's config."""
    denoiser = next((folder / name for name in ("unet", "transformer") if (folder / name).is_dir()), folder / "unet")
    latent = read_json(denoiser / "config.json").get("sample_size")
    vae = read_json(folder / "vae" / "config.json")
    blocks = vae.get("block_out_channels") or vae.get("encoder_block_out_channels")
    if not isinstance(blocks, list):
        raise InputError(f"{folder / 'vae' / 'config.json'} does not say block_out_channels.")
    factor = 2 ** (len(blocks) - 1)
    own = latent * factor if isinstance(latent, int) else 0
    size = wanted or own
    if size < 1:
        raise InputError(f"{denoiser} does not say which size it draws: ask for one with draw_size, in pixels.")
    if size % factor or size > MAX_IMAGE_SIZE:
        raise InputError(f"draw_size must be a multiple of {factor} up to {MAX_IMAGE_SIZE}, not {size}.")
    return size
