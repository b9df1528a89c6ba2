import json
import logging
import shutil
import string
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from sio_data.errors import InputError, UnknownNameError
from sio_data.generator import JudgingGenerator, open_generator
from sio_data.generators.text2image import TextToImageGenerator

pytestmark = pytest.mark.filterwarnings("ignore:.*torchvision.*")

UNET = "unet/diffusion_pytorch_model.safetensors"
SEEDS = [5, 6, 7]


def save_tokenizer(folder: Path) -> Any:
    """A real CLIP tokenizer whose words are letters."""
    from transformers import CLIPTokenizer

    letters = string.ascii_lowercase
    tokens = [*letters, *(f"{letter}</w>" for letter in letters), "<|startoftext|>", "<|endoftext|>"]
    (folder / "vocab.json").write_text(json.dumps({token: index for index, token in enumerate(tokens)}))
    (folder / "merges.txt").write_text("#version: 0.2\n")
    return CLIPTokenizer(str(folder / "vocab.json"), str(folder / "merges.txt"), model_max_length=40)


def tiny_parts(folder: Path) -> dict[str, Any]:
    from diffusers import AutoencoderKL, DDIMScheduler, UNet2DConditionModel
    from transformers import CLIPTextConfig, CLIPTextModel

    tokenizer = save_tokenizer(folder)
    last = len(tokenizer) - 1
    torch.manual_seed(0)
    return {
        "tokenizer": tokenizer,
        "unet": UNet2DConditionModel(
            sample_size=8,
            block_out_channels=(8, 16),
            layers_per_block=1,
            norm_num_groups=4,
            down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"),
            up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"),
            cross_attention_dim=16,
            attention_head_dim=4,
        ),
        "vae": AutoencoderKL(
            block_out_channels=(8, 8),
            norm_num_groups=4,
            down_block_types=("DownEncoderBlock2D",) * 2,
            up_block_types=("UpDecoderBlock2D",) * 2,
        ),
        "text_encoder": CLIPTextModel(
            CLIPTextConfig(
                vocab_size=last + 1,
                hidden_size=16,
                intermediate_size=16,
                num_hidden_layers=2,
                num_attention_heads=2,
                max_position_embeddings=40,
                bos_token_id=last - 1,
                eos_token_id=last,
                pad_token_id=last,
            )
        ),
        "scheduler": DDIMScheduler(clip_sample=False, set_alpha_to_one=False, steps_offset=1),
    }


def tiny_checker(threshold: float) -> dict[str, Any]:
    """A real safety checker; it flags what is more like a concept than the threshold, as a cosine."""
    from diffusers.pipelines.stable_diffusion.safety_checker import StableDiffusionSafetyChecker
    from transformers import CLIPConfig, CLIPImageProcessor

    sizes = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
    vision = {**sizes, "image_size": 16, "patch_size": 8, "projection_dim": 8}
    checker = StableDiffusionSafetyChecker(CLIPConfig(text_config=sizes, vision_config=vision, projection_dim=8))
    torch.nn.init.normal_(checker.concept_embeds)
    torch.nn.init.normal_(checker.special_care_embeds)
    torch.nn.init.constant_(checker.concept_embeds_weights, threshold)
    torch.nn.init.constant_(checker.special_care_embeds_weights, 2)
    processor = CLIPImageProcessor(size={"shortest_edge": 16}, crop_size={"height": 16, "width": 16})
    return {"safety_checker": checker, "feature_extractor": processor}


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Callable[[float | None], Path]:
    """Folders of a real Stable Diffusion pipeline: without a safety checker, or with one of that threshold."""
    from diffusers import StableDiffusionPipeline

    parts = tiny_parts(tmp_path_factory.mktemp("tokenizer"))
    folders: dict[float | None, Path] = {}

    def save(threshold: float | None) -> Path:
        if threshold not in folders:
            none = {"safety_checker": None, "feature_extractor": None}
            checker = none if threshold is None else tiny_checker(threshold)
            pipeline = StableDiffusionPipeline(**parts, **checker, requires_safety_checker=threshold is not None)
            folders[threshold] = tmp_path_factory.mktemp("model")
            pipeline.save_pretrained(folders[threshold])
            (folders[threshold] / "README.md").write_text("---\nlicense: openrail++\n---\n")
        return folders[threshold]

    return save


