import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

transformers = pytest.importorskip("transformers")

from sio_data import Classifier, train  # noqa: E402
from sio_data.errors import InputError, UnknownNameError  # noqa: E402
from sio_data.hub.contents import CheckpointContents  # noqa: E402
from sio_data.safe_loading import quiet  # noqa: E402
from sio_data.training.networks import own_normalisation  # noqa: E402
from sio_data.training.settings import TrainingSettings  # noqa: E402

IMAGES = torch.randint(0, 256, (3, 3, 32, 32), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
NORMALISED = IMAGES / 255 * 2 - 1
SMALL = {"hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 8}
PATCHES = SMALL | {"image_size": 32, "patch_size": 8}
STAGES = {"image_size": 32, "patch_size": 4, "embed_dim": 8, "depths": [1, 1], "num_heads": [2, 2], "window_size": 4}


def vit() -> Any:
    return transformers.ViTForImageClassification(transformers.ViTConfig(**PATCHES, num_labels=7))


def deit() -> Any:
    return transformers.DeiTForImageClassification(transformers.DeiTConfig(**PATCHES, num_labels=7))


def dinov2() -> Any:
    return transformers.Dinov2ForImageClassification(transformers.Dinov2Config(**PATCHES, num_labels=7))


def resnet() -> Any:
    config = transformers.ResNetConfig(embedding_size=8, hidden_sizes=[8, 12], depths=[1, 1], num_labels=7)
    return transformers.ResNetForImageClassification(config)


def convnext() -> Any:
    config = transformers.ConvNextConfig(hidden_sizes=[8, 8, 8, 12], depths=[1, 1, 1, 1], num_labels=7)
    return transformers.ConvNextForImageClassification(config)


def swin() -> Any:
    return transformers.SwinForImageClassification(transformers.SwinConfig(**STAGES, num_labels=7))


def clip() -> Any:
    text = {**SMALL, "vocab_size": 20, "bos_token_id": 1, "eos_token_id": 2}
    config = transformers.CLIPConfig(text_config=text, vision_config=PATCHES, num_labels=7)
    return transformers.CLIPForImageClassification(config)


def save(make: Callable[[], Any], folder: Path) -> Any:
    with quiet():
        torch.manual_seed(0)
        model = make()
        model.save_pretrained(folder)
    return model.eval()


def edit(path: Path, **changes: object) -> None:
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    save(vit, tmp_path / "vit")
    return tmp_path / "vit"


@torch.no_grad()
@pytest.mark.parametrize(
    ("make", "dim", "expected"),
    [
        (vit, 8, lambda model, state: state[:, 1:].transpose(1, 2).reshape(3, 8, 4, 4)),
        (deit, 8, lambda model, state: state[:, 2:].transpose(1, 2).reshape(3, 8, 4, 4)),
        (swin, 16, lambda model, state: state.transpose(1, 2).reshape(3, 16, 4, 4)),
        (resnet, 12, lambda model, state: state),
        (convnext, 12, lambda model, state: state),
    ],
)
def test_features_are_what_the_head_takes_and_maps_the_last_hidden_state(
    make: Callable[[], Any], dim: int, expected: Callable[[Any, torch.Tensor], torch.Tensor], tmp_path: Path
) -> None:
    model = save(make, tmp_path / "model")
    classifier = Classifier(f"transformers:{tmp_path / 'model'}", ["a", "b"], 32).eval()
    features = classifier.features(IMAGES)
    assert features.shape == (3, classifier.network.feature_dim) == (3, dim)
    head = model.classifier[-1] if isinstance(model.classifier, torch.nn.Sequential) else model.classifier
    torch.testing.assert_close(head(features), model(NORMALISED).logits)
    torch.testing.assert_close(classifier.head(features), classifier(IMAGES))
    maps = expected(model, model.base_model(NORMALISED).last_hidden_state)
    torch.testing.assert_close(classifier.feature_maps(IMAGES), maps)


@torch.no_grad()
@pytest.mark.parametrize("make", [dinov2, clip])
def test_features_are_found_where_maps_are_others_or_elsewhere(make: Callable[[], Any], tmp_path: Path) -> None:
    model = save(make, tmp_path / "model")
    classifier = Classifier(f"transformers:{tmp_path / 'model'}", ["a", "b"], 32).eval()
    torch.testing.assert_close(model.classifier(classifier.features(IMAGES)), model(NORMALISED).logits)
    if make is clip:
        assert classifier.feature_maps(IMAGES).shape == (3, 8, 4, 4)
        return
    with pytest.raises(InputError, match="no feature maps of 16 channels"):
        classifier.feature_maps(IMAGES)


@torch.no_grad()
@pytest.mark.parametrize("make", [vit, resnet, swin, clip])
def test_a_checkpoint_needs_nothing_but_its_own_folder(make: Callable[[], Any], tmp_path: Path) -> None:
    save(make, tmp_path / "model")
    classifier = Classifier(f"transformers:{tmp_path / 'model'}", ["a", "b"], 32).eval()
    logits = classifier(IMAGES)
    classifier.save_pretrained(tmp_path / "checkpoint")
    shutil.rmtree(tmp_path / "model")
    again = Classifier.from_pretrained(tmp_path / "checkpoint")
    assert torch.equal(again(IMAGES), logits)
    assert again.config == classifier.config
    assert {path.name for path in (tmp_path / "checkpoint").iterdir()} == {"config.json", "model.safetensors"}
    text = (tmp_path / "checkpoint/config.json").read_text()
    assert str(tmp_path) not in text
    assert "LABEL" not in text
    assert classifier.config["network"].startswith("transformers:…/model@")
    assert not any("classifier" in name for name in classifier.state_dict())


def test_every_parameter_that_is_trained_gets_a_gradient(tmp_path: Path) -> None:
    """Data-parallel training waits for the gradients of all others in vain, so unused ones are frozen."""
    for make, frozen in (
        (vit, []),
        (dinov2, ["model.dinov2.embeddings.mask_token"]),
        (clip, [f"model.vision_model.post_layernorm.{name}" for name in ("weight", "bias")]),
    ):
        save(make, tmp_path / make.__name__)
        classifier = Classifier(f"transformers:{tmp_path / make.__name__}", ["a", "b"], 32)
        assert all(module.training for module in classifier.modules())
        classifier(IMAGES).square().sum().backward()
        without = [name for name, value in classifier.network.named_parameters() if value.grad is None]
        assert without == frozen
        assert [name for name, value in classifier.network.named_parameters() if not value.requires_grad] == frozen


@torch.no_grad()
def test_position_embeddings_are_stretched_to_the_images(folder: Path) -> None:
    classifier = Classifier(f"transformers:{folder}", ["a", "b"], 48).eval()
    images = IMAGES.repeat(1, 1, 2, 2)[..., :48, :48]
    assert classifier.feature_maps(images).shape == (3, 8, 6, 6)
    model = transformers.AutoModelForImageClassification.from_pretrained(folder).eval()
    expected = model(images / 255 * 2 - 1, interpolate_pos_encoding=True).logits
    torch.testing.assert_close(model.classifier(classifier.features(images)), expected)


def test_a_model_of_one_size_refuses_others(tmp_path: Path) -> None:
    save(clip, tmp_path / "clip")
    with pytest.raises(InputError, match=r"cannot take images of 48 pixels: .*doesn't match model"):
        Classifier(f"transformers:{tmp_path / 'clip'}", ["a", "b"], 48)


def test_a_model_without_a_head_is_a_pretrained_one_too(tmp_path: Path) -> None:
    config = transformers.ViTConfig(**PATCHES)
    trunk = save(lambda: transformers.ViTModel(config, add_pooling_layer=False), tmp_path / "vit")
    classifier = Classifier(f"transformers:{tmp_path / 'vit'}", ["a", "b"], 32).eval()
    torch.testing.assert_close(classifier.features(IMAGES), trunk(NORMALISED).last_hidden_state[:, 0])


def test_two_heads_are_refused(tmp_path: Path) -> None:
    config = transformers.DeiTConfig(**PATCHES, num_labels=7)
    save(lambda: transformers.DeiTForImageClassificationWithTeacher(config), tmp_path / "deit")
    with pytest.raises(InputError, match="no linear layer of DeiTForImageClassificationWithTeacher alone"):
        Classifier(f"transformers:{tmp_path / 'deit'}", ["a", "b"], 32)


@pytest.mark.parametrize(
    ("settings", "mean", "std"),
    [
        ({"image_mean": [0.1, 0.2, 0.3], "image_std": [0.4, 0.5, 0.6]}, [0.1, 0.2, 0.3], [0.4, 0.5, 0.6]),
        ({"image_mean": [0.2] * 3, "image_std": [0.4] * 3, "rescale_factor": 2 / 255}, [0.1] * 3, [0.2] * 3),
        ({"image_mean": [51] * 3, "image_std": [102] * 3, "do_rescale": False}, [0.2] * 3, [0.4] * 3),
        ({"do_normalize": False}, [0.0] * 3, [1.0] * 3),
        ({}, [0.5] * 3, [0.5] * 3),
        (None, [0.5] * 3, [0.5] * 3),
    ],
)
def test_images_are_normalised_as_the_model_expects(
    settings: dict[str, object] | None, mean: list[float], std: list[float], folder: Path
) -> None:
    if settings is not None:
        (folder / "preprocessor_config.json").write_text(json.dumps(settings))
    classifier = Classifier(f"transformers:{folder}", ["a", "b"], 32)
    assert (classifier.config["mean"], classifier.config["std"]) == (mean, std)
    chosen = Classifier(f"transformers:{folder}", ["a", "b"], 32, [0.7] * 3, [0.8] * 3)
    assert (chosen.config["mean"], chosen.config["std"]) == ([0.7] * 3, [0.8] * 3)


def test_a_broken_normalisation_is_refused(folder: Path) -> None:
    for broken in ({"image_mean": [0.5] * 3}, {"image_mean": "abc", "image_std": [1] * 3}):
        (folder / "preprocessor_config.json").write_text(json.dumps(broken))
        with pytest.raises(InputError, match="image_mean and image_std must be numbers"):
            own_normalisation(f"transformers:{folder}")
    assert own_normalisation("convnet") is None


def test_training_starts_from_the_pretrained_weights_and_their_normalisation(folder: Path, tmp_path: Path) -> None:
    normalisation = {"image_mean": [0.1, 0.2, 0.3], "image_std": [0.4, 0.5, 0.6]}
    (folder / "preprocessor_config.json").write_text(json.dumps(normalisation))
    network = f"transformers:{folder}"
    settings = {"network": network, "image_size": 32, "epochs": 1, "learning_rate": 1e-9, "last_rate": 0.0}
    [run] = train("digits", tmp_path / "runs", **settings, seeds=[0])
    classifier = Classifier.from_pretrained(run.folder)
    before = load_file(folder / "model.safetensors")
    name = "vit.embeddings.patch_embeddings.projection.weight"
    torch.testing.assert_close(classifier.network.model.get_parameter(name), before[name])
    assert [classifier.config[key] for key in ("mean", "std")] == [*normalisation.values()]
    record = CheckpointContents(run.folder, None, "mit").files(None)["training.json"].content.decode()
    assert record.count("transformers:…/vit") == 2  # in the settings and in the command
    for published in (record, (run.folder / "README.md").read_text()):
        assert str(folder) not in published


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda folder: edit(folder / "config.json", auto_map={"AutoModel": "evil.Evil"}), "auto_map"),
        (lambda folder: edit(folder / "config.json", num_hidden_layers=0), "weights and config do not fit"),
        (lambda folder: edit(folder / "config.json", num_hidden_layers=2), "weights and config do not fit"),
        (lambda folder: edit(folder / "config.json", hidden_size=10**6), "more than .* parameters"),
        (lambda folder: edit(folder / "config.json", num_hidden_layers=10**9, hidden_size=4096), "more than"),
        (lambda folder: edit(folder / "config.json", model_type="nonsense"), "no sound image model"),
        (lambda folder: (folder / "model.safetensors").rename(folder / "pytorch_model.bin"), "no safetensors"),
        (lambda folder: (folder / "model.safetensors").write_bytes(b"x" * 100), "no sound weights"),
        (lambda folder: (folder / "config.json").unlink(), "no sound image model"),
    ],
)
def test_folders_that_are_damaged_or_might_run_code_are_refused(
    folder: Path, spoil: Callable[[Path], object], message: str
) -> None:
    spoil(folder)
    with pytest.raises(InputError, match=message):
        Classifier(f"transformers:{folder}", ["a", "b"], 32)


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ([], "must be a config of transformers"),
        ({"hidden_size": 8}, "must be a config of transformers"),
        ({"model_type": "nonsense"}, "network_config is unsound"),
        ({"model_type": "bert"}, "bert|BERT|Unrecognized|cannot take"),
        ({"model_type": "vit", "auto_map": {"AutoModel": "evil.Evil"}}, "auto_map"),
        ({"model_type": "vit", **PATCHES, "num_hidden_layers": 10**9, "intermediate_size": 10**6}, "more than"),
        ({"model_type": "vit", **PATCHES, "hidden_size": "wide"}, "hidden_size|unsound|cannot"),
    ],
)
def test_a_damaged_or_hostile_network_config_is_refused(
    config: object, message: str, folder: Path, tmp_path: Path
) -> None:
    Classifier(f"transformers:{folder}", ["a", "b"], 32).save_pretrained(tmp_path / "checkpoint")
    edit(tmp_path / "checkpoint/config.json", network_config=config)
    with pytest.raises(InputError, match=message):
        Classifier.from_pretrained(tmp_path / "checkpoint")


