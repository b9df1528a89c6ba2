import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from sio_data import generate
from sio_data.engines.ranks import Rank, read_rank
from sio_data.errors import IncompleteError, InputError
from tests.conftest import BACKEND, snapshot
from tests.test_generation import ARGUMENTS


@pytest.mark.parametrize(
    ("environment", "rank"),
    [
        ({}, None),
        ({"RANK": "3", "WORLD_SIZE": "4", "LOCAL_RANK": "1"}, Rank(3, 4, 1)),
        ({"SLURM_ARRAY_TASK_ID": "2", "SLURM_ARRAY_TASK_COUNT": "8"}, Rank(2, 8)),
        (
            {
                "SLURM_ARRAY_TASK_ID": "7",
                "SLURM_ARRAY_TASK_MIN": "1",
                "SLURM_ARRAY_TASK_STEP": "3",
                "SLURM_ARRAY_TASK_COUNT": "4",
            },
            Rank(2, 4),
        ),
    ],
)
def test_the_rank_is_read_from_the_environment(environment: dict[str, str], rank: Rank | None) -> None:
    assert read_rank(environment) == rank


@pytest.mark.parametrize(
    "environment",
    [
        {"RANK": "4", "WORLD_SIZE": "4"},
        {"RANK": "x", "WORLD_SIZE": "4"},
        {"SLURM_ARRAY_TASK_ID": "9", "SLURM_ARRAY_TASK_MIN": "1", "SLURM_ARRAY_TASK_COUNT": "3"},
        {"SLURM_ARRAY_TASK_ID": "9", "SLURM_ARRAY_TASK_STEP": "0"},
    ],
)
def test_senseless_ranks_are_refused(environment: dict[str, str]) -> None:
    with pytest.raises(InputError, match=r"rank|launcher"):
        read_rank(environment)


def test_shares_are_disjoint_and_whole() -> None:
    shares = [Rank(index, 3).share(range(10)) for index in range(3)]
    assert sorted(index for share in shares for index in share) == list(range(10))


def test_two_ranks_of_torchrun_make_the_same_bytes(tiny_generator: Path, tiny_set: Path, tmp_path: Path) -> None:
    words = [
        sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2", "-m", "sio_data", "generate",
        "--generator", BACKEND, "--weights", tiny_generator, "--per-class", "5", "--shard-size", "8",
        "--batch-size", "4", "--sampling", "steps=1", "--out", tmp_path / "set",
    ]  # fmt: skip
    result = subprocess.run([*map(str, words)], capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    assert "the last rank completes the set" in result.stdout or result.stdout.count("made now") == 2
    assert snapshot(tmp_path / "set") == snapshot(tiny_set)


def test_slurm_array_tasks_one_after_the_other_complete_the_set(
    tiny_generator: Path, tiny_set: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SLURM_ARRAY_TASK_COUNT", "3")
    made = []
    for task in ("2", "0", "1"):
        monkeypatch.setenv("SLURM_ARRAY_TASK_ID", task)
        done = generate(BACKEND, str(tiny_generator), tmp_path / "set", engine="ranks", **ARGUMENTS)
        made.append((done.made, done.complete))
        if not done.complete:
            with pytest.raises(IncompleteError):
                _ = done.set
    assert made == [(8, False), (14, False), (8, True)]
    assert snapshot(tmp_path / "set") == snapshot(tiny_set)
    again = generate(BACKEND, str(tiny_generator), tmp_path / "set", engine="ranks", **ARGUMENTS)
    assert (again.made, again.complete) == (0, True)


@pytest.mark.parametrize("order", [(0, 1), (1, 0)])
def test_ranks_mend_a_complete_set_that_lacks_a_shard(
    tiny_generator: Path, tiny_set: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, order: tuple[int, int]
) -> None:
    copy = Path(shutil.copytree(tiny_set, tmp_path / "set"))
    (copy / "data/train-000002.tar").unlink()
    monkeypatch.setenv("WORLD_SIZE", "2")
    made = {}
    for rank in order:
        monkeypatch.setenv("RANK", str(rank))
        done = generate(BACKEND, str(tiny_generator), copy, engine="ranks", **ARGUMENTS)
        made[rank] = (done.made, done.complete)
    assert made == {0: (8, True), 1: (0, order == (0, 1))}
    assert snapshot(copy) == snapshot(tiny_set)


def test_options_that_ranks_have_no_use_for_are_refused(tiny_generator: Path, tmp_path: Path) -> None:
    for engine, options, message in (
        ("ranks", {"workers": 2}, "each rank is one process"),
        ("local", {"ray_address": "auto"}, "a Ray address goes with the ray engine"),
    ):
        with pytest.raises(InputError, match=message):
            generate(BACKEND, str(tiny_generator), tmp_path / "set", engine=engine, **options, **ARGUMENTS)
    assert not (tmp_path / "set").exists()


def test_a_slurm_array_alone_does_not_make_ranks(
    tiny_generator: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An array may as well make one set a task."""
    monkeypatch.setenv("SLURM_ARRAY_TASK_ID", "1")
    monkeypatch.setenv("SLURM_ARRAY_TASK_COUNT", "2")
    assert generate(BACKEND, str(tiny_generator), tmp_path / "set", **ARGUMENTS).complete


def test_without_a_launcher_the_ranks_engine_says_what_it_needs(tiny_generator: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="torchrun or a Slurm job array"):
        generate(BACKEND, str(tiny_generator), tmp_path / "set", engine="ranks", **ARGUMENTS)
    with pytest.raises(InputError, match="engine must be one of auto, local, ranks, ray, not 'rays'"):
        generate(BACKEND, str(tiny_generator), tmp_path / "set", engine="rays", **ARGUMENTS)
    assert not (tmp_path / "set").exists()
