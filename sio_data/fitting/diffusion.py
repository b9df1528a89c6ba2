"""Train a class-conditional U-Net by denoising diffusion, resumable to the step.

Denoising diffusion: Ho et al. 2020, arXiv 2006.11239; cosine noise schedule: Nichol & Dhariwal 2021, arXiv 2102.09672;
the network predicts v = alpha * noise - sigma * image: Salimans & Ho 2022, arXiv 2202.00512.
"""

import hashlib
import math
import struct
from dataclasses import dataclass
from pathlib import Path
from pickle import UnpicklingError

import torch
import torch.nn.functional as F
from diffusers import DDIMScheduler, DDPMScheduler, UNet2DModel
from diffusers.training_utils import EMAModel

from sio_data.errors import InputError, SioDataError, first_line
from sio_data.files import atomic_path
from sio_data.image_set import ImageSet
from sio_data.progress import progress

_WARM_UP_STEPS = 50
_LABEL_DROPOUT = 0.1  # share of labels replaced by "no class", for guidance
_TIMESTEPS = 1000
_DAMAGE = (  # what torch.load raises for a file that is no state
    AttributeError, EOFError, LookupError, OSError, RuntimeError, TypeError, ValueError, UnpicklingError, struct.error,
)  # fmt: skip


@dataclass(frozen=True)
class DiffusionSettings:
    """What decides the trained weights, beside the data.

    Attributes:
        steps: Updates.
        batch_size: Images in each.
        learning_rate: Highest rate of AdamW: linear warm-up over 50 steps, then cosine to 0.
        channels: Channels of each level; the image is halved between levels.
        seed: Of the initial weights and of every batch.
    """

    steps: int
    batch_size: int
    learning_rate: float
    channels: tuple[int, ...]
    seed: int

    def __post_init__(self) -> None:
        if self.steps < 1 or self.batch_size < 1:
            raise InputError(f"steps and batch_size must be at least 1, not {self.steps} and {self.batch_size}.")
        if not 0 < self.learning_rate < math.inf:
            raise InputError(f"learning_rate must be above 0, not {self.learning_rate}.")
        if not self.channels or any(width < 16 or width % 16 for width in self.channels):
            raise InputError(f"channels must be multiples of 16, not {self.channels}.")

    @property
    def ema_decay(self) -> float:
        """Decay of the running mean of the weights: its memory is a tenth of the training."""
        return max(0.0, 1 - 10 / self.steps)


def check_size(settings: DiffusionSettings, image_size: int) -> None:
    """Refuse an image size that the levels cannot halve.

    Raises:
        InputError: It is not divisible.
    """
    factor = 2 ** (len(settings.channels) - 1)
    if image_size % factor:
        raise InputError(
            f"images of {image_size} pixels cannot be halved {len(settings.channels) - 1} times; "
            f"give an image size divisible by {factor}, or fewer channels."
        )