def test_weights_of_another_network_are_refused(folder: Path, tmp_path: Path) -> None:
    Classifier(f"transformers:{folder}", ["a", "b"], 32).save_pretrained(tmp_path / "checkpoint")
    weights = load_file(tmp_path / "checkpoint/model.safetensors")
    weights.popitem()
    save_file(weights, tmp_path / "checkpoint/model.safetensors")
    with pytest.raises(InputError, match="no sound checkpoint"):
        Classifier.from_pretrained(tmp_path / "checkpoint")


def test_names_are_checked_without_loading(tmp_path: Path) -> None:
    TrainingSettings(network=f"transformers:{tmp_path / 'nothing'}")
    with pytest.raises(UnknownNameError, match="transformers:NAME_OR_FOLDER"):
        TrainingSettings(network="transformers:")
    with pytest.raises(InputError, match="no such folder"):
        Classifier(f"transformers:{tmp_path / 'nothing'}", ["a", "b"], 32)


def test_without_transformers_the_message_names_the_extra(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sio_data.image_models.find_spec", lambda name: None)
    with pytest.raises(InputError, match=r"pip install 'sio-data\[features\]'"):
        Classifier(f"transformers:{folder}", ["a", "b"], 32)


def test_building_leaves_no_hook_behind(folder: Path) -> None:
    from torch.nn.modules import module

    before = dict(module._global_parameter_registration_hooks)
    Classifier(f"transformers:{folder}", ["a", "b"], 32)
    assert dict(module._global_parameter_registration_hooks) == before
