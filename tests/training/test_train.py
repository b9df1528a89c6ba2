import json
import math
import shutil
from pathlib import Path

import pytest
import torch

from sio_data import Classifier, load_source, sio_loss, train
from sio_data.errors import FolderInUseError, SettingsMismatchError, SioDataError
from sio_data.runs import find_runs
from sio_data.streaming import open_stream
from sio_data.training import learner, series
from sio_data.training.accuracy import measure_accuracy
from sio_data.training.beginning import TrainingData
from sio_data.training.loop import train_run
from sio_data.training.request import resolve_request
from sio_data.training.run import Trained
from sio_data.training.settings import TrainingSettings
from tests.conftest import snapshot

CPU = torch.device("cpu")


def digits(synthetic: Path | None = None) -> TrainingData:
    extra = load_source(str(synthetic)) if synthetic else None
    return TrainingData(load_source("digits", "train"), load_source("digits", "val"), extra)


def run_once(synthetic: Path | None = None, seed: int = 0, **settings: object) -> Trained:
    settings = {"alpha": 0.8 if synthetic else 1.0} | settings
    return train_run(TrainingSettings(**settings), digits(synthetic), seed, CPU)


def test_training_lowers_the_loss_and_learns_the_digits() -> None:
    trained = run_once(epochs=8)
    assert trained.history[-1]["loss"] < 0.5 * trained.history[0]["loss"]
    assert trained.accuracy > 0.9
    assert measure_accuracy(trained.classifier, digits().val, CPU) == trained.accuracy


def test_the_best_epoch_is_kept_the_later_one_on_a_tie() -> None:
    trained = run_once(epochs=6, keep="best")
    accuracies = [epoch["val_accuracy"] for epoch in trained.history]
    best = max(accuracies)
    assert trained.epoch == max(place for place, value in enumerate(accuracies, 1) if value == best)


