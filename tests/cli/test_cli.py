import dataclasses
import inspect
import json
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import get_args

import pytest
from PIL import Image

import sio_data
from sio_data import __version__
from sio_data.cli import evaluate, main, train
from sio_data.detection import DETECTORS
from sio_data.detection.benchmarks import BENCHMARKS
from sio_data.errors import SioDataError
from sio_data.manifest import Manifest
from sio_data.presets import PRESETS
from sio_data.training.augmentation import AUGMENTATIONS
from sio_data.training.methods import METHODS
from sio_data.training.networks import NETWORKS
from sio_data.training.request import Storage
from sio_data.training.settings import Keep, Precision, TrainingSettings
from tests.conftest import snapshot

COMMANDS = [
    "quickstart",
    "fit",
    "generators",
    "generate",
    "import",
    "info",
    "preview",
    "gallery",
    "verify",
    "repair",
    "regenerate",
    "measure",
    "filter",
    "export",
    "bundle",
    "train",
    "evaluate",
    "publish",
    "fetch",
]
OOD = ["--ood", "near:u=digits-unknown"]


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--version"]) == 0
    assert capsys.readouterr().out == f"sio-data {__version__}\n"


@pytest.mark.parametrize("command", COMMANDS)
def test_help_has_an_example(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([command, "--help"]) == 0
    shown = capsys.readouterr().out
    assert f"Example: sio-data {command}" in " ".join(shown.split())


def test_help_imports_nothing_heavy() -> None:
    code = (
        "import sys; from sio_data.cli import main; main(['generate', '--help']); "
        "heavy = {'torch', 'numpy', 'diffusers', 'datasets', 'sklearn', 'PIL', 'transformers'} & {*sys.modules}; "
        "sys.exit(f'imported: {heavy}' if heavy else 0)"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr


def test_python_m_is_the_same_and_errors_have_no_traceback(tmp_path: Path) -> None:
    result = subprocess.run(
        [sys.executable, "-m", "sio_data", "fit", "digts", "--out", str(tmp_path / "x")],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert result.returncode == 2
    assert "error: unknown source 'digts'. Did you mean 'digits'?" in result.stderr
    assert "Traceback" not in result.stderr
    assert result.stdout == ""
    assert not (tmp_path / "x").exists()


FUNCTIONS = {
    "info": "describe",
    "preview": "draw_preview",
    "gallery": "build_gallery",
    "filter": "filter_set",
    "import": "import_set",
}


@pytest.mark.parametrize(
    "command", [name for name in COMMANDS if name not in ("quickstart", "generators", "detectors")]
)
def test_every_option_reaches_the_function_and_the_defaults_agree(
    command: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    name_of_function = FUNCTIONS.get(command, command)
    function = getattr(sio_data, name_of_function)
    expected = inspect.signature(function).parameters
    calls: list[dict[str, object]] = []

    def spy(*arguments: object, **options: object) -> object:
        calls.append(inspect.signature(function).bind(*arguments, **options).arguments)
        raise SioDataError("enough seen")

    monkeypatch.setattr(sio_data, name_of_function, spy, raising=False)
    required = {
        "fit": ["S", "--out", "O"],
        "generate": ["--generator", "G", "--weights", "W", "--per-class", "3", "--out", "O"],
        "import": ["S", "--out", "O"],
        "info": ["S"],
        "preview": ["S", "--out", "O"],
        "gallery": ["S"],
        "verify": ["S"],
        "repair": ["S"],
        "regenerate": ["S", "7"],
        "export": ["S", "--format", "F", "--out", "O"],
        "bundle": ["S"],
        "measure": ["S", "--real", "R"],
        "filter": ["S", "--out", "O"],
        "train": ["--real", "R", "--out", "O"],
        "evaluate": ["C", "--out", "O"],
        "calibrate": ["C", "--id", "I"],
        "score": ["C", "I"],
        "publish": ["S", "owner/name"],
        "fetch": ["owner/name", "O"],
    }[command]
    assert main([command, *required]) == 1
    for name, parameter in expected.items():
        if parameter.default is not inspect.Parameter.empty and name in calls[0]:
            given = calls[0][name]
            assert ((tuple(given) if isinstance(given, list) else given) or None) == (parameter.default or None), name
    values = {
        "classes": (["--class", "a", "--class", "b"], ["a", "b"]),
        "sampling": (["--sampling", "a=b=c"], {"a": "b=c"}),
        "channels": (["--channels", "16,32"], [16, 32]),
        "seeds": (["--seeds", "5,6"], [5, 6]),
        "detectors": (["--detector", "knn"], ["knn"]),
        "ood": (["--ood", "near:a=b", "--ood", "far:c=d"], ["near:a=b", "far:c=d"]),
        "search": (["--search"], True),
        "accuracy_score": (["--accuracy-score"], True),
        "private": (["--private"], True),
        "tensorboard": (["--tensorboard"], True),
        "dry_run": (["--dry-run"], True),
        "drop": (["--drop", "repeats"], ["repeats"]),
        "link": (["--link", "a/b", "--link", "c/d"], ["a/b", "c/d"]),
    }
    for name, parameter in expected.items():
        if parameter.default is inspect.Parameter.empty:
            continue
        number = str(parameter.annotation).removesuffix(" | None") in (
            "<class 'int'>",
            "<class 'float'>",
            "int",
            "float",
        )
        words, value = values.get(name, ([f"--{name.replace('_', '-')}", "7" if number else "x"], 7 if number else "x"))
        assert main([command, *required, *words]) == 1, name
        assert calls[-1][name] == value, name


def test_the_help_names_every_benchmark() -> None:
    told = inspect.signature(evaluate.command).parameters["benchmark"].annotation.__metadata__[0].help
    assert {*BENCHMARKS} <= set(re.findall(r"[\w.-]+", told))


def test_the_help_names_every_choice_of_a_training() -> None:
    parameters = inspect.signature(train.command).parameters
    for option, known in {
        "method": METHODS, "network": NETWORKS, "augmentation": AUGMENTATIONS, "preset": PRESETS,
        "storage": get_args(Storage), "precision": get_args(Precision), "keep": get_args(Keep),
    }.items():  # fmt: skip
        words = set(re.findall(r"[\w-]+", parameters[option].annotation.__metadata__[0].help))
        assert {*known} <= words, option


@pytest.mark.parametrize("field", dataclasses.fields(TrainingSettings), ids=lambda field: field.name)
def test_every_training_setting_has_an_option(field: dataclasses.Field, monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[dict[str, object]] = []

    def spy(*_: object, **options: object) -> object:
        calls.append(options)
        raise SioDataError("enough seen")

    monkeypatch.setattr(sio_data, "train", spy, raising=False)
    option, kind = f"--{field.name.replace('_', '-')}", str(field.type)
    words, value = ([option], True) if "bool" in kind else ([option, "7"], 7) if "int" in kind else ([option, "x"], "x")
    if "float" in kind:
        words, value = ([option, "0.5,0.25"], [0.5, 0.25]) if "Sequence" in kind else ([option, "0.5"], 0.5)
    assert main(["train", "--real", "R", "--out", "O"]) == 1
    assert calls[-1][field.name] is None
    assert main(["train", "--real", "R", "--out", "O", *words]) == 1
    assert calls[-1][field.name] == value
    shown = inspect.signature(train.command).parameters[field.name].annotation.__metadata__[0].show_default
    if isinstance(field.default, int | float) and field.default is not False:
        assert float(str(shown).split()[0].replace("yes", "1")) == field.default
    elif isinstance(field.default, str):
        assert shown == field.default


def test_the_whole_job(tiny_generator: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    small = ["--epochs", "1", "--seeds", "0,1"]
    synthetic = ["--generator", "diffusers", "--weights", tiny_generator, "--per-class", 5, "--sampling", "steps=1"]
    for words in (
        ["generate", *synthetic, "--out", tmp_path / "synthetic"],
        ["train", "--real", "digits", "--out", tmp_path / "baseline", *small],
        ["train", "--real", "digits", "--synthetic", tmp_path / "synthetic", "--out", tmp_path / "sio", *small],
        ["evaluate", tmp_path / "baseline", tmp_path / "sio", "--id", "digits", *OOD, "--out", tmp_path / "report"],
    ):
        assert main([str(word) for word in words]) == 0
    shown = capsys.readouterr().out
    results = json.loads((tmp_path / "report/results.json").read_text())
    for entry in results["summary"]:
        if entry["metric"] == "auroc":
            assert f"{100 * entry['mean']:.2f} ± {100 * entry['std']:.2f}" in shown
    assert f"{100 * results['accuracy']['sio']['mean']:.2f}" in shown
    assert main([str(word) for word in ["generate", *synthetic, "--out", tmp_path / "synthetic"]]) == 0
    assert "is complete: 30 images, all checked. Nothing to do." in " ".join(capsys.readouterr().out.split())


def test_the_detectors_are_listed_with_what_they_are_fitted_on(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["detectors"]) == 0
    told = " ".join(capsys.readouterr().out.split())
    assert all(f" {name} " in told for name in DETECTORS if name != "adascale_a")
    assert "fitted on train parameters k=50 search tries k 50, 100, 200, 500, 1000" in told


def test_a_checkpoint_gets_a_detector_and_scores_pictures(
    tiny_runs: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = shutil.copytree(tiny_runs[0] / "seed-0", tmp_path / "run")
    assert main(["calibrate", str(run), "--id", "digits", "--detector", "knn:k=5", "--tpr", "0.9"]) == 0
    assert "knn, known from -" in capsys.readouterr().out
    Image.new("RGB", (8, 8), "white").save(tmp_path / "white.png")
    assert main(["score", str(run), str(tmp_path / "white.png")]) == 0
    assert "unknown" in capsys.readouterr().out
    (tmp_path / "none.png").write_bytes(b"no picture")
    assert main(["score", str(run), str(tmp_path), "--json"]) == 1
    first, second = map(json.loads, capsys.readouterr().out.splitlines())
    assert (first["path"], first["score"], first["error"]) == (f"{tmp_path}/none.png", None, "it is no picture")
    assert (second["known"], second["error"]) == (False, "")


def test_ctrl_c_exits_130_and_says_how_to_go_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from sio_data.fitting.diffusion import DiffusionTrainer

    def interrupt(self: object, step: int) -> float:
        raise KeyboardInterrupt

    monkeypatch.setattr(DiffusionTrainer, "_step", interrupt)
    assert main(["fit", "digits", "--out", str(tmp_path / "a")]) == 130
    assert "run the same command again" in capsys.readouterr().err
    assert main(["quickstart", "--out", str(tmp_path / "b")]) == 130


def test_a_failure_that_is_not_the_users_exits_1(tiny_set: Path, tmp_path: Path, refuse: Callable[..., str]) -> None:
    copy = Path(shutil.copytree(tiny_set, tmp_path / "set"))
    replace(Manifest.read(copy), complete=False, shards=()).write(copy)
    message = refuse(
        "train", "--real", "digits", "--synthetic", copy, "--out", tmp_path / "x", unchanged=tmp_path, code=1
    )
    assert "is incomplete" in message


@pytest.fixture
def place(tiny_generator: Path, tiny_set: Path, tiny_runs: tuple[Path, Path], tmp_path: Path) -> Path:
    """A folder with a generator, a set, two checkpoints, and somebody's thesis."""
    for name, source in {
        "generator": tiny_generator,
        "set": tiny_set,
        "baseline": tiny_runs[0],
        "sio": tiny_runs[1],
    }.items():
        shutil.copytree(source, tmp_path / name)
    (tmp_path / "thesis").mkdir()
    (tmp_path / "thesis/thesis.tex").write_text("years of work")
    return tmp_path


GENERATE = ["generate", "--generator", "diffusers", "--weights", "{generator}", "--per-class", "5", "--out", "{new}"]
TRAIN = ["train", "--real", "digits", "--synthetic", "{set}", "--out", "{new}"]
EVALUATE = ["evaluate", "{baseline}", "--id", "digits", *OOD, "--out", "{new}"]


def replaced(words: list[str], option: str, value: str) -> list[str]:
    place = words.index(option) + 1
    return [*words[:place], value, *words[place + 1 :]]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], "Usage"),
        (["fly"], "No such command"),
        (["fit", "digits"], "Missing option '--out'"),
        (["fit", "digts", "--out", "{new}"], "unknown source 'digts'. Did you mean 'digits'?"),
        (["fit", "digits", "--out", "{thesis}"], "holds something else (thesis.tex)"),
        (["fit", "digits", "--out", "{new}", "--channels", "a,b"], "not a list of whole numbers"),
        (["fit", "digits", "--out", "{new}", "--steps", "x"], "unable to parse string as an integer"),
        (replaced(GENERATE, "--generator", "difusers"), "unknown generator 'difusers'. Did you mean 'diffusers'?"),
        (replaced(GENERATE, "--weights", "{thesis}"), "no generator folder"),
        (replaced(GENERATE, "--per-class", "0"), "per_class must be at least 1"),
        (replaced(GENERATE, "--out", "{thesis}"), "holds something else (thesis.tex)"),
        (replaced(GENERATE, "--out", "{set}"), "was begun with other settings"),
        (replaced(GENERATE, "--out", "{thesis}/thesis.tex"), "is a file"),
        ([*GENERATE, "--image-size", "32"], "draws images of 8 pixels and can make them smaller, not 32"),
        ([*GENERATE, "--class", "fife"], "unknown class 'fife'. Did you mean 'five'?"),
        ([*GENERATE, "--sampling", "steps"], "not of the form KEY=VALUE"),
        ([*GENERATE, "--device", "abacus"], "device 'abacus'"),
        (["generate", "--out", "{new}"], "--generator, --weights, --per-class must be given, as options or in a"),
        (["generate", "{recipe}"], "--weights, --per-class, --out must be given."),
        (["generate", "{thesis}/thesis.tex", "--out", "{new}"], "expected lines like `per_class: 500`"),
        (["generate", "{nothing}", "--out", "{new}"], "not a readable YAML file"),
        ([*GENERATE, "--price-per-hour", "2"], "--price-per-hour goes with --dry-run"),
        ([*GENERATE, "--dry-run", "--price-per-hour", "-2"], "price_per_hour must be a number from 0 on, not -2.0"),
        ([*GENERATE, "--dry-run", "--workers", "0"], "workers must be at least 1"),
        (["verify"], "Missing argument 'SET'"),
        (["verify", "{thesis}"], "is no synthetic set: it holds no sio.json"),
        (["verify", "{nothing}"], "is no synthetic set"),
        (["verify", "{set}", "--regenerate", "-1"], "regenerate must be 0 or more samples, not -1"),
        (["verify", "{set}", "--regenerate", "x"], "unable to parse string as an integer"),
        (["verify", "{set}", "--regenerate", "2"], "Say where it is with --weights"),
        (["verify", "{lost}"], "cannot be mended: no two of sio.json, README.md and the shards name the same recipe"),
        (["repair", "{lost}", "--weights", "{generator}"], "cannot be mended"),
        (["repair", "{thesis}"], "is no synthetic set"),
        (["repair", "{truncated}"], "was made with …/unet. Say where it is with --weights"),
        (["repair", "{truncated}", "--weights", "{thesis}"], "no generator folder"),
        (["repair", "{truncated}", "--weights", "{animals}"], "no generator folder"),
        (["repair", "{truncated}", "--weights", "{generator}", "--sampling", "steps=2"], "another sampling"),
        (["repair", "{truncated}", "--weights", "{generator}", "--sampling", "steps"], "not of the form KEY=VALUE"),
        (["repair", "{foreign}", "--weights", "{generator}"], "thesis.tex is not part of the set, nor a copy"),
        (["regenerate", "{set}"], "Missing argument 'KEY'"),
        (["regenerate", "{set}", "30", "--weights", "{generator}"], "no sample '30': its keys go from 0 to 29"),
        (["regenerate", "{set}", "1e3", "--weights", "{generator}"], "no sample '1e3'"),
        (["regenerate", "{set}", "-1"], "No such option: -1"),
        (["regenerate", "{set}", "--", "-1"], "no sample '-1'"),
        (["regenerate", "{set}", "3"], "Say where it is with --weights"),
        (["regenerate", "{truncated}", "9", "--weights", "{generator}"], "Mend it with: sio-data repair"),
        (["regenerate", "{manifest}", "9", "--weights", "{generator}"], "was edited"),
        (["regenerate", "{thesis}", "9"], "is no synthetic set"),
        (["regenerate", "{set}", "9", "--out", "{thesis}/thesis.tex"], "is there already; name another file"),
        (["regenerate", "{set}", "9", "--out", "{new}/9.png"], "no such folder"),
        (["train", "--real", "digits"], "name the folder of the runs (--out)"),
        (["train", "--out", "{new}"], "Missing option '--real'"),
        ([*TRAIN, "--method", "logitnrm"], "unknown method 'logitnrm'. Did you mean 'logitnorm'?"),
        ([*TRAIN, "--method", "logitnorm:temp=1"], "unknown parameter of logitnorm 'temp'"),
        ([*TRAIN, "--method", "logitnorm:temperature"], "'temperature' is not of the form parameter=value"),
        ([*TRAIN, "--method", "logitnorm:temperature=cold"], "logitnorm: temperature must be a number, not 'cold'"),
        ([*TRAIN, "--method", "pixmix:pictures={nothing}"], "is no folder"),
        ([*TRAIN, "--method", "oe"], "the method oe trains on outliers, too: name them (--outliers)"),
        ([*TRAIN, "--outliers", "textures"], "the method ce takes no outliers"),
        ([*TRAIN, "--method", "oe", "--outliers", "{nothing}"], "unknown source"),
        ([*TRAIN, "--method", "oe", "--outliers", "textures", "--outlier-batch-size", "0"], "outlier_batch_size must"),
        ([*TRAIN, "--preset", "cifar-10"], "unknown preset 'cifar-10'. Did you mean 'cifar10'?"),
        ([*TRAIN, "--preset", "{nothing}.yaml"], "no such file"),
        ([*TRAIN, "--preset", "{thesis}/../bad.yaml"], "unknown setting in preset"),
        ([*TRAIN, "--preset", "{thesis}/../bad.yaml", "--dry-run"], "Did you mean 'epochs'?"),
        ([*TRAIN, "--real-share", "0.5"], "real_share needs mix=loss"),
        ([*TRAIN, "--mix", "loss", "--real-share", "1.5"], "real_share must be a number in (0, 1), not 1.5"),
        ([*TRAIN, "--batch-size", "2", "--alpha", "0.2"], "a batch of 2 cannot hold both kinds"),
        ([*TRAIN, "--batch-size", "1000000000000"], "batch_size must be a whole number from 2 to 1,000,000"),
        ([*TRAIN, "--precision", "fp8"], "precision must be one of fp32, bf16, fp16"),
        ([*TRAIN, "--storage", "disk"], "storage must be one of memory, mapped, stream"),
        ([*TRAIN, "--mean", "0.5,0.5,0.5"], "mean and std are given together"),
        ([*TRAIN, "--mean", "a"], "--mean 'a' is not a list of numbers"),
        ([*TRAIN, "--mean", "0.5", "--std", "0.5"], "mean and std must be three numbers each"),
        ([*TRAIN, "--std", "1,1,0", "--mean", "0,0,0"], "std above 0"),
        ([*TRAIN, "--seeds", "0,x"], "--seeds '0,x' is not a list of whole numbers"),
        ([*TRAIN, "--image-size", "0"], "image_size must be from 1 to 4096, not 0"),
        ([*TRAIN, "--image-size", "0", "--dry-run"], "image_size must be from 1 to 4096, not 0"),
        ([*TRAIN, "--crop-size", "0"], "crop_size must be"),
        ([*TRAIN, "--learning-rate", "0"], "learning_rate must be a number above 0, not 0.0"),
        ([*TRAIN, "--last-rate", "1"], "last_rate must be a number from 0 to learning_rate, not 1.0"),
        ([*TRAIN, "--momentum", "1"], "momentum must be a number in [0, 1), not 1.0"),
        ([*TRAIN, "--weight-decay", "-1"], "weight_decay must be a number at least 0"),
        ([*TRAIN, "--label-smoothing", "1"], "label_smoothing must be"),
        ([*TRAIN, "--clip-norm", "0"], "clip_norm must be a number above 0"),
        ([*TRAIN, "--ema", "1"], "ema must be a number in (0, 1)"),
        ([*TRAIN, "--save-seconds", "-1"], "save_seconds must be at least 0"),
        ([*TRAIN, "--save-seconds", "nan"], "save_seconds must be at least 0"),
        ([*TRAIN, "--device", "abacus"], "device 'abacus'"),
        ([*TRAIN, "--val", "{thesis}"], "cannot be read as a data set"),
        (replaced(TRAIN, "--real", "{set}"), "is a set of one split: name other images to validate on (--val)"),
        ([*TRAIN, "--alpha", "0"], "alpha"),
        ([*TRAIN, "--alpha", "1.1"], "alpha"),
        ([*TRAIN, "--alpha", "nan"], "alpha"),
        (["train", "--real", "digits", "--alpha", "0.5", "--out", "{new}"], "needs a synthetic set"),
        ([*TRAIN, "--mix", "sum"], "mix must be one of batch, loss"),
        ([*TRAIN, "--network", "convnets"], "Did you mean 'convnet'?"),
        ([*TRAIN, "--augmentation", "flip"], "unknown augmentation"),
        ([*TRAIN, "--seeds", "0,0"], "seeds must be there, differ"),
        ([*TRAIN, "--epochs", "0"], "epochs"),
        ([*TRAIN, "--keep", "first"], "keep must be one of last, best"),
        ([*TRAIN, "--batch-size", "1"], "batch_size"),
        (replaced(TRAIN, "--real", "digits-unknown"), "unknown split of digits-unknown 'train'"),
        (replaced(TRAIN, "--synthetic", "{thesis}"), "cannot be read as a data set"),
        (replaced(TRAIN, "--synthetic", "{generator}"), "is a generator, not a set of images"),
        (replaced(TRAIN, "--synthetic", "{truncated}"), "train-000001.tar was changed"),
        (replaced(TRAIN, "--synthetic", "{edited}"), "train-000001.tar was changed"),
        (replaced(TRAIN, "--synthetic", "{manifest}"), "was edited"),
        (replaced(TRAIN, "--out", "{baseline}"), "was begun with other settings"),
        (replaced(TRAIN, "--out", "{thesis}"), "holds something else"),
        (replaced(EVALUATE, "--ood", "near:u=nothing"), "unknown source 'nothing'"),
        (replaced(EVALUATE, "--ood", "digits-unknown"), "not of the form near:NAME=SOURCE"),
        (replaced(EVALUATE, "--id", "textures"), "400 of 400 images have no label"),
        (replaced(EVALUATE, "--id", "digits#train"), "not to be judged by it"),
        (replaced(EVALUATE, "--id", "{animals}"), "knows the classes zero, one"),
        (replaced(EVALUATE, "--out", "{thesis}"), "holds something else"),
        ([*EVALUATE, "--detector", "knnn"], "unknown detector 'knnn'. Did you mean 'knn'?"),
        ([*EVALUATE, "--detector", "knn:k=100000"], "more than the 541 training images"),
        (["evaluate", "{thesis}", *EVALUATE[2:]], "holds no checkpoint"),
        (["evaluate", "{baseline}", "--out", "{new}"], "give --id and --ood, or --benchmark"),
        ([*EVALUATE, "--benchmark", "cifar10"], "names its images itself"),
        ([*EVALUATE, "--search"], "needs OOD validation images: give --ood-val"),
        ([*EVALUATE, "--search", "--ood-val", "nothing"], "unknown source 'nothing'"),
        ([*EVALUATE, "--detector", "godin"], "suits none of the checkpoints: it needs the cosine head"),
        ([*EVALUATE, "--storage", "cloud"], "unknown storage 'cloud'"),
        (["evaluate", "{baseline}", "--benchmark", "cifar", "--out", "{new}"], "Did you mean 'cifar10'"),
        (["evaluate", "{baseline}", "--benchmark", "x.yaml", "--out", "{new}"], "benchmark x.yaml: no such file"),
        (["calibrate", "{thesis}", "--id", "digits"], "holds no checkpoint"),
        (["calibrate", "{baseline}", "--id", "digits", "--tpr", "0"], "tpr must be above 0 and at most 1"),
        (["calibrate", "{baseline}", "--id", "digits", "--detector", "eboo"], "Did you mean 'ebo'"),
        (["calibrate", "{baseline}", "--id", "digits", "--detector", "vim:dim=512"], "give a dim below 512"),
        (["calibrate", "{baseline}", "--id", "{animals}"], "class"),
        (["score", "{baseline}/seed-0", "{set}/preview.png"], "has no detector yet. Give it one with: sio-data calib"),
        (["score", "{baseline}", "{set}/preview.png"], "holds seed-0, seed-1; name one of them"),
        (["score", "{baseline}/seed-0", "{nothing}"], "no such file or folder"),
        (["score", "{baseline}/seed-0", "{thesis}"], "holds no picture"),
        (["evaluate", "{torn}", *EVALUATE[2:]], "no sound checkpoint"),
        (["publish", "{thesis}", "me/set"], "holds neither a set (sio.json) nor a checkpoint"),
        (["publish", "{baseline}", "me/model"], "It holds the runs seed-0, seed-1; name one of them."),
        (["publish", "{truncated}", "me/set"], "is not sound and is not published: data/train-000001.tar"),
        (["publish", "{torn}", "me/model"], "no sound checkpoint"),
        (["publish", "{set}", "set"], "'set' names no repository on the Hub"),
        (["publish", "{set}", "me/set", "--tag", "v 1"], "'v 1' names no branch, tag or commit"),
        (["publish", "{set}", "me/set", "--tag", "main"], "it reads like a branch"),
        (["publish", "{set}", "me/set", "--link", "x"], "'x' names no repository on the Hub"),
        (["publish", "{set}", "me/set", "--licence", "unknown"], "licence 'unknown' is no name like cc-by-4.0"),
        (["publish", "{set}", "me/set", "--results", "{thesis}"], "results belong to a checkpoint"),
        (["publish", "{baseline}/seed-0", "me/model"], "nothing goes out without a licence"),
        (["publish", "{sio}/seed-0", "me/model", "--results", "{thesis}"], "results.json: no such file"),
        (["fetch", "set", "{new}"], "'set' names no repository on the Hub"),
        (["fetch", "me/set@v1", "{new}", "--revision", "v2"], "names a revision already"),
        (["fetch", "me/set", "{new}", "--revision", "a b"], "'a b' names no branch, tag or commit"),
        (["quickstart", "--out", "{thesis}/thesis.tex"], "thesis.tex"),
        (["info", "{nothing}"], "no such folder"),
        (["info", "{thesis}"], "holds no synthetic set, no checkpoint and no runs of one"),
        (["info", "{manifest}"], "was edited"),
        (["preview", "{set}", "--out", "{thesis}/thesis.tex"], "is there already; name another file"),
        (["preview", "{set}", "--out", "{new}/a.png"], "no such folder"),
        (["preview", "{set}", "--out", "{new}", "--class", "fife"], "unknown class 'fife'. Did you mean 'five'?"),
        (["preview", "{set}", "--out", "{new}", "--columns", "0"], "columns must be at least 1, not 0"),
        (["preview", "{set}", "--out", "{new}", "--rows", "-1"], "rows must be at least 1, not -1"),
        (["preview", "{set}", "--out", "{new}", "--image-size", "0"], "image_size must be from 1 to 4096, not 0"),
        (["preview", "{set}", "--out", "{new}", "--columns", "1000000"], "are too many: show fewer"),
        (["preview", "digts", "--out", "{new}"], "unknown source 'digts'. Did you mean 'digits'?"),
        (["gallery", "{thesis}"], "is no synthetic set"),
        (["gallery", "{set}", "--per-class", "0"], "per_class must be at least 1, not 0"),
        (["gallery", "{set}", "--out", "{thesis}/thesis.tex"], "is a file; name a folder with --out"),
        (["gallery", "{set}", "--out", "{thesis}/thesis.tex/page"], "thesis.tex is a file"),
        (["gallery", "{truncated}"], "Mend it with: sio-data repair"),
    ],
)  # fmt: skip
def test_bad_input_exits_2_with_one_message_and_leaves_every_file_as_it_was(
    place: Path, words: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    damaged = {"truncated": lambda data: data[:-2000], "edited": lambda data: data.replace(b"PNG", b"PNX", 1)}
    for name, damage in damaged.items():
        shard = Path(shutil.copytree(place / "set", place / name)) / "data/train-000001.tar"
        shard.write_bytes(damage(shard.read_bytes()))
    edited = Path(shutil.copytree(place / "set", place / "manifest")) / "sio.json"
    edited.write_text(edited.read_text().replace('"per_class": 5', '"per_class": 4'))
    lost = Path(shutil.copytree(place / "manifest", place / "lost"))
    (lost / "README.md").unlink()
    foreign = Path(shutil.copytree(place / "truncated", place / "foreign"))
    shutil.copy(place / "thesis/thesis.tex", foreign / "data")
    (place / "recipe").write_text("generator: diffusers")
    weights = Path(shutil.copytree(place / "sio/seed-0", place / "torn")) / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:1000])
    make_animals(place / "animals")
    (place / "bad.yaml").write_text("epoch: 5")
    folders = (
        "generator", "set", "baseline", "sio", "thesis", "new", "truncated", "edited", "manifest", "torn", "animals",
        "lost", "foreign", "recipe", "nothing",
    )  # fmt: skip
    names = {name: str(place / name) for name in folders}
    before = snapshot(place)
    assert main([word.format(**names) for word in words]) == 2
    captured = capsys.readouterr()
    shown = " ".join((captured.err + captured.out).replace("│", " ").split())
    assert message in shown
    assert "Traceback" not in shown
    assert snapshot(place) == before
    assert not (place / "new").exists()


def make_animals(folder: Path) -> None:
    from PIL import Image

    for split in ("train", "test"):
        for name in ("cat", "dog"):
            (folder / split / name).mkdir(parents=True)
            for index in range(12):
                Image.new("RGB", (8, 8), (index, 0, 0)).save(folder / split / name / f"{index}.png")
