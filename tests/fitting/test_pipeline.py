import json
import shutil
from pathlib import Path

import pytest
import torch

from sio_data.backend import to_uint8
from sio_data.denoising import predict
from sio_data.errors import InputError
from sio_data.fitting.pipeline import ClassConditionalPipeline, load_pipeline


def generators(count: int) -> list[torch.Generator]:
    return [torch.Generator().manual_seed(seed) for seed in range(count)]


@pytest.fixture
def copy(tiny_generator: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(tiny_generator, tmp_path / "copy"))


def test_it_draws_pictures_as_pipelines_of_diffusers_do(tiny_generator: Path) -> None:
    pictures = load_pipeline(tiny_generator)([0, 5], generators(2), num_inference_steps=2).images
    assert [picture.size for picture in pictures] == [(8, 8)] * 2
    assert len(load_pipeline(tiny_generator)([1], num_inference_steps=1).images) == 1


def test_it_loads_through_its_own_class_too(tiny_generator: Path) -> None:
    pipeline = ClassConditionalPipeline.from_pretrained(tiny_generator, low_cpu_mem_usage=False)
    ours = load_pipeline(tiny_generator)
    assert pipeline.class_names == ours.class_names
    assert torch.equal(*(one.denoise([3], generators(1), 2) for one in (pipeline, ours)))


def test_global_random_state_has_no_say(tiny_generator: Path) -> None:
    pipeline = load_pipeline(tiny_generator)
    images = []
    for seed in (1, 2):
        torch.manual_seed(seed)
        images.append(pipeline.denoise([0, 1], generators(2), 3))
    assert torch.equal(*images)


def test_class_and_seed_both_matter(tiny_generator: Path) -> None:
    pipeline = load_pipeline(tiny_generator)
    one, two, three = (
        pipeline.denoise([label], [torch.Generator().manual_seed(seed)], 2) for label, seed in ((0, 0), (1, 0), (0, 1))
    )
    assert not torch.equal(one, two)
    assert not torch.equal(one, three)


def test_guidance_moves_away_from_no_class(tiny_generator: Path) -> None:
    pipeline = load_pipeline(tiny_generator)
    images, timestep, labels = torch.randn(1, 3, 8, 8), torch.tensor(500), torch.tensor([2])
    with torch.no_grad():
        with_class = pipeline.unet(images, timestep, class_labels=labels).sample
        without = pipeline.unet(images, timestep, class_labels=torch.tensor([6])).sample
        assert torch.equal(predict(pipeline.unet, images, timestep, labels, 1.0, 6), with_class)
        assert torch.allclose(
            predict(pipeline.unet, images, timestep, labels, 3.0, 6), without + 3 * (with_class - without)
        )
        assert torch.allclose(predict(pipeline.unet, images, timestep, labels, 0.0, 6), without)


def test_pixels_are_rounded() -> None:
    assert to_uint8(torch.tensor([-1.0, 0.0, 1.0, 0.999])).tolist() == [0, 128, 255, 255]


@pytest.mark.parametrize("names", [None, {}, {"1": "a"}, ["a"], {str(i): "x" for i in range(5)}])
def test_a_damaged_class_map_is_refused(copy: Path, names: object) -> None:
    path = copy / "model_index.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"id2label": names}))
    with pytest.raises(InputError, match="class map"):
        load_pipeline(copy)


def test_a_hostile_model_index_imports_nothing(copy: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "evil.py").write_text("import pathlib\npathlib.Path('harm').touch()\n")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.chdir(tmp_path)
    path = copy / "model_index.json"
    path.write_text(
        json.dumps(json.loads(path.read_text()) | {"unet": ["evil", "Thing"], "_class_name": ["evil", "X"]})
    )
    load_pipeline(copy)
    assert not (tmp_path / "harm").exists()


def test_missing_or_damaged_weights_are_refused(copy: Path) -> None:
    weights = copy / "unet/diffusion_pytorch_model.safetensors"
    whole = weights.read_bytes()
    weights.write_bytes(whole[:100])
    with pytest.raises(InputError, match="no sound weights"):
        load_pipeline(copy)
    weights.unlink()
    with pytest.raises(InputError, match="no sound weights"):
        load_pipeline(copy)
