"""The saved state of a training: whole or not at all."""

import errno
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from sio_data.errors import IncompleteError, InputError, SioDataError
from sio_data.training.ranks import Ranks
from sio_data.training.state import STATE, Position, Saver, read_state, write_state
from sio_data.training.stopping import StopRequest
from tests.conftest import snapshot

CPU = torch.device("cpu")
POSITION = Position(2, 5, 0.1 + 0.2, [{"loss": 1 / 3, "val_accuracy": 0.5}], {"scale": 65536.0})
TENSORS = {
    "weight": torch.arange(6.0).view(2, 3).t(),  # not contiguous
    "count": torch.tensor(7),
    "half": torch.tensor([0.1], dtype=torch.bfloat16),
    "empty": torch.zeros(0, 3),
}


def test_what_is_written_is_read_again_bit_by_bit(tmp_path: Path) -> None:
    shared = TENSORS | {"again": TENSORS["weight"]}  # two names of the same memory
    write_state(tmp_path / STATE, POSITION, shared)
    position, tensors = read_state(tmp_path / STATE)
    assert position == POSITION
    assert tensors.keys() == shared.keys()
    for name, value in shared.items():
        assert tensors[name].dtype == value.dtype
        assert torch.equal(tensors[name], value)


def full(path: Path, data: bytes) -> None:
    with path.open("wb") as file:
        file.write(data[: len(data) // 2])
    raise OSError(errno.ENOSPC, "No space left on device")


def interrupted(path: Path, data: bytes) -> None:
    path.touch()
    raise KeyboardInterrupt


@pytest.mark.parametrize(
    ("failure", "error", "message"),
    [
        (full, SioDataError, "no space is left for .* run the same command again"),
        (interrupted, KeyboardInterrupt, None),
    ],
)
def test_a_failure_while_writing_leaves_the_old_state_and_nothing_else(
    failure: Callable[..., None],
    error: type[BaseException],
    message: str | None,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    write_state(tmp_path / STATE, POSITION, TENSORS)
    before = snapshot(tmp_path)
    monkeypatch.setattr(Path, "write_bytes", failure)
    with pytest.raises(error, match=message):
        write_state(tmp_path / STATE, Position(), TENSORS)
    assert snapshot(tmp_path) == before


@pytest.mark.parametrize(
    "metadata",
    [None, {}, {"sio-data/training": "{"}, {"sio-data/training": "[1]"}, {"sio-data/training": '{"epochs": 1}'}],
)
def test_a_file_that_is_no_state_is_refused(metadata: dict[str, str] | None, tmp_path: Path) -> None:
    save_file({"weight": torch.zeros(2)}, tmp_path / STATE, metadata=metadata)
    with pytest.raises(InputError, match="no sound state of a training"):
        read_state(tmp_path / STATE)


def saver(folder: Path | None, seconds: float, request: StopRequest | None = None) -> Saver:
    return Saver(folder, seconds, Ranks(), request or StopRequest())


def give_state() -> tuple[Position, dict[str, torch.Tensor]]:
    return POSITION, TENSORS


def test_it_is_saved_when_it_is_time_and_restored(tmp_path: Path) -> None:
    assert saver(tmp_path, 0).restore(CPU) == (Position(), {})
    saver(tmp_path, 3600).look(give_state, CPU)
    assert not list(tmp_path.iterdir())
    saver(tmp_path, 0).look(give_state, CPU)
    assert [path.name for path in tmp_path.iterdir()] == [STATE]
    position, tensors = saver(tmp_path, 0).restore(CPU)
    assert position == POSITION
    assert torch.equal(tensors["weight"], TENSORS["weight"])


@pytest.mark.parametrize(("number", "error"), [(15, IncompleteError), (2, KeyboardInterrupt)])
def test_it_is_saved_before_a_signal_ends_the_training(number: int, error: type[BaseException], tmp_path: Path) -> None:
    with pytest.raises(error):
        saver(tmp_path, 3600, StopRequest(number)).look(give_state, CPU)
    assert (tmp_path / STATE).is_file()


def test_without_a_folder_nothing_is_saved() -> None:
    nowhere = saver(None, 0, StopRequest(15))
    nowhere.look(give_state, CPU)
    assert nowhere.restore(CPU) == (Position(), {})
