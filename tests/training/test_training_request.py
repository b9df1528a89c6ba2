"""What was asked for: presets, defaults, dry runs, and the command that repeats it."""

import shlex
from pathlib import Path
from typing import Any

import pytest
import yaml

from sio_data import train
from sio_data.cli import main
from sio_data.errors import InputError, UnknownNameError
from sio_data.files import read_json
from sio_data.presets import PRESETS
from sio_data.training.request import TrainingRequest, resolve_request

SOURCES = ("real", "synthetic", "outliers", "val")


def preset_file(folder: Path, text: str) -> str:
    path = folder / "mine.yaml"
    path.write_text(text)
    return str(path)


def test_what_is_given_goes_before_the_preset_and_that_before_the_defaults(tmp_path: Path) -> None:
    preset = preset_file(tmp_path, "epochs: 7\nmomentum: 0.5\nseeds: [4]\nnesterov: false\nimage_size: 12\n")
    request = resolve_request("real", preset=preset, epochs=3, nesterov=True)
    assert (request.settings.epochs, request.settings.momentum, request.settings.batch_size) == (3, 0.5, 128)
    assert (request.settings.nesterov, request.seeds, request.image_size) == (True, (4,), 12)
    assert resolve_request("real", preset=preset, seeds=[1, 2], image_size=8).seeds == (1, 2)
    request = resolve_request("real")
    assert (request.seeds, request.storage, request.image_size) == ((0, 1, 2), "memory", None)


def test_what_a_preset_switches_on_can_be_switched_off(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    preset = preset_file(tmp_path, "every_real: true\nchannels_last: true\ncompile: true\nnesterov: true\n")
    words = ["train", "--real", "digits", "--preset", preset, "--dry-run"]
    flags = ["--no-every-real", "--no-channels-last", "--no-compile", "--no-nesterov"]
    for options, expected in (([], True), (flags, False)):
        assert main([*words, *options]) == 0
        shown = yaml.safe_load(capsys.readouterr().out)
        assert {shown[name] for name in ("every_real", "channels_last", "compile", "nesterov")} == {expected}


def test_a_null_in_a_preset_stands_for_the_default(tmp_path: Path) -> None:
    nothing = "epochs:\nseeds:\nstorage:\nmomentum: null\nreal_share:\nalpha:\n"
    assert resolve_request("real", preset=preset_file(tmp_path, nothing)) == resolve_request(
        "real", preset=preset_file(tmp_path, "{}")
    )


@pytest.mark.parametrize(
    ("options", "alpha", "synthetic"),
    [
        ({}, 1.0, None),
        ({"alpha": 1}, 1.0, None),
        ({"preset": "imagenet-10"}, 1.0, None),
        ({"synthetic": "s"}, 0.8, "s"),
        ({"synthetic": "s", "preset": "imagenet-10"}, 0.9, "s"),
        ({"synthetic": "s", "preset": "imagenet-10", "alpha": 0.5}, 0.5, "s"),
        ({"synthetic": "s", "alpha": 1.0}, 1.0, None),
    ],
)
def test_alpha_is_for_synthetic_data_only(options: dict[str, Any], alpha: float, synthetic: str | None) -> None:
    request = resolve_request("real", **options)
    assert (request.settings.alpha, request.synthetic) == (alpha, synthetic)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"alpha": 0.5}, r"alpha 0\.5 needs a synthetic set"),
        ({"synthetic": "s", "alpha": "much"}, "alpha must be a number"),
        ({"seeds": []}, "seeds must be there"),
        ({"seeds": [0, 0]}, "seeds must be there, differ"),
        ({"seeds": [-1]}, "seeds must be"),
        ({"seeds": [2**31]}, "seeds must be"),
        ({"seeds": [0.5]}, r"not \[0\.5\]"),
        ({"seeds": "012"}, r"not \['012'\]"),
        ({"storage": "disk"}, "storage must be one of memory, mapped, stream, not 'disk'"),
        ({"image_size": 0}, "image_size must be from 1 to 4096, not 0"),
        ({"image_size": 5000}, "image_size must be from 1 to 4096"),
        ({"image_size": "big"}, "image_size must be from 1 to 4096, not 'big'"),
        ({"method": "oe"}, r"the method oe trains on outliers, too: name them \(--outliers\)"),
        ({"outliers": "textures"}, "the method ce takes no outliers"),
    ],
)
def test_what_does_not_fit_together_is_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        resolve_request("real", **options)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("alpha: much", "alpha must be a number"),
        ("seeds: 012x", r"seeds must be .* not \['012x'\]"),
        ("seeds: 3.5", r"seeds must be .* not \[3\.5\]"),
        ("image_size: big", "image_size must be from 1 to 4096, not 'big'"),
        ("storage: 5", "storage must be one of"),
        ("learning_rate: fast", "learning_rate must be a number above 0, not 'fast'"),
        ("epochs: [1, 2]", "epochs must be a whole number"),
        ("method: 5", "method must be a text"),
        ("nesterov: maybe", "nesterov must be true or false"),
        ("mean: 0.5\nstd: 0.5", "three numbers each"),
    ],
)
def test_a_preset_whose_value_is_of_the_wrong_kind_is_refused(text: str, message: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=message):
        resolve_request("real", synthetic="s", preset=preset_file(tmp_path, text))


