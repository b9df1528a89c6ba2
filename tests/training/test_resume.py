"""A training that is cut off anywhere goes on to the same weights."""

import os
import signal
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load, load_file, save

from sio_data import train
from sio_data.cli import main
from sio_data.errors import IncompleteError, InputError, SettingsMismatchError, SioDataError
from sio_data.files import read_json
from sio_data.training import series
from sio_data.training.learner import Learner
from sio_data.training.state import STATE
from tests.conftest import snapshot

OPTIONS = {"epochs": 3, "seeds": [0], "batch_size": 250, "keep": "best"}  # three steps an epoch
UNFINISHED = ".seed-0.unfinished"


class CutOffError(Exception):
    pass


@pytest.fixture
def at_step(monkeypatch: pytest.MonkeyPatch) -> Callable[[int, Callable[[], None]], None]:
    """Have something happen in the update of this number, from 0."""

    def plan(number: int, happen: Callable[[], None]) -> None:
        update, count = Learner.update, iter(range(10**6))

        def spy(self: Learner, *arguments: object) -> torch.Tensor:
            if next(count) == number:
                happen()
            return update(self, *arguments)

        monkeypatch.setattr(Learner, "update", spy)

    return plan


def cut_off() -> None:
    raise CutOffError


@pytest.fixture
def cut_training(at_step: Callable[..., None], monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Begin a training and cut it off in the update of this number."""

    def begin(out: Path, step: int, **settings: object) -> None:
        at_step(step, cut_off)
        with pytest.raises(CutOffError):
            train("digits", out, **OPTIONS | {"save_seconds": 0} | settings)
        monkeypatch.undo()

    return begin


def weights(folder: Path) -> dict[str, torch.Tensor]:
    parts = {name: load_file(folder / "seed-0" / name / "model.safetensors") for name in (".", "last")}
    return {f"{part}/{name}": value for part, tensors in parts.items() for name, value in tensors.items()}


def assert_same_training(one: Path, other: Path) -> None:
    first, second = weights(one), weights(other)
    assert first.keys() == second.keys()
    assert all(torch.equal(first[name], second[name]) for name in first)
    records = [read_json(folder / "seed-0/training.json") for folder in (one, other)]
    for name in ("history", "epoch", "val_accuracy"):
        assert records[0][name] == records[1][name]


SETTINGS: dict[str, dict[str, object]] = {
    "plain": {},
    "sio": {"synthetic": "digits", "mix": "loss", "real_share": 0.5, "augmentation": "crop-flip"},
    "averaged": {"ema": 0.9, "clip_norm": 1.0, "label_smoothing": 0.1},
    "bf16": {"precision": "bf16", "channels_last": True},
    "fp16": {"precision": "fp16", "channels_last": True},  # else a processor takes minutes
    "state of its own": {"method": "vos:queue=10,start=0"},
    "outliers": {"method": "oe", "outliers": "textures#val", "outlier_batch_size": 30},
}


@pytest.mark.parametrize("settings", SETTINGS.values(), ids=SETTINGS)
@pytest.mark.parametrize("step", [1, 6])
def test_a_training_cut_off_goes_on_to_the_same_weights(
    settings: dict[str, object],
    step: int,
    tmp_path: Path,
    at_step: Callable[..., None],
    cut_training: Callable[..., None],
) -> None:
    train("digits", tmp_path / "whole", **OPTIONS, **settings)
    cut_training(tmp_path / "cut", step, **settings)
    steps = []
    at_step(0, lambda: steps.append("went on"))
    assert train("digits", tmp_path / "cut", **OPTIONS, **settings)[0].made
    assert steps == ["went on"]
    assert_same_training(tmp_path / "whole", tmp_path / "cut")
    assert [path.name for path in (tmp_path / "cut").iterdir()] == ["seed-0"]
    assert not (tmp_path / "cut/seed-0" / STATE).exists()


def test_a_streamed_training_goes_on_within_the_epoch(
    tiny_set: Path, tmp_path: Path, cut_training: Callable[..., None]
) -> None:
    options = OPTIONS | {"synthetic": str(tiny_set), "storage": "stream"}
    train("digits", tmp_path / "whole", **options)
    cut_training(tmp_path / "cut", 4, **options)
    train("digits", tmp_path / "cut", **options)
    assert_same_training(tmp_path / "whole", tmp_path / "cut")


def test_what_a_kill_left_among_the_other_weights_is_gone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    train("digits", tmp_path / "whole", **OPTIONS)
    monkeypatch.setattr("sio_data.training.checkpoint.write_json", leave_temporary_file)
    with pytest.raises(CutOffError):
        train("digits", tmp_path / "runs", **OPTIONS)
    monkeypatch.undo()
    assert list((tmp_path / "runs").rglob("*.tmp"))
    train("digits", tmp_path / "runs", **OPTIONS)
    whole, again = ({path.relative_to(out) for path in out.rglob("*")} for out in sorted(tmp_path.iterdir()))
    assert whole == again


def leave_temporary_file(path: Path, value: object) -> None:
    path.with_name(f".{path.name}.0.tmp").touch()
    raise CutOffError


def test_only_the_steps_since_the_last_save_are_made_again(
    tmp_path: Path, cut_training: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    cut_training(tmp_path / "runs", 7)
    made = []
    update = Learner.update
    monkeypatch.setattr(Learner, "update", lambda self, *rest: (made.append(1), update(self, *rest))[1])
    train("digits", tmp_path / "runs", **OPTIONS)
    assert len(made) == 9 - 7


@pytest.mark.parametrize(
    ("number", "error", "code"), [(signal.SIGTERM, IncompleteError, 1), (signal.SIGINT, KeyboardInterrupt, 130)]
)
def test_a_signal_saves_and_ends_the_training(
    number: signal.Signals,
    error: type[BaseException],
    code: int,
    tmp_path: Path,
    at_step: Callable[..., None],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    train("digits", tmp_path / "whole", **OPTIONS)
    handler = signal.getsignal(number)
    at_step(4, lambda: os.kill(os.getpid(), number))
    with pytest.raises(error):
        train("digits", tmp_path / "runs", **OPTIONS)
    assert signal.getsignal(number) == handler
    assert (tmp_path / "runs" / UNFINISHED / STATE).is_file()
    monkeypatch.undo()
    at_step(1, lambda: os.kill(os.getpid(), number))
    words = ["--real", "digits", "--epochs", "3", "--seeds", "0", "--batch-size", "250", "--keep", "best"]
    assert main(["train", *words, "--out", str(tmp_path / "runs")]) == code
    assert "Traceback" not in capsys.readouterr().err
    monkeypatch.undo()
    train("digits", tmp_path / "runs", **OPTIONS)
    assert_same_training(tmp_path / "whole", tmp_path / "runs")


def test_the_log_has_a_row_an_epoch_whatever_was_made_again(tmp_path: Path, cut_training: Callable[..., None]) -> None:
    cut_training(tmp_path / "runs", 7, save_seconds=10**6, tensorboard=True)
    train("digits", tmp_path / "runs", **OPTIONS, tensorboard=True)
    rows = (tmp_path / "runs/seed-0/log.csv").read_text().splitlines()
    assert rows[0] == "epoch,loss,val_accuracy,learning_rate,images_per_second"
    assert [row.partition(",")[0] for row in rows[1:]] == ["1", "2", "3"]
    assert list((tmp_path / "runs/seed-0/tensorboard").glob("events.*"))


def test_other_settings_than_those_of_the_unfinished_run_are_refused(
    tmp_path: Path, cut_training: Callable[..., None]
) -> None:
    cut_training(tmp_path / "runs", 4)
    before = snapshot(tmp_path)
    with pytest.raises(SettingsMismatchError, match=r"learning_rate: 0\.1 there, 0\.2 asked"):
        train("digits", tmp_path / "runs", **OPTIONS, learning_rate=0.2)
    assert snapshot(tmp_path) == before


def test_a_damaged_state_is_refused_and_left_alone(tmp_path: Path, cut_training: Callable[..., None]) -> None:
    cut_training(tmp_path / "runs", 4)
    state = tmp_path / "runs" / UNFINISHED / STATE
    sound = state.read_bytes()
    tensors, metadata = load(sound), safe_open(state, "pt").metadata()
    fewer = {name: value for name, value in tensors.items() if name != "classifier.head.bias"}
    for damaged in (sound[:1000], save(tensors), save(fewer, metadata)):
        state.write_bytes(damaged)
        before = snapshot(tmp_path)
        with pytest.raises(InputError, match=r"no sound state of a training .*Delete it to begin anew"):
            train("digits", tmp_path / "runs", **OPTIONS)
        assert snapshot(tmp_path) == before


def test_a_signal_as_a_run_ends_keeps_the_next_from_beginning(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    finish = series._finish_folder

    def stop_meanwhile(*arguments: object) -> None:
        os.kill(os.getpid(), signal.SIGTERM)
        finish(*arguments)

    monkeypatch.setattr(series, "_finish_folder", stop_meanwhile)
    with pytest.raises(IncompleteError):
        train("digits", tmp_path / "runs", epochs=1, seeds=[0, 1])
    assert [path.name for path in (tmp_path / "runs").iterdir()] == ["seed-0"]


def test_what_failed_before_a_state_was_saved_does_not_lock_the_folder(tmp_path: Path) -> None:
    with pytest.raises(SioDataError, match="give a lower learning rate"):
        train("digits", tmp_path / "runs", **OPTIONS, learning_rate=1e30)
    assert train("digits", tmp_path / "runs", **OPTIONS | {"epochs": 1})[0].made


def test_weights_that_are_not_finite_are_no_checkpoint(tmp_path: Path) -> None:
    with pytest.raises(SioDataError, match="became"):
        train("digits", tmp_path / "runs", epochs=1, seeds=[0], batch_size=541, learning_rate=1e38, weight_decay=1e5)
    assert not (tmp_path / "runs/seed-0").exists()


def test_a_state_left_in_a_finished_run_is_removed(tmp_path: Path) -> None:
    train("digits", tmp_path / "runs", epochs=1, seeds=[0])
    (tmp_path / "runs/seed-0" / STATE).touch()
    assert not train("digits", tmp_path / "runs", epochs=1, seeds=[0])[0].made
    assert not (tmp_path / "runs/seed-0" / STATE).exists()


def test_a_url_as_output_is_refused() -> None:
    with pytest.raises(InputError, match="needs a local folder"):
        train("digits", "s3://bucket/runs")


def test_a_state_whose_loss_is_not_finite_is_never_saved(tmp_path: Path) -> None:
    with pytest.raises(SioDataError, match="the loss became"):
        train("digits", tmp_path / "runs", **OPTIONS, learning_rate=1e30, save_seconds=0)
    state = tmp_path / "runs" / UNFINISHED / STATE
    assert all(torch.isfinite(value.double()).all() for value in (load_file(state).values() if state.exists() else ()))


def test_a_run_that_cannot_begin_leaves_nothing(tmp_path: Path) -> None:
    for settings in ({"crop_size": 64}, {"network": "wrn-28-10", "crop_size": 2}):
        with pytest.raises(InputError):
            train("digits", tmp_path / "runs", epochs=1, seeds=[0], **settings)
        assert not (tmp_path / "runs").exists()