@pytest.fixture(scope="module")
def model(saved: Callable[[float | None], Path]) -> Path:
    return saved(None)


@pytest.fixture
def copy(model: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(model, tmp_path / "copy"))


def open_tiny(folder: Path, image_size: int | None = None, **sampling: str) -> TextToImageGenerator:
    options = {"steps": "2", **sampling}
    backend = open_generator("text2image", str(folder), classes=["cat", "dog"], image_size=image_size, sampling=options)
    assert isinstance(backend, TextToImageGenerator)
    return backend


def edit(path: Path, **changes: object) -> None:
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def test_it_tells_what_it_is_without_reading_the_networks(model: Path) -> None:
    backend = open_generator("text2image", str(model), classes=["cat", "dog"])
    assert isinstance(backend, JudgingGenerator)
    assert backend.conditional
    assert backend.class_names == ("cat", "dog")
    assert backend.image_size == 16
    assert backend.licence == "openrail++"
    assert backend.sampling == {
        "prompt": "a photo of a {class}",
        "negative_prompt": "",
        "steps": 50,
        "guidance": 7.5,
        "dtype": "float32",
        "draw_size": 16,
    }
    assert "_pipeline" not in vars(backend)


def test_samples_depend_on_nothing_but_label_and_seed(model: Path) -> None:
    backend = open_tiny(model)
    labels = torch.tensor([0, 1, 1])
    together = backend.sample(labels, SEEDS)
    assert together.dtype == torch.uint8
    assert together.shape == (3, 3, 16, 16)
    alone = torch.cat([backend.sample(labels[i : i + 1], SEEDS[i : i + 1]) for i in range(3)])
    assert (together.int() - alone.int()).abs().max() <= 1
    torch.manual_seed(99)
    assert torch.equal(together, open_tiny(model).sample(labels, SEEDS))
    assert not torch.equal(together[1], together[2])


def test_the_class_reaches_the_network(model: Path) -> None:
    cat, dog = open_tiny(model).sample(torch.tensor([0, 1]), [5, 5])
    assert not torch.equal(cat, dog)


def test_each_template_is_a_place_of_its_class(model: Path) -> None:
    backend = open_tiny(model, prompt="a photo of a {class} | {class} art")
    assert backend.class_names == ("cat", "cat", "dog", "dog")
    first, second = (open_tiny(model, prompt=prompt) for prompt in ("a photo of a {class}", "{class} art"))
    drawn = backend.sample(torch.tensor([0, 1, 2, 3]), [5, 5, 5, 5])
    both = torch.tensor([0, 1])
    expected = torch.stack([*first.sample(both, [5, 5]), *second.sample(both, [5, 5])])[[0, 2, 1, 3]]
    assert (drawn.int() - expected.int()).abs().max() <= 1


@pytest.mark.parametrize(
    "sampling",
    [
        {"steps": "3"},
        {"guidance": "1"},
        {"negative_prompt": "blurry"},
        {"dtype": "bfloat16"},
        {"prompt": "{class}"},
    ],
)
def test_every_option_has_an_effect(model: Path, sampling: dict[str, str]) -> None:
    labels = torch.tensor([0, 1])
    changed = open_tiny(model, **sampling).sample(labels, [5, 6])
    assert changed.shape == (2, 3, 16, 16)
    assert not torch.equal(changed, open_tiny(model).sample(labels, [5, 6]))


def test_images_come_out_in_the_size_asked_for(model: Path) -> None:
    label = torch.tensor([0])
    assert open_tiny(model, draw_size="24").sample(label, [5]).shape == (1, 3, 24, 24)
    small = open_tiny(model, image_size=8)
    assert small.image_size == 8
    full = open_tiny(model).sample(label, [5]).float()
    means = torch.nn.functional.avg_pool2d(full, 2)
    assert (small.sample(label, [5]).float() - means).abs().mean() < 10


