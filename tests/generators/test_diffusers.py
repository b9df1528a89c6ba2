import json
import logging
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import diffusers
import pytest
import torch
from safetensors.torch import load_file, save_file

from sio_data.class_lists import imagenet_names, imagenet_wnids
from sio_data.errors import InputError, SioDataError, UnknownNameError
from sio_data.fitting import hash_weights
from sio_data.generator import open_generator
from sio_data.generators.diffusers import DiffusersGenerator

NAMES = ("ant", "bee", "cat", "dog", "eel")
UNET = "unet/diffusion_pytorch_model.safetensors"
TRANSFORMER = "transformer/diffusion_pytorch_model.safetensors"
VAE = "vae/diffusion_pytorch_model.safetensors"


def lively(network: torch.nn.Module) -> torch.nn.Module:
    """Give random weights so large that labels and noise show in the pixels."""
    generator = torch.Generator().manual_seed(0)
    for name, weights in network.named_parameters():
        weights.data.normal_(0, 1 if "embed" in name else 0.2, generator=generator)
    return network.eval()


def dit(classes: int, out_channels: int = 8) -> diffusers.DiTPipeline:
    transformer = diffusers.DiTTransformer2DModel(
        num_attention_heads=2, attention_head_dim=8, in_channels=4, out_channels=out_channels, num_layers=1,
        sample_size=4, num_embeds_ada_norm=classes,
    )  # fmt: skip
    vae = diffusers.AutoencoderKL(
        down_block_types=("DownEncoderBlock2D",) * 2, up_block_types=("UpDecoderBlock2D",) * 2,
        block_out_channels=(8, 8), latent_channels=4, norm_num_groups=4, sample_size=8,
    )  # fmt: skip
    return diffusers.DiTPipeline(lively(transformer), lively(vae), diffusers.DDIMScheduler(clip_sample=False))


def consistency(classes: int | None) -> diffusers.ConsistencyModelPipeline:
    unet = diffusers.UNet2DModel(
        sample_size=8, block_out_channels=(16,), down_block_types=("DownBlock2D",), up_block_types=("UpBlock2D",),
        layers_per_block=1, norm_num_groups=4, num_class_embeds=classes, resnet_time_scale_shift="scale_shift",
    )  # fmt: skip
    return diffusers.ConsistencyModelPipeline(lively(unet), diffusers.CMStochasticIterativeScheduler())


def edit(path: Path, **changes: object) -> None:
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


