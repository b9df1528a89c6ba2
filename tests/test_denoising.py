import math
from types import SimpleNamespace

import diffusers
import pytest
import torch

from sio_data.denoising import denoise, ignore_numpy_warnings
from sio_data.errors import InputError
from sio_data.generators.diffusers_families import DIFFUSION_SCHEDULERS

MEAN, SPREAD = 0.2, 0.3
SCHEDULES = {
    "epsilon": diffusers.DDIMScheduler(clip_sample=False),
    "v_prediction": diffusers.DDIMScheduler(
        beta_schedule="squaredcos_cap_v2", prediction_type="v_prediction", timestep_spacing="trailing"
    ),
}


class KnownDenoiser:
    """What a network would say that has learnt independent normal pixels of a known mean and spread by heart."""

    config = SimpleNamespace(in_channels=3, sample_size=8)
    device, dtype = torch.device("cpu"), torch.float32

    def __init__(self, kind: str) -> None:
        self.kind = kind

    def __call__(self, images: torch.Tensor, timesteps: torch.Tensor, class_labels: torch.Tensor) -> SimpleNamespace:
        assert timesteps.shape == class_labels.shape == images.shape[:1]
        step = timesteps[0].item()
        low, high = int(step), min(int(step) + 1, 999)
        signals = SCHEDULES[self.kind].alphas_cumprod.log()
        signal = torch.lerp(signals[low], signals[high], step - low).exp().item()
        alpha, sigma = math.sqrt(signal), math.sqrt(1 - signal)
        gain = alpha * SPREAD**2 / (signal * SPREAD**2 + sigma**2)
        clean = MEAN + gain * (images - alpha * MEAN)
        noise = (images - alpha * clean) / sigma
        return SimpleNamespace(sample=noise if self.kind == "epsilon" else alpha * noise - sigma * clean)


def draw(name: str, kind: str, seeds: list[int], steps: int = 20) -> torch.Tensor:
    with ignore_numpy_warnings():
        scheduler = getattr(diffusers, name).from_config(SCHEDULES[kind].config)
    generators = [torch.Generator().manual_seed(seed) for seed in seeds]
    return denoise(KnownDenoiser(kind), scheduler, torch.zeros(len(seeds), dtype=torch.int64), generators, steps=steps)


@pytest.mark.parametrize("kind", SCHEDULES)
@pytest.mark.parametrize("name", DIFFUSION_SCHEDULERS)
def test_every_scheduler_samples_the_distribution_and_each_sample_from_its_own_generator(name: str, kind: str) -> None:
    torch.manual_seed(1)
    together = draw(name, kind, [0, 1, 2, 3])
    assert together.mean().item() == pytest.approx(MEAN, abs=0.06)
    assert 0.2 < together.std().item() < 0.45
    torch.manual_seed(2)
    assert torch.allclose(draw(name, kind, [2]), together[2:3], atol=1e-4)


def test_another_scheduler_would_not_pass() -> None:
    assert draw("IPNDMScheduler", "epsilon", [0, 1, 2, 3]).std() > 0.5


def test_one_generator_for_several_images_is_refused() -> None:
    scheduler = SCHEDULES["epsilon"]
    with pytest.raises(InputError, match="2 images need as many generators, not 1"):
        denoise(KnownDenoiser("epsilon"), scheduler, torch.tensor([0, 1]), [torch.Generator()], steps=1)


def test_guidance_without_a_label_for_no_class_is_refused() -> None:
    with pytest.raises(InputError, match="no label for no class"):
        denoise(
            KnownDenoiser("epsilon"), SCHEDULES["epsilon"], torch.tensor([0]), [torch.Generator()], steps=1, guidance=2
        )
