"""log.csv and the events for TensorBoard."""

import csv
import sys
from pathlib import Path

import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from sio_data import train
from sio_data.cli import main
from sio_data.errors import InputError
from sio_data.files import read_json
from sio_data.training.journal import EVENTS, Journal

COLUMNS = ["loss", "val_accuracy", "learning_rate", "images_per_second"]


def row(epoch: int) -> dict[str, float]:
    return {"epoch": epoch, "loss": 1 / epoch, "val_accuracy": 0.5, "learning_rate": 0.1, "images_per_second": 9.5}


def rows(folder: Path) -> list[dict[str, str]]:
    with (folder / "log.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def events(folder: Path) -> dict[str, list[tuple[int, float]]]:
    read = EventAccumulator(str(folder / EVENTS)).Reload()
    return {tag: [(event.step, event.value) for event in read.Scalars(tag)] for tag in read.Tags()["scalars"]}


def test_each_epoch_is_a_row_at_once(tmp_path: Path) -> None:
    with Journal(tmp_path, 0, tensorboard=False) as journal:
        for epoch in (1, 2, 3):
            journal.enter(row(epoch))
            assert [float(one["loss"]) for one in rows(tmp_path)] == [1 / number for number in range(1, epoch + 1)]
    assert list(rows(tmp_path)[0]) == ["epoch", *COLUMNS]
    assert [path.name for path in tmp_path.iterdir()] == ["log.csv"]


def test_rows_and_events_of_epochs_that_are_made_again_are_replaced(tmp_path: Path) -> None:
    with Journal(tmp_path, 0, tensorboard=True) as journal:
        for epoch in (1, 2, 3):
            journal.enter(row(epoch))
    with Journal(tmp_path, 1, tensorboard=True) as journal:
        for epoch in (2, 3, 4):
            journal.enter(row(epoch) | {"loss": 7})
    assert [one["loss"] for one in rows(tmp_path)] == ["1.0", "7", "7", "7"]
    found = events(tmp_path)
    assert sorted(found) == sorted(COLUMNS)
    assert found["loss"] == [(1, 1), (2, 7), (3, 7), (4, 7)]


@pytest.mark.parametrize("text", ["", "other,columns\n1,2\n", "\udcff"])
def test_a_log_that_is_none_is_written_anew(text: str, tmp_path: Path) -> None:
    (tmp_path / "log.csv").write_bytes(text.encode(errors="surrogateescape"))
    with Journal(tmp_path, 2, tensorboard=False) as journal:
        journal.enter(row(3))
    assert [one["epoch"] for one in rows(tmp_path)] == ["3"]


def test_without_a_folder_nothing_is_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with Journal(None, 0, tensorboard=True) as journal:
        journal.enter(row(1))
    assert not list(tmp_path.iterdir())


def test_the_log_and_the_events_of_a_training_say_what_its_record_says(tmp_path: Path) -> None:
    train("digits", tmp_path, epochs=2, batch_size=250, seeds=[0], learning_rate=0.1, tensorboard=True)
    history = read_json(tmp_path / "seed-0/training.json")["history"]
    log, found = rows(tmp_path / "seed-0"), events(tmp_path / "seed-0")
    for name in ("loss", "val_accuracy"):
        values = [epoch[name] for epoch in history]
        assert [float(one[name]) for one in log] == values
        assert [value for _, value in found[name]] == pytest.approx(values)
    assert [float(one["learning_rate"]) for one in log] == pytest.approx([0.05, 1e-6], rel=1e-3)
    assert all(float(one["images_per_second"]) > 0 for one in log)
    train("digits", tmp_path / "without", epochs=1, batch_size=250, seeds=[0])
    assert not (tmp_path / "without/seed-0" / EVENTS).exists()


def test_without_tensorboard_it_is_said_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "tensorboard", None)
    with pytest.raises(InputError, match=r"pip install 'sio-data\[tracking\]'"):
        train("digits", tmp_path / "runs", tensorboard=True)
    assert main(["train", "--real", "digits", "--out", str(tmp_path / "runs"), "--tensorboard"]) == 2
    assert "TensorBoard is not installed" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())
