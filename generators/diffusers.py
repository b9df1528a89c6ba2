"""Back end `diffusers`: class-conditional pipelines of diffusers, and the U-Net that `sio-data fit` trains."""

from collections.abc import Mapping, Sequence
from functools import cached_property
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
from sio_data.denoising import denoise
from sio_data.device import pick_device
from sio_data.errors import InputError, first_line
from sio_data.generators.diffusers_families import (
    count_classes,
    find_family,
    find_scheduler,
    open_scheduler,
    read_class_names,
    read_size,
)
from sio_data.recipe import Option
from sio_data.safe_loading import DIFFUSERS_WEIGHTS, load_network

_FILES = (
    "model_index.json",
    "scheduler/*.json",
    *(f"{part}/{name}" for part in ("unet", "transformer", "vae") for name in ("*.json", *DIFFUSERS_WEIGHTS)),
)


class DiffusersGenerator:
    """Draw images with a class-conditional pipeline of diffusers; see `sio_data.generator.Generator`.

    It takes DiT (Peebles & Xie 2023, arXiv 2212.09748), consistency models (Song et al. 2023, arXiv 2303.01469), and
    what `sio-data fit` makes.

    Sampling options: `steps` (of the scheduler), `guidance` (classifier-free, 1 = none), `scheduler` (a class of
    diffusers; default the folder's own), `dtype` (of the network), `compile` (`yes`: by torch.compile). Steps and
    guidance are by default 250 and 1.5 for DiT, as in its paper; 1 and none for consistency models; 20 and 1 for the
    U-Net of `fit`.

    Args:
        weights: A folder in the format of diffusers, or its name on the Hub.
        classes: Names for the classes of weights that carry none.
        image_size: None, or less than the pipeline's own to have the images made smaller.
        sampling: Options as text.
        device: Where to run; None means the best device at hand.

    Raises:
        InputError: The folder is no such pipeline, or the size or an option cannot be had.
    """

    about = About(
        weights="a folder that `sio-data fit` made, or a DiT or consistency model of diffusers (like "
        "facebook/DiT-XL-2-256 or openai/diffusers-cd_imagenet64_l2), or its name on the Hub",
        classes="those it was trained on",
        sizes="up to the one it was trained for",
        licence="that of the model's card",
        options={
            "steps": Own(Number(1, 1, 1000)),
            "guidance": Own(Number(1.0, 0, 100)),
            "scheduler": Own(Text("")),
            "dtype": Choice("float32", ("float32", "float16", "bfloat16")),
            "compile": Choice("no", ("no", "yes")),
        },
    )
    citation = ""

    def __init__(
        self,
        weights: str,
        *,
        classes: Sequence[str] | None = None,
        image_size: int | None = None,
        sampling: Mapping[str, str] | None = None,
        device: str | None = None,
    ) -> None:
        options = read_options("diffusers", self.about.options, sampling or {})
        self._device = pick_device(device)
        self._folder, self.revision = find_folder(weights, _FILES)
        self._family = find_family(self._folder)
        self.class_names = read_class_names(self._folder, self._family, classes)
        self._null_class = count_classes(self._folder, self._family) if self._family.guided else None
        self.image_size = check_size("this generator", image_size, read_size(self._folder, self._family))
        self.sampling = self._settle(options)
        self._scheduler = open_scheduler(
            self._folder, self._family, str(self.sampling["scheduler"]), int(self.sampling["steps"])
        )
        self.licence = read_licence(self._folder / "README.md")
        self.citation = self._family.citation

    def _settle(self, options: Mapping[str, Option]) -> dict[str, Option]:
        """Put what suits the pipeline in the place of what was not given."""
        asked = None if options["scheduler"] == OWN else str(options["scheduler"])
        own: dict[str, Option] = {
            "steps": self._family.steps,
            "guidance": self._family.guidance,
            "scheduler": find_scheduler(self._folder, self._family, asked),
        }
        settled = {name: own[name] if value == OWN else value for name, value in options.items()}
        if settled["guidance"] != 1 and not self._family.guided:
            raise InputError(f"{self._family.pipeline} has no guidance, not {settled['guidance']}. Leave it out.")
        return settled

    @cached_property
    def _network(self) -> Any:
        import diffusers

        kind, dtype = getattr(diffusers, self._family.network), getattr(torch, str(self.sampling["dtype"]))
        network = load_network(kind, self._folder / self._family.part, dtype).to(self._device)
        if self.sampling["compile"] == "yes":
            network.compile()
        return network

    @cached_property
    def _vae(self) -> Any:
        """The decoder of latents. It stays in float32: it runs once for many steps, and may overflow in float16."""
        from diffusers import AutoencoderKL

        vae = load_network(AutoencoderKL, self._folder / "vae").to(self._device)
        vae.enable_slicing()  # decodes one image at a time, which a batch of large ones would need much memory for
        return vae

    def sample(self, labels: torch.Tensor, seeds: Sequence[int]) -> torch.Tensor:
        """Make one image for each label; see `sio_data.generator.Generator.sample`."""
        images = self._denoise(labels, seeds)
        if self._family.latent:
            images = self._decode(images)
        return resize(to_uint8(images), self.image_size)

    def _denoise(self, labels: torch.Tensor, seeds: Sequence[int]) -> torch.Tensor:
        try:
            return denoise(
                self._network,
                self._scheduler,
                labels.to(self._device),
                seeded_generators(seeds),
                steps=int(self.sampling["steps"]),
                guidance=float(self.sampling["guidance"]),
                null_class=self._null_class,
            )
        except RuntimeError as error:
            if not type(error).__module__.startswith(("torch._dynamo", "torch._inductor")):
                raise
            raise InputError(
                f"the network cannot be compiled here: {first_line(error)}. Leave out compile=yes."
            ) from error

    @torch.no_grad()
    def _decode(self, latents: torch.Tensor) -> torch.Tensor:
        images: torch.Tensor = self._vae.decode(latents / self._vae.config.scaling_factor).sample
        return images