@pytest.mark.parametrize(("keep", "expected"), [("last", 3), ("best", 2)])
def test_the_last_epoch_is_kept_unless_the_best_is_asked_for(
    keep: str, expected: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    accuracies, heads = iter([0.1, 0.9, 0.5]), []

    def measure(model: Classifier, *_: object) -> float:
        heads.append(model.head.weight.detach().clone())
        return next(accuracies)

    monkeypatch.setattr("sio_data.training.run.measure_accuracy", measure)
    trained = run_once(epochs=3, keep=keep)
    assert trained.epoch == expected
    assert torch.equal(trained.classifier.head.weight, heads[expected - 1])
    assert torch.equal(trained.use("best").head.weight, heads[1])
    assert torch.equal(trained.use("last").head.weight, heads[2])
    assert not torch.equal(heads[1], heads[2])


def test_the_rate_follows_a_cosine_step_by_step(monkeypatch: pytest.MonkeyPatch) -> None:
    rates = []
    step = torch.optim.SGD.step
    monkeypatch.setattr(torch.optim.SGD, "step", lambda self: (rates.append(self.param_groups[0]["lr"]), step(self))[1])
    run_once(epochs=2)
    expected = [1e-6 + (0.1 - 1e-6) * 0.5 * (1 + math.cos(math.pi * s / 10)) for s in range(10)]
    assert rates == pytest.approx(expected)


def test_the_objective_gets_alpha_mix_and_the_flags(tiny_set: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls = []

    def loss(losses: torch.Tensor, flags: torch.Tensor, alpha: float, mix: str, *rest: object) -> torch.Tensor:
        calls.append((len(losses), int(flags.sum()), alpha, mix))
        return sio_loss(losses, flags, alpha, mix, *rest)

    monkeypatch.setattr(learner, "sio_loss", loss)
    run_once(tiny_set, epochs=1, alpha=0.75, mix="loss")
    assert calls == [(128, 32, 0.75, "loss")] * 5


def test_augmentation_is_applied() -> None:
    heads = [run_once(epochs=1, augmentation=name).classifier.head for name in ("none", "crop", "crop-flip")]
    assert len({head.weight.sum().item() for head in heads}) == 3


def test_same_seed_same_weights_and_the_seed_matters(tiny_set: Path) -> None:
    heads = []
    for seed in (0, 0, 1):
        torch.manual_seed(len(heads))
        heads.append(run_once(tiny_set, seed, epochs=1).classifier.head.weight)
    assert torch.equal(heads[0], heads[1])
    assert not torch.equal(heads[0], heads[2])


def test_the_callers_random_state_and_settings_are_left_alone() -> None:
    torch.manual_seed(3)
    before = torch.get_rng_state()
    run_once(epochs=1)
    assert torch.equal(before, torch.get_rng_state())
    assert not torch.backends.cudnn.benchmark


def test_a_run_is_a_whole_checkpoint_with_its_record(tiny_runs: tuple[Path, Path], tiny_set: Path) -> None:
    baseline, sio = tiny_runs
    for folder in (baseline, sio):
        assert [run.name for run in find_runs(folder)] == ["seed-0", "seed-1"]
        for run in find_runs(folder):
            assert {path.relative_to(run).as_posix() for path in run.rglob("*") if path.is_file()} == {
                "config.json", "model.safetensors", "README.md", "training.json", "log.csv",
                "best/config.json", "best/model.safetensors",
            }  # fmt: skip
    record = json.loads((sio / "seed-1/training.json").read_text())
    assert record["settings"]["alpha"] == 0.8
    assert record["synthetic"] == str(tiny_set)
    assert record["settings"]["synthetic_data"] == load_source(str(tiny_set)).digest
    assert record["command"].startswith(f"sio-data train --real digits --synthetic {tiny_set} ")
    assert "--alpha 0.8" in record["command"]
    assert len(record["history"]) == 2
    assert Classifier.from_pretrained(sio / "seed-0").class_names[:2] == ("zero", "one")


def test_called_again_it_makes_only_what_is_missing(tmp_path: Path) -> None:
    out = tmp_path / "runs"
    train("digits", out, epochs=1, seeds=[0])
    before = snapshot(out)
    runs = train("digits", out, epochs=1, seeds=[0, 1])
    assert [run.made for run in runs] == [False, True]
    assert before.items() <= snapshot(out).items()


def test_the_same_data_under_another_name_are_the_same_settings(
    tiny_set: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tiny_set.parent)
    train("digits", tmp_path / "runs", synthetic=tiny_set.name, epochs=1, seeds=[0])
    assert not train("digits", tmp_path / "runs", synthetic=f"./{tiny_set.name}/", epochs=1, seeds=[0])[0].made


def test_other_data_under_the_same_name_are_other_settings(
    tiny_set: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    train("digits", tmp_path / "runs", epochs=1, seeds=[0])
    fewer = load_source("digits").select(range(500))
    monkeypatch.setattr("sio_data.training.series.load_source", lambda *_, **__: fewer)
    with pytest.raises(SettingsMismatchError, match="real_data"):
        train("digits", tmp_path / "runs", epochs=1, seeds=[1])


def test_with_alpha_1_the_synthetic_set_goes_unused_and_unmentioned(tiny_set: Path, tmp_path: Path) -> None:
    train("digits", tmp_path / "runs", synthetic=str(tiny_set), alpha=1.0, epochs=1, seeds=[0])
    assert "SIO" not in (tmp_path / "runs/seed-0/README.md").read_text()
    assert json.loads((tmp_path / "runs/seed-0/training.json").read_text())["synthetic"] is None
    assert not train("digits", tmp_path / "runs", epochs=1, seeds=[0])[0].made


def test_real_and_synthetic_images_are_resized_alike(tiny_set: Path, tmp_path: Path) -> None:
    train("digits", tmp_path / "runs", synthetic=str(tiny_set), image_size=12, epochs=1, seeds=[0])
    assert Classifier.from_pretrained(tmp_path / "runs/seed-0").image_size == 12


def test_a_folder_that_only_looks_like_runs_is_refused(tiny_generator: Path, tmp_path: Path) -> None:
    shutil.copytree(tiny_generator, tmp_path / "home/gen")
    with pytest.raises(FolderInUseError):
        train("digits", tmp_path / "home", epochs=1, seeds=[0])


def test_an_unfinished_run_is_made_again(tmp_path: Path) -> None:
    leftover = tmp_path / "runs/.seed-0.unfinished"
    leftover.mkdir(parents=True)
    (leftover / "config.json").write_text("half a file")
    (leftover / "stale.txt").touch()
    assert train("digits", tmp_path / "runs", epochs=1, seeds=[0])[0].made
    assert [path.name for path in (tmp_path / "runs").iterdir()] == ["seed-0"]
    assert not (tmp_path / "runs/seed-0/stale.txt").exists()


def test_a_loss_that_explodes_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(SioDataError, match="give a lower learning rate"):
        train("digits", tmp_path / "runs", epochs=3, seeds=[0], learning_rate=1e30)
    assert not (tmp_path / "runs/seed-0").exists()


def test_a_login_in_a_url_is_not_recorded(tiny_set: Path) -> None:
    request = resolve_request("digits", synthetic="https://me:SECRET@host/set", storage="stream")
    data = TrainingData(digits().real, digits().val, open_stream(tiny_set))
    record = series._record(request, data, "runs")
    assert record["synthetic"] == "https://host/set"
    assert "SECRET" not in json.dumps(record)
