"""The state of an unfinished training on disk, from which it goes on to the same weights."""

import json
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save

from sio_data.errors import InputError, first_line
from sio_data.files import atomic_path, clear_if_full
from sio_data.training.ranks import Ranks
from sio_data.training.stopping import StopRequest

STATE = "state.safetensors"
_KEY = "sio-data/training"
_STEPS_BETWEEN_LOOKS = 10  # of several ranks: looking takes a word with all of them


@dataclass
class Position:
    """How far a training is.

    Attributes:
        epoch: The epoch it is in, from 0.
        step: The next step of that epoch, from 0.
        total: Sum of the losses of that epoch's steps.
        history: Mean loss and validation accuracy of each epoch that is done.
        scale: What the gradients of `fp16` are scaled by.
    """

    epoch: int = 0
    step: int = 0
    total: float = 0.0
    history: list[dict[str, float]] = field(default_factory=list)
    scale: dict[str, float] = field(default_factory=dict)


def write_state(path: Path, position: Position, tensors: Mapping[str, torch.Tensor]) -> None:
    """Write a state, whole or not at all.

    Raises:
        SioDataError: The disk is full.
    """
    copies = {name: tensor.detach().cpu().contiguous().clone() for name, tensor in tensors.items()}
    with clear_if_full(path, "Free some, and run the same command again."), atomic_path(path) as temporary:
        metadata = {_KEY: json.dumps(asdict(position), allow_nan=False)}
        temporary.write_bytes(save(copies, metadata))  # save_file has an error of its own for a full disk


def read_state(path: Path) -> tuple[Position, dict[str, torch.Tensor]]:
    """Read a state.

    Raises:
        InputError: It is damaged.
    """
    try:
        with safe_open(path, framework="pt") as file:
            position = Position(**json.loads(file.metadata()[_KEY]))
            return position, {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118  no mapping
    except (SafetensorError, OSError, KeyError, TypeError, ValueError) as error:
        raise _unsound(path, error) from error


def _unsound(path: Path | None, error: Exception) -> InputError:
    return InputError(f"{path} is no sound state of a training ({first_line(error)}). Delete it to begin anew.")


class Saver:
    """Saves a training every so many seconds, and when somebody asks it to stop.

    Args:
        folder: Where the state lies; None saves nothing and heeds no request.
        seconds: Time between two saves; the weights that a training ends in do not depend on it.
        ranks: The processes that train together; rank 0 reads and writes.
        request: What SIGTERM and SIGINT are noted in.
    """

    def __init__(self, folder: Path | None, seconds: float, ranks: Ranks, request: StopRequest) -> None:
        self._path = folder / STATE if folder else None
        self._seconds, self._ranks, self._request = seconds, ranks, request
        self._last, self._looks = time.monotonic(), 0

    def restore(self, device: torch.device) -> tuple[Position, dict[str, torch.Tensor]]:
        """Give the saved state to all ranks; the beginning and no tensors if there is none.

        Raises:
            InputError: It is damaged.
        """
        if self._path is None:
            return Position(), {}
        position, tensors = read_state(self._path) if self._ranks.first and self._path.is_file() else (Position(), {})
        return self._ranks.share(position), self._ranks.copy_from_first(tensors, device)

    @contextmanager
    def clear_errors(self) -> Iterator[None]:
        """Say so if what was restored does not fit the training.

        Raises:
            InputError: It does not.
        """
        try:
            yield
        except (KeyError, IndexError, RuntimeError, TypeError, ValueError) as error:
            raise _unsound(self._path, error) from error

    def look(self, state: Callable[[], tuple[Position, Mapping[str, torch.Tensor]]], device: torch.device) -> None:
        """Save if it is time or somebody asked; all ranks call it after each step.

        Args:
            state: Gives what to save.
            device: Where the ranks talk to each other.

        Raises:
            IncompleteError: SIGTERM came; the state is saved.
            KeyboardInterrupt: SIGINT came; the state is saved.
        """
        self._looks += 1
        if self._path is None or (self._ranks.world > 1 and self._looks % _STEPS_BETWEEN_LOOKS):
            return
        stop = self._ranks.any(self._request.signal != 0, device)
        if self._ranks.first and (stop or time.monotonic() - self._last >= self._seconds):
            write_state(self._path, *state())
            self._last = time.monotonic()
        if stop:
            self._ranks.wait()
            raise self._request.error()
