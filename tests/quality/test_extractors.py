import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

transformers = pytest.importorskip("transformers")

from sio_data import Classifier  # noqa: E402
from sio_data.errors import InputError  # noqa: E402
from sio_data.files import sha256_file  # noqa: E402
from sio_data.quality.extractors import open_extractor  # noqa: E402
from sio_data.safe_loading import quiet  # noqa: E402

CPU = torch.device("cpu")
IMAGES = torch.randint(0, 256, (3, 3, 20, 20), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
SMALL = {"hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 8}
SQUARE = {"size": {"height": 16, "width": 16}}
MIDDLE = {"size": {"shortest_edge": 16}, "crop_size": {"height": 16, "width": 16}}


def vit_classifier() -> tuple[Any, Any]:
    config = transformers.ViTConfig(**SMALL, image_size=16, patch_size=8)
    return transformers.ViTForImageClassification(config), transformers.ViTImageProcessor(**SQUARE)


def resnet() -> tuple[Any, Any]:
    config = transformers.ResNetConfig(embedding_size=8, hidden_sizes=[8, 12], depths=[1, 1])
    return transformers.ResNetForImageClassification(config), transformers.ViTImageProcessor(**SQUARE)


def clip() -> tuple[Any, Any]:
    config = transformers.CLIPConfig(
        text_config={**SMALL, "vocab_size": 20, "bos_token_id": 1, "eos_token_id": 2},
        vision_config={**SMALL, "image_size": 16, "patch_size": 8},
        projection_dim=6,
    )
    return transformers.CLIPModel(config), transformers.CLIPImageProcessor(**MIDDLE)


def dinov2() -> tuple[Any, Any]:
    config = transformers.Dinov2Config(**SMALL, image_size=16, patch_size=8)
    return transformers.Dinov2Model(config), transformers.BitImageProcessor(**MIDDLE)


def save(make: Callable[[], tuple[Any, Any]], folder: Path) -> tuple[Any, Any]:
    with quiet():
        network, processor = make()
        network.save_pretrained(folder)
        processor.save_pretrained(folder)
    return network.eval(), processor


@pytest.fixture
def vit(tmp_path: Path) -> Path:
    save(vit_classifier, tmp_path / "vit")
    return tmp_path / "vit"


@pytest.mark.parametrize(
    ("make", "expected"),
    [
        (vit_classifier, lambda network, pixels: network.vit(pixels).last_hidden_state[:, 0]),
        (resnet, lambda network, pixels: network.resnet(pixels).pooler_output.flatten(1)),
        (clip, lambda network, pixels: network.get_image_features(pixels).pooler_output),
        (dinov2, lambda network, pixels: network(pixels).pooler_output),
    ],
)
def test_image_models_of_transformers_give_their_pooled_output(
    make: Callable[[], tuple[Any, Any]], expected: Callable[[Any, torch.Tensor], torch.Tensor], tmp_path: Path
) -> None:
    network, processor = save(make, tmp_path / "model")
    extractor = open_extractor(f"transformers:{tmp_path / 'model'}", CPU)
    pictures = [image.permute(1, 2, 0).numpy() for image in IMAGES]
    with torch.inference_mode():
        features = expected(network, processor(images=pictures, return_tensors="pt")["pixel_values"])
    torch.testing.assert_close(extractor(IMAGES), features)
    torch.testing.assert_close(extractor(IMAGES), extractor(IMAGES), rtol=0, atol=0)
    assert extractor.name == "transformers:…/model"
    assert len(extractor.revision) == 64


def test_the_revision_is_of_the_files_that_decide(vit: Path) -> None:
    before = open_extractor(f"transformers:{vit}", CPU).revision
    (vit / "README.md").write_text("hello")
    assert open_extractor(f"transformers:{vit}", CPU).revision == before
    path = vit / "preprocessor_config.json"
    path.write_text(path.read_text().replace("0.5", "0.4"))
    assert open_extractor(f"transformers:{vit}", CPU).revision != before


def edit(path: Path, **changes: object) -> None:
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda folder: edit(folder / "config.json", auto_map={"AutoModel": "evil.Evil"}), "auto_map"),
        (lambda folder: edit(folder / "config.json", hidden_size=16), "weights and config do not fit|no sound"),
        (lambda folder: edit(folder / "config.json", num_hidden_layers=0), "weights and config do not fit"),
        (lambda folder: edit(folder / "config.json", num_hidden_layers=2), "weights and config do not fit"),
        (lambda folder: edit(folder / "config.json", model_type="nonsense"), "no sound image model"),
        (lambda folder: (folder / "preprocessor_config.json").unlink(), "no sound AutoImageProcessor"),
        (lambda folder: (folder / "model.safetensors").write_bytes(b"x" * 100), "no sound weights"),
        (lambda folder: (folder / "model.safetensors").rename(folder / "pytorch_model.bin"), "no safetensors"),
        (lambda folder: (folder / "model.safetensors").unlink(), "no sound weights"),
    ],
)
def test_folders_that_are_damaged_or_might_run_code_are_refused(
    vit: Path, spoil: Callable[[Path], object], message: str
) -> None:
    spoil(vit)
    with pytest.raises(InputError, match=message):
        open_extractor(f"transformers:{vit}", CPU)


def test_without_transformers_the_message_names_the_extra(vit: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sio_data.image_models.find_spec", lambda name: None)
    with pytest.raises(InputError, match=r"pip install 'sio-data\[features\]'"):
        open_extractor(f"transformers:{vit}", CPU)


def test_a_checkpoint_gives_its_pooled_features(tmp_path: Path) -> None:
    classifier = Classifier("convnet", ("cat", "dog"), 20).eval()
    classifier.save_pretrained(tmp_path / "run")
    extractor = open_extractor(str(tmp_path / "run"), CPU)
    with torch.inference_mode():
        torch.testing.assert_close(extractor(IMAGES), classifier.features(IMAGES))
    assert extractor.image_size == 20
    assert extractor.revision == sha256_file(tmp_path / "run/model.safetensors")
    assert open_extractor(f"checkpoint:{tmp_path / 'run'}", CPU).revision == extractor.revision