def test_an_unknown_keyword_of_train_is_refused_with_a_near_guess(tmp_path: Path) -> None:
    with pytest.raises(UnknownNameError, match=r"unknown training setting 'learning_rates'\. Did you mean 'learning_r"):
        train("digits", tmp_path / "runs", learning_rates=0.1)
    assert not (tmp_path / "runs").exists()


COMMON = {"learning_rate": 0.1, "last_rate": 1e-6, "momentum": 0.9, "mix": "batch", "keep": "best", "method": "ce"}
CIFAR = COMMON | {
    "network": "resnet18-32", "image_size": 32, "epochs": 200, "batch_size": 128, "alpha": 0.8, "nesterov": True,
    "weight_decay": 5e-4, "augmentation": "crop-flip", "crop_size": None,
}  # fmt: skip
IMAGENET = COMMON | {
    "network": "resnet18-224", "image_size": 256, "epochs": 60, "batch_size": 256, "alpha": 0.9, "nesterov": False,
    "weight_decay": 1e-4, "augmentation": "resized-crop-flip", "crop_size": 224,
    "mean": [0.485, 0.456, 0.406], "std": [0.229, 0.224, 0.225],
}  # fmt: skip
PAPER = {
    "cifar10": CIFAR | {"mean": [0.4914, 0.4822, 0.4465], "std": [0.2470, 0.2435, 0.2616]},
    "cifar100": CIFAR | {"mean": [0.5071, 0.4867, 0.4408], "std": [0.2675, 0.2565, 0.2761]},
    "imagenet-10": IMAGENET,
    "imagenet-dogs": IMAGENET,
}
COMPOSITION = {"cifar10": (102, 26), "cifar100": (102, 26), "imagenet-10": (230, 26), "imagenet-dogs": (230, 26)}