def test_what_the_safety_checker_flags_is_refused(
    saved: Callable[[float | None], Path],
    model: Path,
    caplog: pytest.LogCaptureFixture,
    capsys: pytest.CaptureFixture[str],
) -> None:
    labels = torch.tensor([0, 1, 1])
    flagged, passed = (open_tiny(saved(threshold)) for threshold in (-2.0, 2.0))
    capsys.readouterr()
    logging.getLogger("diffusers").addHandler(caplog.handler)  # it does not propagate
    black, images = flagged.sample(labels, SEEDS), passed.sample(labels, SEEDS)
    logging.getLogger("diffusers").removeHandler(caplog.handler)
    assert not caplog.records
    assert capsys.readouterr().err == ""
    assert not black.any()
    assert flagged.judge(black, labels).tolist() == [-1, -1, -1]
    assert torch.equal(images, open_tiny(model).sample(labels, SEEDS))
    assert passed.judge(images, labels).tolist() == [0, 1, 1]
    mixed = torch.stack([images[0], black[1], images[2]])
    assert passed.judge(mixed, labels).tolist() == [0, -1, 1]
    assert "safety checker" in flagged.explain()


@pytest.mark.parametrize("threshold", [None, 2.0])
def test_an_image_that_overflows_is_refused(
    saved: Callable[[float | None], Path], tmp_path: Path, threshold: float | None
) -> None:
    copy = Path(shutil.copytree(saved(threshold), tmp_path / "copy"))
    weights = load_file(copy / "vae/diffusion_pytorch_model.safetensors")
    weights["decoder.conv_out.bias"][1] = torch.nan
    save_file(weights, copy / "vae/diffusion_pytorch_model.safetensors", {"format": "pt"})
    backend = open_tiny(copy)
    images = backend.sample(torch.tensor([0]), [5])
    assert not images.any()
    assert backend.judge(images, torch.tensor([0])).tolist() == [-1]
    assert "float32" in backend.explain()


@pytest.mark.parametrize(
    ("sampling", "message"),
    [
        ({"prompt": "a photo|a {class}"}, r"prompt 'a photo' does not say \{class\}"),
        ({"draw_size": "17"}, "multiple of 2"),
        ({"dtype": "int8"}, "one of float32"),
        ({"steps": "0"}, "whole number from 1"),
    ],
)
def test_an_option_out_of_range_is_refused(model: Path, sampling: dict[str, str], message: str) -> None:
    with pytest.raises(InputError, match=message):
        open_tiny(model, **sampling)


def test_what_cannot_be_drawn_is_refused(model: Path) -> None:
    with pytest.raises(InputError, match="name the classes with --class"):
        open_generator("text2image", str(model))
    with pytest.raises(InputError, match="draws images of 16 pixels and can make them smaller, not 32"):
        open_tiny(model, image_size=32)
    with pytest.raises(UnknownNameError, match="Did you mean 'prompt'"):
        open_tiny(model, promt="{class}")


def test_a_size_that_the_folder_does_not_say_must_be_given(copy: Path) -> None:
    edit(copy / "unet/config.json", sample_size=None)
    with pytest.raises(InputError, match="ask for one with draw_size"):
        open_tiny(copy)
    assert open_tiny(copy, draw_size="16").sample(torch.tensor([0]), [5]).shape == (1, 3, 16, 16)


def test_a_pipeline_that_heeds_no_negative_prompt_says_so(copy: Path) -> None:
    edit(copy / "model_index.json", _class_name="LatentConsistencyModelPipeline")
    assert open_generator("text2image", str(copy), classes=["cat"]).sampling["steps"] == 4
    with pytest.raises(InputError, match="heeds no negative_prompt"):
        open_tiny(copy, negative_prompt="blurry")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"unet": ["os", "system"]}, r"component 'unet' is \['os', 'system'\], and is not loaded"),
        ({"unet": ["sio_data.demo", "UNet2DConditionModel"]}, "only known classes"),
        ({"unet": ["transformers", "RagTokenizer"]}, "only known classes"),
        ({"unet": ["diffusers", "DiffusionPipeline"]}, "only known classes"),
        ({"unet": ["diffusers", "utils"]}, "only known classes"),
        ({"unet": ["diffusers"]}, "only known classes"),
        ({"../unet": ["diffusers", "UNet2DConditionModel"]}, "only known classes"),
        ({"_class_name": "DiTPipeline"}, "'DiTPipeline' is none of StableDiffusionPipeline"),
        ({"_class_name": ["pipeline", "MyPipeline"]}, "is none of"),
        ({"custom_pipeline": "owner/name"}, "is none of"),
    ],
)
def test_an_index_that_names_anything_else_is_refused(copy: Path, changes: dict[str, object], message: str) -> None:
    edit(copy / "model_index.json", **changes)
    with pytest.raises(InputError, match=message):
        open_tiny(copy)


