import subprocess
import sys
from dataclasses import fields
from pathlib import Path

import pytest

from sio_data import Classifier
from sio_data.errors import InputError, UnknownNameError
from sio_data.presets import PRESETS, SETTINGS, load_preset
from sio_data.training.networks import NETWORKS
from sio_data.training.request import resolve_request
from sio_data.training.settings import TrainingSettings


@pytest.mark.parametrize("name", PRESETS)
def test_every_preset_is_one_that_can_be_trained(name: str) -> None:
    request = resolve_request("real", synthetic="synthetic", preset=name)
    size = request.settings.crop_size or request.image_size
    assert size
    assert NETWORKS[request.settings.network].smallest_image <= size
    Classifier("convnet", ["a", "b"], 32, request.settings.mean, request.settings.std)


def test_the_values_are_the_papers() -> None:
    both = {
        "learning_rate": 0.1,
        "last_rate": 1e-6,
        "momentum": 0.9,
        "mix": "batch",
        "keep": "best",
        "seeds": [0, 1, 2],
    }
    cifar = {"network": "resnet18-32", "image_size": 32, "epochs": 200, "batch_size": 128, "alpha": 0.8}
    cifar |= {"weight_decay": 5e-4, "nesterov": True, "augmentation": "crop-flip"}
    imagenet = {"network": "resnet18-224", "image_size": 256, "crop_size": 224, "epochs": 60, "batch_size": 256}
    imagenet |= {"alpha": 0.9, "weight_decay": 1e-4, "nesterov": False, "augmentation": "resized-crop-flip"}
    own = {"mean": [0.485, 0.456, 0.406], "std": [0.229, 0.224, 0.225]}
    assert load_preset("imagenet-10") == load_preset("imagenet-dogs") == both | imagenet | own
    own = {"mean": [0.4914, 0.4822, 0.4465], "std": [0.247, 0.2435, 0.2616]}
    assert load_preset("cifar10") == both | cifar | own
    own = {"mean": [0.5071, 0.4867, 0.4408], "std": [0.2675, 0.2565, 0.2761]}
    assert load_preset("cifar100") == both | cifar | own


def test_all_settings_of_a_training_can_be_preset() -> None:
    assert {field.name for field in fields(TrainingSettings)} | {"image_size", "storage", "seeds"} == SETTINGS


def test_the_recipe_that_a_training_writes_is_a_preset(tmp_path: Path) -> None:
    request = resolve_request("real", synthetic="synthetic", preset="imagenet-10", epochs=3)
    lines = request.to_yaml().splitlines()
    path = tmp_path / "recipe.yaml"
    path.write_text("\n".join(line for line in lines if not line.startswith(("real:", "synthetic:"))))
    again = resolve_request("real", synthetic="synthetic", preset=str(path))
    assert again.settings == request.settings
    assert (again.image_size, again.seeds) == (256, (0, 1, 2))


def test_a_file_of_ones_own_is_read(tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text(
        "epochs: 5  # few\nweight_decay: 5e-4\nnesterov: false\nmean: [0, 0.5, 1]\nreal_share:\nmix: loss\n"
    )
    expected = {"epochs": 5, "weight_decay": 5e-4, "nesterov": False, "mean": [0, 0.5, 1], "real_share": None}
    assert load_preset(str(path)) == expected | {"mix": "loss"}


def test_unknown_names_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UnknownNameError, match=r"unknown preset 'cifar-10'.*Did you mean 'cifar10'.*\.yaml"):
        load_preset("cifar-10")
    with pytest.raises(InputError, match="no such file"):
        load_preset(str(tmp_path / "nothing.yaml"))
    path = tmp_path / "mine.yml"
    path.write_text("epoch: 5\n")
    with pytest.raises(UnknownNameError, match=r"unknown setting in preset .* 'epoch'.*Did you mean 'epochs'"):
        load_preset(str(path))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "must be a mapping"),
        ("- epochs\n", "must be a mapping"),
        ("epochs: [1\n", "no sound YAML"),
        ("epochs: !!python/object/apply:os.system [ls]\n", "no sound YAML"),
        ("epochs: 2020-13-45\n", "no sound YAML|must be a text"),
        ("epochs: 2020-12-24\n", "epochs must be a text, a number"),
        ("mean: [a, b, c]\n", "mean must be a text, a number"),
        ("network: {name: convnet}\n", "network must be a text"),
        ("[" * 5000, "no sound YAML"),
        ("1: 2\n", "unknown setting"),
        ("epochs: 1\n" + "# " + "x" * 100_000, "larger than"),
        ("epochs: \x00\n", "no sound YAML"),
        ("? [a]\n: 1\n", "no sound YAML"),
    ],
)
def test_what_is_no_mapping_of_plain_values_is_refused(text: str, message: str, tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text(text)
    with pytest.raises(InputError, match=message):
        load_preset(str(path))


def test_a_file_that_is_no_text_is_refused(tmp_path: Path) -> None:
    (tmp_path / "bytes.yaml").write_bytes(b"\xff\xfe\x00")
    (tmp_path / "folder.yaml").mkdir()
    for name in ("bytes.yaml", "folder.yaml"):
        with pytest.raises(InputError, match="cannot be read"):
            load_preset(str(tmp_path / name))


def test_presets_are_read_without_torch() -> None:
    code = "import sys, sio_data.presets; sio_data.presets.load_preset('cifar10'); sys.exit('torch' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)
