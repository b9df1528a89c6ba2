"""Kill `generate`, or `repair` of a damaged set, at every moment, run it again, and say what was there in between.

Run by tests in a process of its own: it forks a child for each attempt, which wants no other threads.
A moment is the time just before a flush to disk, a rename or a batch of samples.
"""

import json
import os
import shutil
import signal
import sys
from collections.abc import Callable
from pathlib import Path

import torch

from sio_data import files, generate, repair
from sio_data.fitting.pipeline import ClassConditionalPipeline

torch.set_num_threads(1)
os.fsync = lambda descriptor: None  # whoever is killed loses nothing that was written; only a power cut would


def count_moments(reached: Callable[[], None]) -> None:
    """Call `reached` before every step that leaves a trace."""

    def before(function: Callable[..., object]) -> Callable[..., object]:
        def wrapped(*arguments: object, **options: object) -> object:
            reached()
            return function(*arguments, **options)

        return wrapped

    files._flush_to_disk = before(files._flush_to_disk)
    Path.replace = before(Path.replace)
    Path.mkdir = before(Path.mkdir)
    ClassConditionalPipeline.denoise = before(ClassConditionalPipeline.denoise)


def in_child(work: Callable[[], None]) -> int:
    """Run in a forked child; give the signal that ended it, or 0."""
    child = os.fork()
    if child == 0:
        work()
        os._exit(0)
    status = os.waitpid(child, 0)[1]
    return os.WTERMSIG(status) if os.WIFSIGNALED(status) else os.WEXITSTATUS(status)


def main() -> None:
    weights, work, *damaged = sys.argv[1], Path(sys.argv[2]), *map(Path, sys.argv[3:])

    def make(folder: Path) -> None:
        if damaged:
            repair(folder, weights=weights)
            return
        generate("diffusers", weights, folder, per_class=5, shard_size=8, batch_size=4, sampling={"steps": "1"})

    def state(folder: Path) -> str:
        manifest = folder / "sio.json"
        if not manifest.is_file():
            return "absent"
        return "complete" if json.loads(manifest.read_text())["complete"] else "incomplete"

    moments = []
    while True:
        folder = work / f"killed-{len(moments)}"
        if damaged:
            shutil.copytree(damaged[0], folder)
        left = [len(moments)]

        def reached(left: list[int] = left) -> None:
            if left[0] == 0:
                os.kill(os.getpid(), signal.SIGKILL)
            left[0] -= 1

        def killed(folder: Path = folder, reached: Callable[[], None] = reached) -> None:
            count_moments(reached)
            make(folder)

        ended_by = in_child(killed)
        if ended_by == 0:
            break
        found, card = state(folder), (folder / "README.md").is_file() and (folder / "README.md").read_text()
        in_child(lambda folder=folder: make(folder))
        moments.append({"killed": ended_by == signal.SIGKILL, "state": found, "card": card, "folder": str(folder)})
    sys.stdout.write(json.dumps(moments))


main()