@pytest.mark.parametrize("name", PRESETS)
def test_a_dry_run_prints_the_papers_recipe_reads_no_data_and_writes_nothing(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    words = ["train", "--real", "no/such/folder", "--synthetic", "no/such/set", "--preset", name, "--dry-run"]
    assert main([*words, "--out", "runs"]) == 0
    shown = capsys.readouterr().out
    real, synthetic = COMPOSITION[name]
    assert shown.startswith(f"# each batch: {real} real images + {synthetic} synthetic ones\n")
    recipe = yaml.safe_load(shown)
    expected = PAPER[name] | {"seeds": [0, 1, 2], "real": "no/such/folder", "synthetic": "no/such/set"}
    assert {name: recipe[name] for name in expected} == expected
    assert not list(tmp_path.iterdir())
    assert main([*words[:3], *words[5:]]) == 0
    shown = capsys.readouterr().out
    assert shown.startswith(f"# each batch: {real + synthetic} real images\n")
    assert "alpha" not in yaml.safe_load(shown)  # given back with a synthetic set, it would leave that unused


REQUESTS: dict[str, dict[str, Any]] = {
    "paper": {"synthetic": "s", "preset": "imagenet-dogs", "epochs": 3},
    "baseline": {"preset": "cifar10"},
    "all": {
        "synthetic": "s", "outliers": "o", "val": "v#test", "image_size": 9, "storage": "stream", "seeds": (3, 1),
        "method": "oe:weight=0.25", "mix": "loss", "real_share": 0.5, "every_real": True, "outlier_batch_size": 5,
        "last_rate": 1e-12, "nesterov": False, "weight_decay": 5e-5, "crop_size": 8, "label_smoothing": 0.1,
        "clip_norm": 2.0, "ema": 0.999, "precision": "bf16", "channels_last": True, "keep": "best",
        "mean": (0.1, 0.2, 0.3), "std": (1.0, 1.0, 1e-3), "compile": False,
    },
}  # fmt: skip


def without_names(request: TrainingRequest) -> tuple[object, ...]:
    return request.settings, request.image_size, request.storage, request.seeds


@pytest.mark.parametrize("options", REQUESTS.values(), ids=REQUESTS)
def test_what_a_dry_run_prints_below_the_names_of_data_is_a_preset(options: dict[str, Any], tmp_path: Path) -> None:
    request = resolve_request("real", **options)
    lines = request.to_yaml().splitlines()
    recipe = "\n".join(line for line in lines if line.partition(":")[0] not in SOURCES)
    data = {name: options[name] for name in SOURCES if name in options}
    again = resolve_request("real", preset=preset_file(tmp_path, recipe), **data)
    assert again.to_yaml() == request.to_yaml()


@pytest.mark.parametrize("options", REQUESTS.values(), ids=REQUESTS)
def test_the_command_asks_for_the_same(options: dict[str, Any], capsys: pytest.CaptureFixture[str]) -> None:
    request = resolve_request("real", **options)
    words = shlex.split(request.command("my runs"))
    assert words[:2] == ["sio-data", "train"]
    assert words[words.index("--out") + 1] == "my runs"
    assert main([*words[1:], "--dry-run"]) == 0
    assert capsys.readouterr().out == request.to_yaml()


def test_the_recorded_command_repeats_the_training(
    tiny_set: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    preset = preset_file(tmp_path, "epochs: 1\nbatch_size: 300\nevery_real: true\nalpha: 0.7\nseeds: [5]\n")
    train("digits", tmp_path / "my runs", synthetic=str(tiny_set), preset=preset, every_real=False, mean=[0.5] * 3,
          std=[0.25] * 3)  # fmt: skip
    record = read_json(tmp_path / "my runs/seed-5/training.json")
    assert (record["settings"]["alpha"], record["settings"]["every_real"]) == (0.7, False)
    command = shlex.split(record["command"])
    assert main(command[1:]) == 0
    assert "(was there)" in capsys.readouterr().out
    other = [word.replace("my runs", "other") for word in command]
    assert main(other[1:]) == 0
    again = read_json(tmp_path / "other/seed-5/training.json")
    assert (again["settings"], again["history"]) == (record["settings"], record["history"])


def test_a_preset_that_leaves_the_synthetic_images_unused_is_refused(tmp_path: Path) -> None:
    (tmp_path / "baseline.yaml").write_text("alpha: 1.0\n")
    with pytest.raises(InputError, match="leaves the synthetic images unused"):
        resolve_request("digits", synthetic="digits", preset=str(tmp_path / "baseline.yaml"))
    assert resolve_request("digits", synthetic="digits", preset=str(tmp_path / "baseline.yaml"), alpha=0.5).synthetic
