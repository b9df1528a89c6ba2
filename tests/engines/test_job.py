import errno
import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Event

import pytest
import torch

from sio_data import files, generate, verify
from sio_data.engines.claims import claim
from sio_data.engines.drawing import Drawer
from sio_data.errors import SettingsMismatchError, SioDataError
from tests.conftest import BACKEND, snapshot
from tests.test_generation import ARGUMENTS


def test_a_claim_is_had_once_until_it_is_released(tmp_path: Path) -> None:
    first = claim(tmp_path / "lock", wait=False)
    assert first is not None
    assert claim(tmp_path / "lock", wait=False) is None
    first.release()
    second = claim(tmp_path / "lock", wait=True)
    assert second is not None
    second.release()


def test_where_a_set_was_completed_and_tidied_up_there_is_nothing_to_claim(tmp_path: Path) -> None:
    assert claim(tmp_path / ".records/lock", wait=False) is None


def test_without_locks_everybody_may_make_a_shard(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(descriptor: int, operation: int) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr("fcntl.flock", refuse)
    assert claim(tmp_path / "lock", wait=False) is not None


def test_two_runs_on_one_folder_share_the_work(
    tiny_generator: Path, tiny_set: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    drawn: list[int] = []
    sample = Drawer.sample

    def count(self: Drawer, own_labels: object, seeds: object) -> torch.Tensor:
        drawn.extend(seeds.tolist())
        return sample(self, own_labels, seeds)

    monkeypatch.setattr(Drawer, "sample", count)
    with ThreadPoolExecutor(2) as runs:
        begun = [runs.submit(generate, BACKEND, str(tiny_generator), tmp_path / "set", **ARGUMENTS) for _ in range(2)]
        assert all(run.result().complete for run in begun)
    assert len(drawn) == len({*drawn}) == 30
    assert snapshot(tmp_path / "set") == snapshot(tiny_set)


def test_two_runs_without_locks_do_the_work_twice_and_nothing_worse(
    tiny_generator: Path, tiny_set: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(descriptor: int, operation: int) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr("fcntl.flock", refuse)
    with ThreadPoolExecutor(2) as runs:
        begun = [runs.submit(generate, BACKEND, str(tiny_generator), tmp_path / "set", **ARGUMENTS) for _ in range(2)]
        assert all(run.result().complete for run in begun)
    assert snapshot(tmp_path / "set") == snapshot(tiny_set)


def test_a_run_with_another_recipe_does_not_take_over_a_folder_at_work(
    tiny_generator: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sample = Drawer.sample
    refused: list[str] = []

    def try_another(self: Drawer, own_labels: object, seeds: object) -> torch.Tensor:
        if not refused:
            refused.append("")
            with pytest.raises(SettingsMismatchError, match="seed: 0 there, 1 asked") as caught:
                generate(BACKEND, str(tiny_generator), tmp_path / "set", seed=1, **ARGUMENTS)
            refused[0] = str(caught.value)
        return sample(self, own_labels, seeds)

    monkeypatch.setattr(Drawer, "sample", try_another)
    assert generate(BACKEND, str(tiny_generator), tmp_path / "set", **ARGUMENTS).complete
    assert refused[0]
    assert not verify(tmp_path / "set").faults


def test_shards_that_wait_to_be_written_are_few(
    tiny_generator: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With a shard a batch, and a writer that stands still, no more than a few batches are drawn."""
    drawn: list[int] = []
    blocked = Event()
    flush, sample = files._flush_to_disk, Drawer.sample

    def hold(path: Path) -> None:
        if "train-" in path.name and not blocked.is_set():
            blocked.wait(2)
            drawn.append(-1)
            blocked.set()
        flush(path)

    def count(self: Drawer, own_labels: object, seeds: object) -> torch.Tensor:
        drawn.append(len(seeds))
        return sample(self, own_labels, seeds)

    monkeypatch.setattr(files, "_flush_to_disk", hold)
    monkeypatch.setattr(Drawer, "sample", count)
    arguments = {**ARGUMENTS, "shard_size": 2, "batch_size": 2}
    assert generate(BACKEND, str(tiny_generator), tmp_path / "set", **arguments).complete
    assert drawn.index(-1) <= 4


def test_a_full_disk_is_a_clear_error_and_with_space_it_goes_on(
    tiny_generator: Path, tiny_set: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    flush = files._flush_to_disk

    def full(path: Path) -> None:
        if "train-000002.tar" in path.name:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))
        flush(path)

    monkeypatch.setattr(files, "_flush_to_disk", full)
    with pytest.raises(SioDataError, match=r"no space is left for .*make space and run the same command again"):
        generate(BACKEND, str(tiny_generator), tmp_path / "set", **ARGUMENTS)
    monkeypatch.undo()
    shards = {path.name for path in (tmp_path / "set/data").iterdir()}
    assert {"train-000000.tar", "train-000001.tar"} <= shards <= {f"train-00000{i}.tar" for i in (0, 1, 3)}
    generate(BACKEND, str(tiny_generator), tmp_path / "set", **ARGUMENTS)
    assert snapshot(tmp_path / "set") == snapshot(tiny_set)


def test_the_next_shard_is_drawn_while_one_is_written(
    tiny_generator: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first shard's flush waits for the second shard's first batch: without overlap, for ever."""
    second_began = Event()
    flush, sample = files._flush_to_disk, Drawer.sample

    def wait(path: Path) -> None:
        if "train-000000.tar" in path.name:
            assert second_began.wait(60)
        flush(path)

    def note(self: Drawer, own_labels: object, seeds: object) -> torch.Tensor:
        if int(seeds[0]) == int(self._plan[1].seeds[0]):
            second_began.set()
        return sample(self, own_labels, seeds)

    monkeypatch.setattr(files, "_flush_to_disk", wait)
    monkeypatch.setattr(Drawer, "sample", note)
    assert generate(BACKEND, str(tiny_generator), tmp_path / "set", **ARGUMENTS).complete