def test_other_schedulers_draw_without_a_word(copy: Path, recwarn: pytest.WarningsRecorder) -> None:
    edit(copy / "model_index.json", scheduler=["diffusers", "EulerAncestralDiscreteScheduler"])
    edit(copy / "scheduler/scheduler_config.json", steps_offset=0)  # of which diffusers warns
    backend = open_tiny(copy)
    labels = torch.tensor([0, 1])
    together = backend.sample(labels, [5, 6])
    assert (together[1].int() - backend.sample(labels[1:], [6])[0].int()).abs().max() <= 1
    assert not [warning for warning in recwarn if issubclass(warning.category, FutureWarning)]


def test_code_in_the_folder_is_refused(copy: Path) -> None:
    (copy / "unet/diffusers.py").write_text("raise SystemExit('it was run')")
    with pytest.raises(InputError, match=r"brings code \(diffusers\.py\)"):
        open_tiny(copy)


@pytest.mark.parametrize(
    ("file", "changes"),
    [
        ("tokenizer/tokenizer_config.json", {"auto_map": {"AutoTokenizer": ["owner/name--a.B", None]}}),
        ("text_encoder/config.json", {"auto_map": {"AutoModel": "a.B"}}),
        ("text_encoder/config.json", {"inner": [{"attn_implementation": "owner/kernel"}]}),
        ("unet/config.json", {"quantization_config": {"quant_method": "torchao"}}),
        ("text_encoder/config.json", {"transformers_weights": "other.safetensors"}),
    ],
)
def test_a_config_that_may_load_code_is_refused(copy: Path, file: str, changes: dict[str, object]) -> None:
    edit(copy / file, **changes)
    with pytest.raises(InputError, match="which may load code"):
        open_tiny(copy)


def test_an_adapter_is_refused(copy: Path) -> None:
    (copy / "text_encoder/adapter_config.json").write_text('{"base_model_name_or_path": "owner/name"}')
    with pytest.raises(InputError, match="holds an adapter"):
        open_tiny(copy)


def make_old(file: Path) -> Path:
    """Put weights as older models have them in the place of safetensors."""
    stem = "pytorch_model" if file.stem == "model" else file.stem
    torch.save(load_file(file), file.with_name(f"{stem}.bin"))
    file.unlink()
    return file.with_name(f"{stem}.bin")


def test_old_weights_draw_the_same(saved: Callable[[float | None], Path], tmp_path: Path) -> None:
    copy = Path(shutil.copytree(saved(2.0), tmp_path / "copy"))
    labels = torch.tensor([0, 1, 0])
    expected = open_tiny(copy).sample(labels, SEEDS)
    files = [make_old(file) for file in [*copy.glob("*/*.safetensors")]]
    assert len(files) == 4
    assert torch.equal(open_tiny(copy).sample(labels, SEEDS), expected)


@pytest.mark.parametrize("old", [False, True])
def test_every_file_of_weights_counts_for_the_revision(
    saved: Callable[[float | None], Path], tmp_path: Path, old: bool
) -> None:
    copy = Path(shutil.copytree(saved(2.0), tmp_path / "copy"))
    files = [*copy.glob("*/*.safetensors")]
    files = [make_old(file) for file in files] if old else files
    revisions = {open_tiny(copy).revision}
    for file in files:
        data = file.read_bytes()
        file.write_bytes(data[:-1] + bytes([data[-1] ^ 1]))
        revisions.add(open_tiny(copy).revision)
    assert len(files) == 4
    assert len(revisions) == 5


