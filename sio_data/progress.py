"""Progress on standard error: a bar with the time left on a terminal, a plain line now and then elsewhere."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

_SECONDS_BETWEEN_LINES = 10.0

Advance = Callable[[int, str], None]


@contextmanager
def progress(title: str, total: int, done: int = 0) -> Iterator[Advance]:
    """Show how far a piece of work is.

    Args:
        title: What is being done.
        total: How many units there are.
        done: How many of them an earlier run did.

    Yields:
        `advance(units, note)`: call it after each piece; the note (a loss, say) stands beside the bar.
    """
    console = Console(stderr=True)
    if console.is_terminal:
        with _bar(console) as bar:
            task = bar.add_task(escape(title), total=total, completed=done, note="")
            yield lambda units, note: bar.update(task, advance=units, note=note)
    else:
        yield _line_printer(console, title, total, done)


def _bar(console: Console) -> Progress:
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[note]}"),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
        console=console,
    )


def _line_printer(console: Console, title: str, total: int, done: int) -> Advance:
    count, started, printed = done, time.monotonic(), time.monotonic()

    def advance(units: int, note: str) -> None:
        nonlocal count, printed
        count += units
        now = time.monotonic()
        if now - printed >= _SECONDS_BETWEEN_LINES and count > done:
            left = (now - started) / (count - done) * (total - count)
            line = f"{title}: {count}/{total} {note} ({left:.0f} s left)"
            console.print(line, highlight=False, soft_wrap=True, markup=False)
            printed = now

    return advance