class DiffusionTrainer:
    """The network, its running mean, the optimiser, and where they are.

    Args:
        settings: See there.
        images: The training images.
        device: Where to train.
    """

    def __init__(self, settings: DiffusionSettings, images: ImageSet, device: torch.device) -> None:
        self.settings = settings
        self.device = device
        self.images = images.images.to(device)
        self.labels = images.labels.to(device)
        self.null_class = len(images.class_names)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(settings.seed)
            unet = _build_unet(settings.channels, images.image_size, self.null_class + 1)
        self.unet = unet.to(device, memory_format=torch.channels_last)
        self.ema = EMAModel(self.unet.parameters(), decay=settings.ema_decay)
        self.optimizer = torch.optim.AdamW(self.unet.parameters(), lr=settings.learning_rate, weight_decay=0.0)
        self.noise_schedule = DDPMScheduler(
            num_train_timesteps=_TIMESTEPS, beta_schedule="squaredcos_cap_v2", prediction_type="v_prediction"
        )
        self.losses: list[float] = []

    def run(self, state: Path, save_every: int) -> None:
        """Train to the last step, going on from a saved state.

        Args:
            state: File of the state; read if it is there, written every `save_every` steps.
            save_every: Steps between saves.

        Raises:
            SioDataError: The loss became NaN or infinite.
        """
        if state.is_file():
            self._load(state)
        done = len(self.losses)
        with progress("fitting", self.settings.steps, done) as advance:
            for step in range(done, self.settings.steps):
                loss = self._step(step)
                if not math.isfinite(loss):
                    raise SioDataError(f"the loss became {loss} at step {step}; give a lower learning rate.")
                self.losses.append(loss)
                advance(1, f"loss {self.recent_loss:.4f}")
                if (step + 1) % save_every == 0:
                    self._save(state)
        self._save(state)

    @property
    def recent_loss(self) -> float:
        """Mean loss over the last 100 steps."""
        recent = self.losses[-100:]
        return sum(recent) / len(recent)

    def averaged_unet(self) -> UNet2DModel:
        """Give the network with the running mean of its weights, in evaluation mode."""
        self.ema.copy_to(self.unet.parameters())
        return self.unet.to(memory_format=torch.contiguous_format).eval()

    def sampling_scheduler(self) -> DDIMScheduler:
        """Give the sampler that fits the noise schedule trained with."""
        return DDIMScheduler.from_config(self.noise_schedule.config, timestep_spacing="trailing")

    def _step(self, step: int) -> float:
        self.unet.train()
        clean, labels, noise, timesteps = self._draw(step)
        for group in self.optimizer.param_groups:
            group["lr"] = self.settings.learning_rate * _rate(step, self.settings.steps)
        noisy = self.noise_schedule.add_noise(clean, noise, timesteps)
        velocity = self.noise_schedule.get_velocity(clean, noise, timesteps)
        loss = F.mse_loss(self.unet(noisy, timesteps, class_labels=labels).sample, velocity)
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.unet.parameters(), 1.0)
        self.optimizer.step()
        self.ema.step(self.unet.parameters())
        return loss.item()

    def _draw(self, step: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
        """Draw a step's batch from (seed, step) alone, on the CPU, so that a resumed training draws the same."""
        digest = hashlib.sha256(f"{self.settings.seed}/{step}".encode()).digest()
        generator = torch.Generator().manual_seed(int.from_bytes(digest[:4], "big"))
        size = self.settings.batch_size
        chosen = torch.randint(len(self.images), (size,), generator=generator)
        dropped = torch.rand(size, generator=generator) < _LABEL_DROPOUT
        timesteps = torch.randint(_TIMESTEPS, (size,), generator=generator)
        noise = torch.randn(size, *self.images.shape[1:], generator=generator)
        chosen = chosen.to(self.device)
        clean = self.images[chosen].float() / 127.5 - 1
        labels = self.labels[chosen].masked_fill(dropped.to(self.device), self.null_class)
        return clean, labels, noise.to(self.device), timesteps.to(self.device)

    def _save(self, state: Path) -> None:
        value = {
            "unet": self.unet.state_dict(),
            "ema": self.ema.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "losses": self.losses,
        }
        with atomic_path(state) as temporary:
            try:
                torch.save(value, temporary)
            except RuntimeError as error:
                raise SioDataError(f"{state} cannot be written: {first_line(error)}") from error

    def _load(self, state: Path) -> None:
        try:
            saved = torch.load(state, map_location=self.device, weights_only=True)
            self.unet.load_state_dict(saved["unet"])
            self.ema.load_state_dict(saved["ema"])
            self.optimizer.load_state_dict(saved["optimizer"])
            self.losses = list(saved["losses"])
        except _DAMAGE as error:
            raise InputError(f"{state} is damaged ({first_line(error)}); delete it to train anew.") from error


def _rate(step: int, steps: int) -> float:
    return min(1.0, (step + 1) / _WARM_UP_STEPS) * 0.5 * (1 + math.cos(math.pi * step / steps))


def _build_unet(channels: tuple[int, ...], image_size: int, class_embeddings: int) -> UNet2DModel:
    """Build a U-Net with one residual block a level and self-attention at the coarsest."""
    plain = len(channels) - 1
    return UNet2DModel(
        sample_size=image_size,
        in_channels=3,
        out_channels=3,
        layers_per_block=1,
        block_out_channels=channels,
        down_block_types=("DownBlock2D",) * plain + ("AttnDownBlock2D",),
        up_block_types=("AttnUpBlock2D",) + ("UpBlock2D",) * plain,
        attention_head_dim=16,
        norm_num_groups=8,
        num_class_embeds=class_embeddings,
    )
