import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from sio_data import Classifier
from sio_data.backend import resize, seeded_generators, to_uint8
from sio_data.denoising import denoise
from sio_data.errors import InputError, UnknownNameError
from sio_data.generator import JudgingGenerator, open_generator
from sio_data.generators.unconditional import UnconditionalGenerator

# The DPM solver of diffusers 0.42 calls numpy in a way that numpy 2 deprecates.
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")

LABELS = torch.zeros(3, dtype=torch.int64)
SEEDS = [5, 6, 7]
WEIGHTS = "diffusion_pytorch_model.safetensors"


def save_model(folder: Path, **config: Any) -> Path:
    """A real DDPM of tiny images."""
    from diffusers import DDPMPipeline, DDPMScheduler, UNet2DModel

    torch.manual_seed(0)
    options: dict[str, Any] = {
        "sample_size": 8,
        "block_out_channels": (8, 8),
        "layers_per_block": 1,
        "norm_num_groups": 4,
        "down_block_types": ("DownBlock2D",) * 2,
        "up_block_types": ("UpBlock2D",) * 2,
        "attention_head_dim": 4,
    }
    network = UNet2DModel(**(options | config))
    DDPMPipeline(network, DDPMScheduler(num_train_timesteps=100)).save_pretrained(folder)
    (folder / "README.md").write_text("---\nlicense: apache-2.0\n---\n")
    return folder


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_model(tmp_path_factory.mktemp("model"))


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A real classifier that says different things of different noise."""
    torch.manual_seed(1)
    classifier = Classifier("convnet", ["one", "two", "three"], 12).eval()
    noise = torch.randint(0, 256, (256, 3, 12, 12), dtype=torch.uint8)
    with torch.no_grad():
        features = classifier.features(noise)
        classifier.head.weight.copy_(torch.randn_like(classifier.head.weight) / features.std(0))
        classifier.head.bias.copy_(-classifier.head.weight @ features.mean(0))
    folder = tmp_path_factory.mktemp("classifier")
    classifier.save_pretrained(folder)
    return folder


@pytest.fixture
def copy(model: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(model, tmp_path / "copy"))


def open_tiny(model: Path, checkpoint: Path, image_size: int | None = None, **sampling: str) -> UnconditionalGenerator:
    options = {"classifier": str(checkpoint), "steps": "3", **sampling}
    backend = open_generator("unconditional", str(model), image_size=image_size, sampling=options)
    assert isinstance(backend, UnconditionalGenerator)
    return backend


def edit(path: Path, **changes: object) -> None:
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def test_it_tells_what_it_is_without_reading_the_network(model: Path, checkpoint: Path) -> None:
    backend = open_generator("unconditional", str(model), sampling={"classifier": str(checkpoint)})
    assert isinstance(backend, JudgingGenerator)
    assert not backend.conditional
    assert backend.class_names == ("one", "two", "three")
    assert backend.image_size == 8
    assert backend.licence == "apache-2.0"
    assert str(backend.sampling["classifier"]).startswith("sha256:")
    assert {**backend.sampling, "classifier": ""} == {
        "classifier": "",
        "confidence": 0.8,
        "scheduler": "ddpm",
        "steps": 100,
        "dtype": "float32",
    }
    assert "_network" not in vars(backend)


@pytest.mark.parametrize("scheduler", ["ddpm", "ddim", "dpm"])
def test_samples_depend_on_nothing_but_the_seed(model: Path, checkpoint: Path, scheduler: str) -> None:
    backend = open_tiny(model, checkpoint, scheduler=scheduler)
    together = backend.sample(LABELS, SEEDS)
    assert together.dtype == torch.uint8
    assert together.shape == (3, 3, 8, 8)
    alone = torch.cat([backend.sample(LABELS[:1], [seed]) for seed in SEEDS])
    assert (together.int() - alone.int()).abs().max() <= 1
    torch.manual_seed(99)
    again = open_tiny(model, checkpoint, scheduler=scheduler).sample(LABELS + 2, SEEDS)
    assert torch.equal(together, again)
    assert not torch.equal(together[0], together[1])


@pytest.mark.parametrize("sampling", [{"steps": "4"}, {"scheduler": "ddim"}, {"dtype": "bfloat16"}])
def test_every_option_has_an_effect(model: Path, checkpoint: Path, sampling: dict[str, str]) -> None:
    changed = open_tiny(model, checkpoint, **sampling).sample(LABELS, SEEDS)
    assert not torch.equal(changed, open_tiny(model, checkpoint).sample(LABELS, SEEDS))


def test_the_steps_depend_on_the_scheduler(model: Path, checkpoint: Path, copy: Path) -> None:
    for scheduler, steps in (("ddpm", 100), ("ddim", 50), ("dpm", 25)):
        sampling = {"classifier": str(checkpoint), "scheduler": scheduler}
        assert open_generator("unconditional", str(model), sampling=sampling).sampling["steps"] == steps
    edit(copy / "scheduler/scheduler_config.json", _class_name="DDIMScheduler")
    assert open_tiny(copy, checkpoint).sampling["scheduler"] == "ddim"


def test_the_classifier_says_the_class_or_refuses(model: Path, checkpoint: Path) -> None:
    classifier = Classifier.from_pretrained(checkpoint)
    images = torch.randint(0, 256, (64, 3, 8, 8), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        sureness, classes = classifier(resize(images, 12)).softmax(1).max(1)
    middle = float(sureness.median())
    labels = torch.zeros(64, dtype=torch.int64)
    judged = open_tiny(model, checkpoint, confidence=str(middle)).judge(images, labels)
    assert torch.equal(judged, torch.where(sureness >= middle, classes, -1))
    assert {*judged.tolist()} == {-1, 0, 1, 2}
    assert torch.equal(open_tiny(model, checkpoint, confidence="0").judge(images, labels), classes)


def test_explain_names_the_confidence(model: Path, checkpoint: Path) -> None:
    assert "confidence=0.9" in open_tiny(model, checkpoint, confidence="0.9").explain()


def test_the_recipe_knows_the_classifier_by_its_content(model: Path, checkpoint: Path, tmp_path: Path) -> None:
    copy = Path(shutil.copytree(checkpoint, tmp_path / "copy"))
    (copy / "README.md").write_text("a card")
    known = open_tiny(model, checkpoint).sampling
    assert str(checkpoint) not in str(known)
    assert open_tiny(model, copy).sampling == known
    weights = load_file(copy / "model.safetensors")
    save_file({**weights, "head.bias": weights["head.bias"] + 1}, copy / "model.safetensors")
    assert open_tiny(model, copy).sampling != known


def test_an_old_folder_without_subfolders_gives_the_same_images(model: Path, checkpoint: Path, copy: Path) -> None:
    for file in [*copy.glob("*/*")]:
        file.rename(copy / file.name)
        if not any(file.parent.iterdir()):
            file.parent.rmdir()
    flat = open_tiny(copy, checkpoint)
    assert torch.equal(flat.sample(LABELS, SEEDS), open_tiny(model, checkpoint).sample(LABELS, SEEDS))
    edit(copy / "scheduler_config.json", beta_end=0.5)
    assert open_tiny(copy, checkpoint).revision != flat.revision


def test_grey_images_become_rgb(checkpoint: Path, tmp_path: Path) -> None:
    images = open_tiny(save_model(tmp_path, in_channels=1, out_channels=1), checkpoint).sample(LABELS, SEEDS)
    assert images.shape == (3, 3, 8, 8)
    assert torch.equal(images[:, 0], images[:, 2])
    assert images[:, 0].float().std() > 0


def test_images_come_out_smaller_if_asked_for(model: Path, checkpoint: Path) -> None:
    full = open_tiny(model, checkpoint).sample(LABELS, SEEDS)
    assert torch.equal(open_tiny(model, checkpoint, image_size=4).sample(LABELS, SEEDS), resize(full, 4))
    with pytest.raises(InputError, match="draws images of 8 pixels"):
        open_tiny(model, checkpoint, image_size=16)


def test_the_classifier_is_required(model: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="name a classifier with --sampling classifier=FOLDER"):
        open_generator("unconditional", str(model))
    with pytest.raises(InputError, match=r"sampling option classifier: .*no such folder"):
        open_tiny(model, tmp_path / "nothing")
    with pytest.raises(InputError, match="is no checkpoint"):
        open_tiny(model, tmp_path)


@pytest.mark.parametrize(
    ("sampling", "message"),
    [
        ({"confidence": "1.1"}, "from 0 to 1"),
        ({"confidence": "nan"}, "from 0 to 1"),
        ({"scheduler": "heun"}, "one of ddpm, ddim"),
        ({"steps": "101"}, "trained with 100 steps"),
        ({"steps": "0"}, "whole number from 1 to 1000"),
    ],
)
def test_an_option_out_of_range_is_refused(
    model: Path, checkpoint: Path, sampling: dict[str, str], message: str
) -> None:
    with pytest.raises(InputError, match=message):
        open_tiny(model, checkpoint, **sampling)


def test_an_unknown_option_is_refused(model: Path, checkpoint: Path) -> None:
    with pytest.raises(UnknownNameError, match="Did you mean 'confidence'"):
        open_tiny(model, checkpoint, confidense="1")


@pytest.mark.parametrize(
    ("file", "changes", "message"),
    [
        ("unet/config.json", {"num_class_embeds": 10}, "heeds classes. Take it with --generator diffusers"),
        ("unet/config.json", {"class_embed_type": "timestep"}, "heeds classes"),
        ("unet/config.json", {"in_channels": 4}, "1 or 3 channels, not 4"),
        ("unet/config.json", {"out_channels": 6}, "as many channels must come out"),
        ("unet/config.json", {"sample_size": [8, 16]}, "sample_size must be a number of pixels"),
        ("unet/config.json", {"_class_name": "UNet2DConditionModel"}, "not a UNet2DModel"),
        ("model_index.json", {"_class_name": "LDMPipeline"}, "'LDMPipeline' is none of DDPMPipeline"),
        ("scheduler/scheduler_config.json", {"_class_name": "os.system"}, "'os.system' is not known"),
        ("scheduler/scheduler_config.json", {"num_train_timesteps": "a"}, "must be a number of steps"),
    ],
)
def test_a_folder_of_something_else_is_refused(
    checkpoint: Path, copy: Path, file: str, changes: dict[str, object], message: str
) -> None:
    edit(copy / file, **changes)
    with pytest.raises(InputError, match=message):
        open_tiny(copy, checkpoint)


def test_an_unknown_scheduler_can_be_replaced(checkpoint: Path, copy: Path) -> None:
    edit(copy / "scheduler/scheduler_config.json", _class_name="MyScheduler")
    assert open_tiny(copy, checkpoint, scheduler="ddim").sample(LABELS, SEEDS).any()


@pytest.mark.parametrize(
    ("file", "changes"),
    [
        ("unet/config.json", {"layers_per_block": 2}),
        ("unet/config.json", {"down_block_types": ["os.system"] * 2}),
        ("unet/config.json", {"quantization_config": {"quant_method": "torchao"}}),
        ("unet/config.json", {"attention_head_dim": 0, "down_block_types": ["AttnDownBlock2D"] * 2}),
    ],
)
def test_a_damaged_config_is_refused(checkpoint: Path, copy: Path, file: str, changes: dict[str, object]) -> None:
    edit(copy / file, **changes)
    with pytest.raises(InputError, match=r"do not fit|no sound|may load code"):
        open_tiny(copy, checkpoint).sample(LABELS, SEEDS)


@pytest.mark.parametrize(
    "changes",
    [
        {"beta_schedule": "none"},
        {"prediction_type": "nonsense"},
        {"trained_betas": [0.1] * 3},
        {"timestep_spacing": "foo"},
        {"variance_type": "learned"},
        {"variance_type": "learned_range"},
    ],
)
def test_a_damaged_scheduler_is_refused_on_opening(checkpoint: Path, copy: Path, changes: dict[str, object]) -> None:
    edit(copy / "scheduler/scheduler_config.json", **changes)
    with pytest.raises(InputError, match=r"DDPMScheduler of .* cannot make|no sound DDPMScheduler"):
        open_tiny(copy, checkpoint)


@pytest.mark.parametrize("scheduler", ["ddpm", "ddim"])
def test_it_draws_what_diffusers_draws(model: Path, checkpoint: Path, scheduler: str) -> None:
    import diffusers

    kind = {"ddpm": "DDPM", "ddim": "DDIM"}[scheduler]
    own = getattr(diffusers, f"{kind}Scheduler").from_pretrained(model, subfolder="scheduler")
    unet = diffusers.UNet2DModel.from_pretrained(model, subfolder="unet").eval()
    pipeline = getattr(diffusers, f"{kind}Pipeline")(unet, own)
    pipeline.set_progress_bar_config(disable=True)
    theirs = pipeline(3, seeded_generators(SEEDS), num_inference_steps=5, output_type="pt").images
    ours = denoise(unet, own, None, seeded_generators(SEEDS), steps=5)
    assert torch.equal((ours / 2 + 0.5).clamp(0, 1), theirs)
    assert torch.equal(
        open_tiny(model, checkpoint, scheduler=scheduler, steps="5").sample(LABELS, SEEDS), to_uint8(ours)
    )


@pytest.mark.parametrize(("dtype", "most"), [("float16", 0.05), ("bfloat16", 0.4)])
def test_narrow_numbers_are_those_of_the_network_alone(
    model: Path, checkpoint: Path, dtype: str, most: float, capfd: pytest.CaptureFixture[str]
) -> None:
    exact = open_tiny(model, checkpoint, steps="100").sample(LABELS, SEEDS)
    capfd.readouterr()
    narrow = open_tiny(model, checkpoint, steps="100", dtype=dtype).sample(LABELS, SEEDS)
    assert 0 < (exact.int() - narrow.int()).abs().float().mean() < most
    assert capfd.readouterr() == ("", "")


def test_weights_missing_too_many_or_misshapen_are_refused(checkpoint: Path, copy: Path) -> None:
    whole = load_file(copy / "unet" / WEIGHTS)
    missing = {name: tensor for name, tensor in whole.items() if name != "conv_in.weight"}
    for weights in (missing, {**whole, "extra": torch.zeros(1)}, {**whole, "conv_in.weight": torch.zeros(3)}):
        save_file(weights, copy / "unet" / WEIGHTS, {"format": "pt"})
        with pytest.raises(InputError, match=r"do not fit|no sound"):
            open_tiny(copy, checkpoint).sample(LABELS, SEEDS)


def test_missing_or_cut_weights_are_refused(checkpoint: Path, copy: Path) -> None:
    weights = copy / "unet" / WEIGHTS
    expected = open_tiny(copy, checkpoint).sample(LABELS, SEEDS)
    state = load_file(weights)
    weights.write_bytes(weights.read_bytes()[:-1])
    with pytest.raises(InputError, match="no sound weights"):
        open_tiny(copy, checkpoint)
    weights.unlink()
    with pytest.raises(InputError, match="no safetensors file"):
        open_tiny(copy, checkpoint)
    torch.save(state, copy / "unet/diffusion_pytorch_model.bin")
    again = open_tiny(copy, checkpoint).sample(LABELS, SEEDS)
    assert (again.int() - expected.int()).abs().max() <= 1


def test_what_is_not_there_is_said_so(checkpoint: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such folder"):
        open_tiny(tmp_path / "nothing", checkpoint)
    with pytest.raises(InputError, match="Hub cannot be reached"):
        open_tiny(Path("owner/name"), checkpoint)
    with pytest.raises(InputError, match="no such file"):
        open_tiny(tmp_path, checkpoint)