@pytest.mark.parametrize("old", [False, True])
def test_every_piece_of_weights_counts_for_the_revision(model: Path, copy: Path, old: bool) -> None:
    for part, stem in (("text_encoder", "model"), ("unet", "diffusion_pytorch_model")):
        save_pieces(copy / part, stem, old)
    labels = torch.tensor([0, 1])
    assert torch.equal(open_tiny(copy).sample(labels, [5, 6]), open_tiny(model).sample(labels, [5, 6]))
    pieces = [*copy.glob("*/*-of-*")]
    assert len(pieces) == 4
    revisions = {open_tiny(copy).revision}
    for piece in pieces:
        data = piece.read_bytes()
        piece.write_bytes(data[:-1] + bytes([data[-1] ^ 1]))
        revisions.add(open_tiny(copy).revision)
    assert len(revisions) == 5
    pieces[0].unlink()
    with pytest.raises(InputError, match="which is not there"):
        open_tiny(copy)


def save_pieces(folder: Path, stem: str, old: bool) -> None:
    weights = load_file(folder / f"{stem}.safetensors")
    (folder / f"{stem}.safetensors").unlink()
    stem, ending = ("pytorch_model" if old and stem == "model" else stem), "bin" if old else "safetensors"
    names = [f"{stem}-0000{number}-of-00002.{ending}" for number in (1, 2)]
    places = {key: names[number % 2] for number, key in enumerate(weights)}
    for name in names:
        piece = {key: weights[key] for key, place in places.items() if place == name}
        if old:
            torch.save(piece, folder / name)
        else:
            save_file(piece, folder / name, {"format": "pt"})
    index = {"metadata": {"total_size": 1}, "weight_map": places}
    (folder / f"{stem}.{ending}.index.json").write_text(json.dumps(index))


