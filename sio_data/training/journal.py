"""What a training tells while it runs: `log.csv`, one row an epoch, and TensorBoard's event files."""

import csv
import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from sio_data.errors import InputError
from sio_data.files import write_text
from sio_data.runs import LOG

EVENTS = "tensorboard"
_COLUMNS = ("epoch", "loss", "val_accuracy", "learning_rate", "images_per_second")


class Journal:
    """The log of one training.

    Args:
        folder: Where to write; None writes nothing.
        done: How many epochs an earlier run of this training did: later rows of the log are dropped.
        tensorboard: Whether to write events for TensorBoard, too.

    Raises:
        InputError: TensorBoard is asked for and not installed.
    """

    def __init__(self, folder: Path | None, done: int, tensorboard: bool) -> None:
        self._folder = folder
        self._rows = _read_rows(folder / LOG)[:done] if folder else []
        self._writer = _open_writer(folder / EVENTS, done) if folder and tensorboard else None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._writer:
            self._writer.close()

    def enter(self, row: Mapping[str, float]) -> None:
        """Enter an epoch: the columns of `log.csv`."""
        if self._folder is None:
            return
        self._rows.append({name: str(row[name]) for name in _COLUMNS})
        write_text(self._folder / LOG, _as_csv(self._rows))
        if self._writer:
            for name in _COLUMNS[1:]:
                self._writer.add_scalar(name, row[name], int(row["epoch"]))
            self._writer.flush()


def check_tensorboard() -> None:
    """Refuse to write events where TensorBoard is not installed.

    Raises:
        InputError: It is not.
    """
    try:
        import tensorboard  # noqa: F401
    except ImportError as error:
        raise InputError("TensorBoard is not installed: pip install 'sio-data[tracking]'.") from error


def _open_writer(folder: Path, done: int) -> Any:
    check_tensorboard()
    from torch.utils.tensorboard import SummaryWriter

    return SummaryWriter(str(folder), purge_step=done + 1)


def _read_rows(path: Path) -> list[dict[str, str]]:
    try:
        rows = list(csv.DictReader(io.StringIO(path.read_text(encoding="utf-8"))))
    except (OSError, ValueError):
        return []
    return rows if all(set(row) == set(_COLUMNS) for row in rows) else []


def _as_csv(rows: Sequence[Mapping[str, str]]) -> str:
    text = io.StringIO()
    writer = csv.DictWriter(text, _COLUMNS, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()