@pytest.fixture(scope="module")
def tiny_dit(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("dit")
    dit(classes=5).save_pretrained(folder)
    edit(folder / "model_index.json", id2label={str(label): name for label, name in enumerate(NAMES)})
    (folder / "README.md").write_text("---\nlicense: cc-by-nc-4.0\n---\n")
    return folder


@pytest.fixture(scope="module")
def tiny_consistency(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("consistency")
    consistency(classes=5).save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def folders(tiny_generator: Path, tiny_dit: Path, tiny_consistency: Path) -> dict[str, Path]:
    return {"fit": tiny_generator, "dit": tiny_dit, "consistency": tiny_consistency}


@pytest.fixture
def copies(folders: dict[str, Path], tmp_path: Path) -> Callable[[str], Path]:
    return lambda name: Path(shutil.copytree(folders[name], tmp_path / name))


FAMILIES = pytest.mark.parametrize("family", ["fit", "dit", "consistency"])
QUICK = {"fit": {"steps": "2"}, "dit": {"steps": "3"}, "consistency": {"steps": "2"}}


def draw(folder: Path, labels: list[int], seeds: list[int], **sampling: str) -> torch.Tensor:
    return open_generator("diffusers", str(folder), sampling=sampling).sample(torch.tensor(labels), seeds)


def difference(one: torch.Tensor, two: torch.Tensor) -> int:
    return int((one.int() - two.int()).abs().max())


def test_it_is_found_by_entry_point(tiny_generator: Path) -> None:
    assert isinstance(open_generator("diffusers", str(tiny_generator)), DiffusersGenerator)


def test_it_tells_what_it_is_without_reading_the_network(folders: dict[str, Path]) -> None:
    digits = ("zero", "one", "two", "three", "four", "five")
    for family, names, licence, steps, guidance, scheduler, citation in (
        ("fit", digits, "cc-by-4.0", 20, 1.0, "DDIMScheduler", ""),
        ("dit", NAMES, "cc-by-nc-4.0", 250, 1.5, "DDIMScheduler", "2212.09748"),
        ("consistency", tuple("01234"), "unknown", 1, 1.0, "CMStochasticIterativeScheduler", "2303.01469"),
    ):
        backend = open_generator("diffusers", str(folders[family]))
        assert (backend.class_names, backend.image_size, backend.licence) == (names, 8, licence)
        assert backend.sampling == {
            "steps": steps, "guidance": guidance, "scheduler": scheduler, "dtype": "float32", "compile": "no",
        }  # fmt: skip
        assert citation in backend.citation
        assert not {"_network", "_vae"} & {*vars(backend)}


@FAMILIES
def test_samples_are_rgb_uint8_and_depend_on_nothing_but_label_and_seed(folders: dict[str, Path], family: str) -> None:
    backend = open_generator("diffusers", str(folders[family]), sampling=QUICK[family])
    labels, seeds = torch.tensor([0, 1, 2]), [5, 6, 7]
    torch.manual_seed(1)
    together = backend.sample(labels, seeds)
    assert together.dtype == torch.uint8
    assert together.shape == (3, 3, 8, 8)
    torch.manual_seed(2)
    alone = torch.cat([backend.sample(labels[i : i + 1], seeds[i : i + 1]) for i in range(3)])
    assert difference(together, alone) <= 1
    assert torch.equal(together, backend.sample(labels, seeds))


@FAMILIES
def test_label_and_seed_both_matter(folders: dict[str, Path], family: str) -> None:
    images = draw(folders[family], [0, 1, 0], [3, 3, 4], **QUICK[family])
    assert difference(images[0], images[1]) > 0
    assert difference(images[0], images[2]) > 10


@pytest.mark.filterwarnings("ignore:__array")
@pytest.mark.parametrize(("scheduler", "guidance"), [("DDIMScheduler", 1), ("DPMSolverMultistepScheduler", 4)])
def test_dit_draws_what_diffusers_draws(tmp_path: Path, scheduler: str, guidance: int) -> None:
    pipeline = dit(classes=1000)
    pipeline.save_pretrained(tmp_path)
    own = diffusers.DDIMScheduler.from_pretrained(tmp_path, subfolder="scheduler")
    pipeline.scheduler = getattr(diffusers, scheduler).from_config(own.config)
    pipeline.set_progress_bar_config(disable=True)
    generators = [torch.Generator().manual_seed(seed) for seed in (8, 9)]
    theirs = pipeline(
        [3, 999], guidance_scale=guidance, generator=generators, num_inference_steps=4, output_type="pt"
    ).images
    ours = draw(tmp_path, [3, 999], [8, 9], scheduler=scheduler, guidance=str(guidance), steps="4")
    assert difference(ours, (theirs * 255).round()) <= 1


@pytest.mark.parametrize("steps", [1, 3])
def test_consistency_models_draw_what_diffusers_draws(tiny_consistency: Path, steps: int) -> None:
    pipeline = consistency(classes=5)
    pipeline.set_progress_bar_config(disable=True)
    generators = [torch.Generator().manual_seed(seed) for seed in (8, 9)]
    theirs = pipeline(2, [1, 4], num_inference_steps=steps, generator=generators, output_type="pt").images
    assert difference(draw(tiny_consistency, [1, 4], [8, 9], steps=str(steps)), (theirs * 255).round()) <= 1


@pytest.mark.parametrize("family", ["fit", "dit"])
@pytest.mark.parametrize("change", [{"steps": "5"}, {"guidance": "6"}, {"scheduler": "DDPMScheduler"}])
def test_options_have_an_effect(folders: dict[str, Path], family: str, change: dict[str, str]) -> None:
    plain, changed = (draw(folders[family], [0, 1], [0, 1], **(QUICK[family] | more)) for more in ({}, change))
    assert difference(plain, changed) > 1


@FAMILIES
@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_narrow_numbers_draw_nearly_the_same(folders: dict[str, Path], family: str, dtype: str) -> None:
    backend = open_generator("diffusers", str(folders[family]), sampling={**QUICK[family], "dtype": dtype})
    images = backend.sample(torch.tensor([0, 1]), [0, 1])
    assert backend._network.dtype == getattr(torch, dtype)
    off = (images.int() - draw(folders[family], [0, 1], [0, 1], **QUICK[family]).int()).abs().float().mean()
    assert 0 < off < 8


def test_on_request_the_network_is_compiled(tiny_dit: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    compiled: list[torch.nn.Module] = []
    monkeypatch.setattr(torch.nn.Module, "compile", lambda network: compiled.append(network))
    draw(tiny_dit, [0], [0], steps="1")
    assert compiled == []
    draw(tiny_dit, [0], [0], steps="1", compile="yes")
    assert [type(network).__name__ for network in compiled] == ["DiTTransformer2DModel"]


def test_a_network_that_cannot_be_compiled_is_an_error(tiny_dit: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class CompilerError(RuntimeError):
        __module__ = "torch._inductor.exc"

    def fail(*arguments: object, **options: object) -> None:
        raise CompilerError("no compiler")

    monkeypatch.setattr(torch.nn.Module, "compile", lambda network: setattr(network, "forward", fail))
    with pytest.raises(InputError, match=r"cannot be compiled here: no compiler\. Leave out compile=yes"):
        draw(tiny_dit, [0], [0], steps="1", compile="yes")
    monkeypatch.setattr(CompilerError, "__str__", lambda error: "")
    with pytest.raises(InputError, match=r"cannot be compiled here: CompilerError\."):
        draw(tiny_dit, [0], [0], steps="1", compile="yes")
    monkeypatch.setattr(CompilerError, "__module__", "elsewhere")
    with pytest.raises(CompilerError):
        draw(tiny_dit, [0], [0], steps="1", compile="yes")


def test_images_are_made_smaller_on_request(tiny_consistency: Path) -> None:
    backend = open_generator("diffusers", str(tiny_consistency), image_size=4)
    assert backend.sample(torch.tensor([0]), [0]).shape == (1, 3, 4, 4)


def test_a_thousand_classes_are_named_as_imagenet(tmp_path: Path) -> None:
    consistency(classes=1000).save_pretrained(tmp_path / "consistency")
    dit(classes=1000).save_pretrained(tmp_path / "dit")
    edit(tmp_path / "dit/model_index.json", id2label={str(label): "tench, Tinca" for label in range(1000)})
    for family in ("consistency", "dit"):
        assert open_generator("diffusers", str(tmp_path / family)).class_names == imagenet_names()
        asked = open_generator("diffusers", str(tmp_path / family), classes=imagenet_wnids()[:2])
        assert asked.class_names == imagenet_wnids()


def test_classes_without_names_take_those_of_the_user(tiny_consistency: Path) -> None:
    assert open_generator("diffusers", str(tiny_consistency), classes=NAMES).class_names == NAMES


def test_revision_is_the_hash_of_the_weights(tiny_generator: Path, copies: Callable[[str], Path]) -> None:
    copy = copies("fit")
    revision = open_generator("diffusers", str(tiny_generator)).revision
    assert revision == hash_weights(tiny_generator) == json.loads((copy / "training.json").read_text())["revision"]
    assert open_generator("diffusers", str(copy)).revision == revision
    data = (copy / UNET).read_bytes()
    (copy / UNET).write_bytes(data[:-1] + bytes([data[-1] ^ 1]))
    assert open_generator("diffusers", str(copy)).revision != revision


@pytest.mark.parametrize("file", [TRANSFORMER, VAE, "vae/config.json", "scheduler/scheduler_config.json"])
def test_every_part_counts_for_the_revision(tiny_dit: Path, copies: Callable[[str], Path], file: str) -> None:
    copy = copies("dit")
    data = (copy / file).read_bytes()
    (copy / file).write_bytes(data.rstrip(b"}\n") + b" }\n" if file.endswith("json") else data[:-1] + b"\x01")
    assert open_generator("diffusers", str(copy)).revision != open_generator("diffusers", str(tiny_dit)).revision


def test_a_name_on_the_hub_fetches_what_it_needs(tiny_dit: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []

    def fetch(name: str, revision: str | None, allow_patterns: list[str]) -> str:
        asked.extend(allow_patterns)
        return str(tiny_dit)

    monkeypatch.setattr("huggingface_hub.snapshot_download", fetch)
    assert open_generator("diffusers", "facebook/DiT-XL-2-256").class_names == NAMES
    assert all(pattern.endswith((".json", ".safetensors", ".md")) for pattern in asked)
    assert TRANSFORMER in asked


def test_old_weights_are_fetched_where_there_are_no_others(
    copies: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = copies("dit")
    state = load_file(folder / VAE)
    (folder / VAE).unlink()
    asked: list[list[str]] = []

    def fetch(name: str, revision: str | None, allow_patterns: list[str]) -> str:
        asked.append(allow_patterns)
        if len(asked) == 2:
            torch.save(state, (folder / VAE).with_suffix(".bin"))
        return str(folder)

    monkeypatch.setattr("huggingface_hub.snapshot_download", fetch)
    open_generator("diffusers", "facebook/DiT-XL-2-256")
    assert VAE.replace(".safetensors", ".bin") in asked[1]
    assert all(name.startswith("vae/") for name in asked[1])


def test_the_hub_out_of_reach_is_an_error() -> None:
    with pytest.raises(InputError, match="the Hub cannot be reached"):
        open_generator("diffusers", "facebook/DiT-XL-2-256")


def test_old_names_of_classes_and_weights_are_understood(copies: Callable[[str], Path], tiny_dit: Path) -> None:
    copy = copies("dit")
    edit(copy / "transformer/config.json", _class_name="Transformer2DModel", num_vector_embeds=None, dropout=0.0)
    new = {"to_q": "query", "to_k": "key", "to_v": "value", "to_out.0": "proj_attn"}
    weights = load_file(copy / VAE)
    for ours, old in new.items():
        weights = {name.replace(f"attentions.0.{ours}.", f"attentions.0.{old}."): weights[name] for name in weights}
    assert any("proj_attn" in name for name in weights)
    save_file(weights, copy / VAE, metadata={"format": "pt"})
    assert torch.equal(draw(copy, [1], [2], steps="2"), draw(tiny_dit, [1], [2], steps="2"))


def test_nothing_is_said_on_the_terminal(copies: Callable[[str], Path], capfd: pytest.CaptureFixture[str]) -> None:
    copy = copies("dit")
    edit(copy / "transformer/config.json", unheard_of=1)
    said: list[logging.LogRecord] = []
    handler = logging.Handler()
    handler.emit = said.append  # type: ignore[method-assign]
    logging.getLogger("diffusers").addHandler(handler)
    try:
        draw(copy, [1], [2], steps="2", scheduler="DPMSolverSinglestepScheduler")
        diffusers.DiTTransformer2DModel.from_pretrained(copy, subfolder="transformer", low_cpu_mem_usage=False)
    finally:
        logging.getLogger("diffusers").removeHandler(handler)
    assert ["unheard_of" in record.getMessage() for record in said] == [True], "only when loaded by diffusers itself"
    assert capfd.readouterr().out == ""


def test_latents_are_decoded_at_the_scale_of_the_vae(copies: Callable[[str], Path]) -> None:
    copy = copies("dit")
    edit(copy / "vae/config.json", scaling_factor=0.5)
    latents = torch.linspace(-0.1, 0.1, 64).reshape(1, 4, 4, 4)
    with torch.no_grad():
        wanted = dit(classes=5).vae.decode(2 * latents).sample
    decoded = open_generator("diffusers", str(copy))._decode(latents)
    assert torch.allclose(decoded, wanted, atol=1e-4)
    assert not torch.allclose(decoded, open_generator("diffusers", str(copy))._decode(2 * latents), atol=1e-4)


def test_a_hostile_model_index_imports_nothing(
    copies: Callable[[str], Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    copy = copies("dit")
    for place in (tmp_path, copy, copy / "transformer"):
        (place / "evil.py").write_text(f"open({str(tmp_path / 'harm')!r}, 'w')\n")
    monkeypatch.syspath_prepend(tmp_path)
    edit(copy / "model_index.json", transformer=["evil", "Thing"], vae=["transformer.evil", "Thing"])
    draw(copy, [0], [0], steps="1")
    edit(copy / "model_index.json", _class_name=["evil", "DiTPipeline"])
    with pytest.raises(InputError, match="is none of ClassConditionalPipeline, ConsistencyModelPipeline, DiTPipeline"):
        draw(copy, [0], [0])
    assert not (tmp_path / "harm").exists()


def test_an_unfinished_training_is_refused(copies: Callable[[str], Path]) -> None:
    copy = copies("fit")
    edit(copy / "training.json", complete=False)
    with pytest.raises(SioDataError, match="training is not finished"):
        open_generator("diffusers", str(copy))


@pytest.mark.parametrize("card", ["---\nlicense: [\n---\n", "---\n- a\n---\n", "no metadata", "", None])
def test_a_card_that_cannot_be_read_says_nothing(copies: Callable[[str], Path], card: str | None) -> None:
    copy = copies("fit")
    (copy / "README.md").unlink()
    if card is not None:
        (copy / "README.md").write_text(card)
    assert open_generator("diffusers", str(copy)).licence == "unknown"


@pytest.mark.parametrize(
    ("index", "message"),
    [
        ({"_class_name": "DDPMPipeline"}, "--generator unconditional"),
        ({"_class_name": "FluxPipeline", "text_encoder": ["transformers", "X"]}, "--generator text2image"),
        ({"_class_name": "StableAudio"}, "'StableAudio' is none of .*DiTPipeline.$"),
        ({"_class_name": None}, "is none of"),
        ({"id2label": {"0": "ant"}}, "draws 5 classes, but model_index.json names 1"),
        ({"id2label": ["ant"]}, "no sound class map"),
    ],
)
def test_a_pipeline_that_it_does_not_take_is_refused(
    copies: Callable[[str], Path], index: dict[str, object], message: str
) -> None:
    copy = copies("dit")
    edit(copy / "model_index.json", **index)
    with pytest.raises(InputError, match=message):
        open_generator("diffusers", str(copy))


@pytest.mark.parametrize(
    ("family", "file", "change", "message"),
    [
        ("fit", "unet/config.json", {"sample_size": [8, 8]}, "sample_size"),
        ("fit", "unet/config.json", {"num_class_embeds": 6}, "draws 5 classes, but model_index.json names 6"),
        ("fit", "unet/config.json", {"in_channels": 1}, "1 channels"),
        ("fit", "unet/config.json", {"auto_map": {"AutoModel": "evil.Thing"}}, "auto_map"),
        ("fit", "scheduler/scheduler_config.json", {"num_train_timesteps": "abc"}, "no sound"),
        ("fit", "scheduler/scheduler_config.json", {"num_train_timesteps": 10}, "cannot make 20 step"),
        ("fit", "scheduler/scheduler_config.json", {"_class_name": "os.system"}, "unknown scheduler"),
        ("dit", "transformer/config.json", {"sample_size": 4096}, "sample_size"),
        ("dit", "transformer/config.json", {"num_embeds_ada_norm": None}, "draws no classes"),
        ("dit", "transformer/config.json", {"num_embeds_ada_norm": 6}, "draws 6 classes"),
        ("dit", "transformer/config.json", {"out_channels": 5}, "4 channels"),
        ("dit", "transformer/config.json", {"num_layers": 2}, "do not fit"),
        ("dit", "vae/config.json", {"latent_channels": 3}, "4 channels does not draw the 3"),
        ("dit", "vae/config.json", {"layers_per_block": 2}, "do not fit"),
        ("dit", "vae/config.json", {"norm_num_groups": 3}, "no sound AutoencoderKL"),
        ("dit", "vae/config.json", {"scaling_factor": None}, "scaling_factor must be a number above 0, not None"),
        ("dit", "vae/config.json", {"scaling_factor": "x"}, "scaling_factor"),
        ("dit", "vae/config.json", {"scaling_factor": 0}, "scaling_factor"),
        ("dit", "transformer/config.json", {"activation_fn": "zz"}, "no sound DiTTransformer2DModel"),
        ("consistency", "unet/config.json", {"attention_head_dim": 0, "add_attention": True}, "no sound UNet2DModel"),
        ("consistency", "unet/config.json", {"num_class_embeds": None}, "draws no classes"),
        ("consistency", "unet/config.json", {"num_class_embeds": 4}, "no sound"),
        ("consistency", "unet/config.json", {"block_out_channels": [32]}, "no sound"),
    ],
)
def test_a_damaged_config_is_refused(
    copies: Callable[[str], Path], family: str, file: str, change: dict[str, object], message: str
) -> None:
    copy = copies(family)
    edit(copy / file, **change)
    with pytest.raises(InputError, match=message):
        draw(copy, [0], [0])


@pytest.mark.parametrize(
    "change",
    [
        {"prediction_type": "nonsense"},
        {"trained_betas": [1e-4] * 3},
        {"timestep_spacing": "foo"},
        {"num_train_timesteps": 0},
        {"beta_start": "x"},
    ],
)
def test_a_damaged_scheduler_is_refused_on_opening(copies: Callable[[str], Path], change: dict[str, object]) -> None:
    copy = copies("dit")
    edit(copy / "scheduler/scheduler_config.json", **change)
    with pytest.raises(InputError, match=r"DDIMScheduler"):
        open_generator("diffusers", str(copy), sampling={"steps": "3"})


@pytest.mark.parametrize("variance", ["learned", "learned_range"])
@pytest.mark.parametrize("scheduler", ["DDPMScheduler", "DPMSolverMultistepScheduler", "DDIMScheduler"])
def test_the_variance_that_dit_learns_is_left_aside(
    copies: Callable[[str], Path], tiny_dit: Path, variance: str, scheduler: str
) -> None:
    copy = copies("dit")
    edit(copy / "scheduler/scheduler_config.json", variance_type=variance, _class_name="DDPMScheduler")
    images = draw(copy, [1, 2], [3, 4], scheduler=scheduler, steps="5")
    assert torch.equal(images, draw(tiny_dit, [1, 2], [3, 4], scheduler=scheduler, steps="5"))


def test_opening_draws_nothing_from_the_global_generator(tiny_dit: Path, tiny_consistency: Path) -> None:
    torch.manual_seed(1)
    before = torch.get_rng_state()
    open_generator("diffusers", str(tiny_dit), sampling={"scheduler": "DDPMScheduler", "steps": "3"})
    open_generator("diffusers", str(tiny_consistency), sampling={"steps": "3"})
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize(
    ("family", "file"),
    [("fit", UNET), ("dit", TRANSFORMER), ("dit", VAE), ("consistency", UNET)],
)
def test_missing_or_truncated_weights_are_refused(copies: Callable[[str], Path], family: str, file: str) -> None:
    weights = copies(family) / file
    folder = weights.parent.parent
    weights.write_bytes(weights.read_bytes()[:-1])
    with pytest.raises(InputError, match="no sound weights"):
        open_generator("diffusers", str(folder))
    weights.unlink()
    with pytest.raises(InputError, match=r"no safetensors file, nor a \.bin file"):
        open_generator("diffusers", str(folder))


@pytest.mark.parametrize(("family", "file"), [("dit", TRANSFORMER), ("dit", VAE), ("fit", UNET)])
def test_old_weights_are_read_and_count_for_the_revision(copies: Callable[[str], Path], family: str, file: str) -> None:
    weights = copies(family) / file
    folder = weights.parent.parent
    expected, revision = draw(folder, [1], [2]), open_generator("diffusers", str(folder)).revision
    state = load_file(weights)
    weights.unlink()
    torch.save(state, weights.with_suffix(".bin"))
    assert torch.equal(draw(folder, [1], [2]), expected)
    before = open_generator("diffusers", str(folder)).revision
    torch.save({name: tensor + 1 for name, tensor in state.items()}, weights.with_suffix(".bin"))
    assert len({revision, before, open_generator("diffusers", str(folder)).revision}) == 3


def test_what_is_pickled_in_old_weights_is_not_run(copies: Callable[[str], Path], tmp_path: Path) -> None:
    class Hostile:
        def __reduce__(self) -> tuple[object, ...]:
            return os.system, (f"touch {tmp_path / 'harm'}",)

    folder = copies("dit")
    (folder / TRANSFORMER).unlink()
    torch.save({"weight": Hostile()}, (folder / TRANSFORMER).with_suffix(".bin"))
    with pytest.raises(InputError, match="no sound DiTTransformer2DModel"):
        draw(folder, [0], [0])
    assert not (tmp_path / "harm").exists()


@pytest.mark.parametrize("change", [{"stranger": torch.zeros(1)}, {}])
@pytest.mark.parametrize(("family", "file"), [("dit", TRANSFORMER), ("dit", VAE), ("fit", UNET)])
def test_weights_with_a_tensor_more_or_less_are_refused(
    copies: Callable[[str], Path], family: str, file: str, change: dict[str, torch.Tensor]
) -> None:
    path = copies(family) / file
    weights = load_file(path)
    save_file({**weights, **change} if change else dict(list(weights.items())[1:]), path, metadata={"format": "pt"})
    with pytest.raises(InputError, match="1 weight"):
        draw(path.parent.parent, [0], [0], steps="1")


def test_weights_that_are_no_numbers_are_refused(copies: Callable[[str], Path]) -> None:
    path = copies("consistency") / UNET
    weights = {name: tensor * float("nan") for name, tensor in load_file(path).items()}
    save_file(weights, path, metadata={"format": "pt"})
    with pytest.raises(InputError, match="no numbers"):
        draw(path.parent.parent, [0], [0])


@pytest.mark.parametrize(
    ("family", "sampling", "error", "message"),
    [
        ("consistency", {"guidance": "2"}, InputError, "ConsistencyModelPipeline has no guidance"),
        ("consistency", {"steps": "41"}, InputError, "cannot make 41 step"),
        ("consistency", {"scheduler": "DDIMScheduler"}, UnknownNameError, "Known: CMStochasticIterativeScheduler"),
        ("dit", {"scheduler": "FlowMatchEulerDiscreteScheduler"}, UnknownNameError, "scheduler of DiTPipeline"),
        ("dit", {"scheduler": "DDIMSchedulr"}, UnknownNameError, "Did you mean 'DDIMScheduler'"),
        ("dit", {"scheduler": "DPMSolverSDEScheduler"}, UnknownNameError, "noise for a whole batch"),
        ("dit", {"scheduler": ""}, UnknownNameError, "unknown scheduler of DiTPipeline ''"),
        ("dit", {"scheduler": "DPMSolverMultistepScheduler", "steps": "1000"}, InputError, "cannot make 1000 step"),
        ("dit", {"scheduler": "UniPCMultistepScheduler", "steps": "1000"}, InputError, "cannot make 1000 step"),
        ("dit", {"scheduler": "PNDMScheduler", "steps": "2"}, InputError, "PNDMScheduler of .* cannot make 2 step"),
        ("fit", {"steps": "1001"}, InputError, "steps='1001' is not a whole number from 1 to 1000"),
        ("fit", {"dtype": "int8"}, InputError, "float16"),
        ("fit", {"compile": "maybe"}, InputError, "one of no, yes"),
        ("fit", {"stepz": "1"}, UnknownNameError, "Did you mean 'steps'"),
    ],
)
def test_an_option_that_cannot_be_had_is_refused_on_opening(
    folders: dict[str, Path], family: str, sampling: dict[str, str], error: type[InputError], message: str
) -> None:
    with pytest.raises(error, match=message):
        open_generator("diffusers", str(folders[family]), sampling=sampling)


def test_what_is_no_generator_is_refused(tmp_path: Path, tiny_dit: Path) -> None:
    with pytest.raises(InputError, match=r"it holds no model_index\.json"):
        open_generator("diffusers", str(tmp_path))
    with pytest.raises(InputError, match="no such folder"):
        open_generator("diffusers", str(tmp_path / "nothing"))
    with pytest.raises(InputError, match="draws images of 8 pixels and can make them smaller, not 9"):
        open_generator("diffusers", str(tiny_dit), image_size=9)