def test_old_weights_of_all_parts_are_fetched_from_the_hub(copy: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    states = {make_old(file): file for file in [*copy.glob("*/*.safetensors")]}
    contents = {path: path.read_bytes() for path in states}
    for path in states:
        path.unlink()

    def fetch(name: str, revision: str | None, allow_patterns: list[str]) -> str:
        for path, data in contents.items():
            if any(path.relative_to(copy).match(pattern) for pattern in allow_patterns):
                path.write_bytes(data)
        return str(copy)

    monkeypatch.setattr("huggingface_hub.snapshot_download", fetch)
    assert open_tiny(Path("owner/name")).sample(torch.tensor([0]), [5]).any()


@pytest.mark.parametrize("file", [UNET, "text_encoder/model.safetensors"])
def test_weights_of_a_narrow_type_are_read_only_once_they_are_renamed(copy: Path, file: str) -> None:
    expected = open_tiny(copy).sample(torch.tensor([0]), [5])
    narrow = (copy / file).with_suffix(".fp16.safetensors")
    shutil.copy(copy / file, narrow)
    whole = make_old(copy / file)
    assert torch.equal(open_tiny(copy).sample(torch.tensor([0]), [5]), expected)
    whole.unlink()
    with pytest.raises(InputError, match=rf"To use {narrow.name}, rename it to {(copy / file).name}"):
        open_tiny(copy)
    narrow.rename(copy / file)
    assert torch.equal(open_tiny(copy).sample(torch.tensor([0]), [5]), expected)


def test_pieces_outside_the_folder_are_refused(copy: Path) -> None:
    for name in ("../../model-1-of-1.safetensors", "pytorch_model.bin", "other-1-of-1.safetensors"):
        (copy / "text_encoder/model.safetensors.index.json").write_text(json.dumps({"weight_map": {"a": name}}))
        with pytest.raises(InputError, match="which is no piece of these weights"):
            open_tiny(copy)


def test_weights_cut_off_are_refused(copy: Path) -> None:
    (copy / UNET).write_bytes((copy / UNET).read_bytes()[:-1])
    with pytest.raises(InputError, match="no sound weights"):
        open_tiny(copy)


@pytest.mark.parametrize(
    ("file", "key"),
    [(UNET, "conv_in.weight"), ("text_encoder/model.safetensors", "final_layer_norm.weight")],
)
def test_weights_missing_too_many_or_misshapen_are_refused(copy: Path, file: str, key: str) -> None:
    whole = load_file(copy / file)
    full = next(name for name in whole if name.endswith(key))
    missing = {name: tensor for name, tensor in whole.items() if name != full}
    for weights in (missing, {**whole, "extra": torch.zeros(1)}, {**whole, full: torch.zeros(3)}):
        save_file(weights, copy / file, {"format": "pt"})
        with pytest.raises(InputError, match=r"do not fit|no sound"):
            open_tiny(copy).sample(torch.tensor([0]), [5])
    save_file({**whole, "text_model.embeddings.position_ids": torch.zeros(1)}, copy / file, {"format": "pt"})
    assert open_tiny(copy).sample(torch.tensor([0]), [5]).any()


@pytest.mark.parametrize(
    "change",
    [{"prediction_type": "nonsense"}, {"trained_betas": [1e-4] * 3}, {"timestep_spacing": "foo"}, {"beta_end": "x"}],
)
def test_a_damaged_scheduler_is_refused_on_opening(copy: Path, change: dict[str, object]) -> None:
    edit(copy / "scheduler/scheduler_config.json", **change)
    with pytest.raises(InputError, match="DDIMScheduler"):
        open_tiny(copy)


@pytest.mark.parametrize("kind", ["FlowMatchEulerDiscreteScheduler", "LCMScheduler", "DPMSolverMultistepScheduler"])
def test_every_kind_of_scheduler_can_be_tried_on_opening(copy: Path, kind: str) -> None:
    edit(copy / "model_index.json", scheduler=["diffusers", kind])
    edit(copy / "scheduler/scheduler_config.json", use_dynamic_shifting=kind.startswith("Flow"))
    assert open_tiny(copy).sampling["steps"] == 2
    if kind != "FlowMatchEulerDiscreteScheduler":
        with pytest.raises(InputError, match=f"{kind} of .* cannot make 1000"):
            open_tiny(copy, steps="1000")


def test_images_do_not_depend_on_optional_packages(model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import diffusers

    told = []

    class Pipeline:
        def __init__(self, scheduler: object, add_watermarker: bool | None = None, **parts: object) -> None:
            told.append(add_watermarker)

        def set_progress_bar_config(self, **options: object) -> None: ...

        def to(self, device: object) -> "Pipeline":
            return self

        def __call__(
            self, guidance_scale: float = 1, num_inference_steps: int = 1, clean_caption: bool = True, **more: object
        ) -> SimpleNamespace:
            told.append(clean_caption)
            return SimpleNamespace(images=torch.zeros(1, 3, 16, 16))

    monkeypatch.setattr(diffusers, "StableDiffusionPipeline", Pipeline)
    open_tiny(model).sample(torch.tensor([0]), [5])
    assert told == [False, False]


@pytest.mark.parametrize("file", ["tokenizer/tokenizer.json", "scheduler/scheduler_config.json", "unet/config.json"])
def test_a_damaged_file_is_refused(copy: Path, file: str) -> None:
    (copy / file).write_text("{")
    with pytest.raises(InputError, match=r"JSON|no sound"):
        open_tiny(copy).sample(torch.tensor([0]), [5])


def test_components_that_are_missing_or_do_not_go_together_are_refused(copy: Path) -> None:
    edit(copy / "model_index.json", unet=[None, None])
    with pytest.raises(InputError, match="names no unet, which is needed"):
        open_tiny(copy)
    edit(copy / "model_index.json", unet=["diffusers", "AutoencoderKL"])
    shutil.rmtree(copy / "unet")
    shutil.copytree(copy / "vae", copy / "unet")
    with pytest.raises(InputError, match="StableDiffusionPipeline"):
        open_tiny(copy, draw_size="16").sample(torch.tensor([0]), [5])


def test_revision_is_the_hash_of_what_decides_the_images(model: Path, copy: Path) -> None:
    revision = open_tiny(model).revision
    (copy / "README.md").unlink()
    assert open_tiny(copy).revision == revision
    assert open_tiny(copy).licence == "unknown"
    edit(copy / "scheduler/scheduler_config.json", beta_end=0.5)
    assert open_tiny(copy).revision != revision
