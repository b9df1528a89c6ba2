import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from sio_data import generate
from sio_data.engines import local
from sio_data.engines.order import WorkOrder
from sio_data.errors import InputError, SettingsMismatchError, SioDataError
from sio_data.request import Request
from tests.conftest import BACKEND, snapshot
from tests.test_generation import ARGUMENTS


@pytest.fixture
def order(tiny_generator: Path, tmp_path: Path) -> WorkOrder:
    request = Request(BACKEND, str(tiny_generator), **ARGUMENTS)
    _, recipe = request.open("cpu")
    return WorkOrder.of(tmp_path / "set", request, recipe)


def test_two_workers_make_the_same_bytes(tiny_generator: Path, tiny_set: Path, tmp_path: Path) -> None:
    done = generate(BACKEND, str(tiny_generator), tmp_path / "set", workers=2, **ARGUMENTS)
    assert done.made == 30
    assert snapshot(tmp_path / "set") == snapshot(tiny_set)


def test_interrupted_with_two_workers_none_outlives_it_and_nothing_is_half_made(
    tiny_generator: Path, tiny_set: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    started: list[subprocess.Popen[bytes]] = []

    def interrupt(workers: list[subprocess.Popen[bytes]], reports: object, advance: object) -> None:
        started.extend(workers)
        reports.get()
        raise KeyboardInterrupt

    monkeypatch.setattr(local, "_follow", interrupt)
    with pytest.raises(KeyboardInterrupt):
        generate(BACKEND, str(tiny_generator), tmp_path / "set", workers=2, **ARGUMENTS)
    monkeypatch.undo()
    assert len(started) == 2
    assert all(worker.returncode is not None for worker in started)
    assert not list((tmp_path / "set").rglob("*.sio-data-tmp"))
    generate(BACKEND, str(tiny_generator), tmp_path / "set", **ARGUMENTS)
    assert snapshot(tmp_path / "set") == snapshot(tiny_set)


def test_what_a_worker_cannot_do_is_said_as_if_it_were_this_process(order: WorkOrder) -> None:
    with pytest.raises(InputError, match="device 'abacus' cannot be used here"):
        local.make_shards(order, [0], ["abacus"], lambda made, note: None)


def test_a_killed_worker_is_named_and_the_others_are_ended(order: WorkOrder, monkeypatch: pytest.MonkeyPatch) -> None:
    programs = iter(["import os, signal; os.kill(os.getpid(), signal.SIGKILL)", "import sys; sys.stdin.read()"])
    started = []

    def start(message: object, count: int) -> subprocess.Popen[bytes]:
        words = [sys.executable, "-c", next(programs)]
        started.append(subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE))
        return started[-1]

    monkeypatch.setattr(local, "_start", start)
    with pytest.raises(SioDataError, match="a worker was killed by SIGKILL, perhaps for want of memory"):
        local.make_shards(order, [0, 1], ["cpu", "cpu"], lambda made, note: None)
    assert [worker.returncode for worker in started] == [-signal.SIGKILL, -signal.SIGTERM]


def test_a_worker_ends_when_its_parent_does(order: WorkOrder) -> None:
    worker = local._start({**order.to_json(), "device": "cpu", "indices": []}, 1)
    worker.stdin.close()
    assert worker.wait(60) is not None
    worker.stdout.close()


def test_an_order_survives_json_and_refuses_other_weights(order: WorkOrder, tiny_generator: Path) -> None:
    copy = WorkOrder.from_json(order.to_json())
    assert copy == order
    assert os.path.isabs(copy.folder)  # noqa: PTH117
    other = Request(BACKEND, str(tiny_generator), **{**ARGUMENTS, "sampling": {"steps": "2"}})
    with pytest.raises(SettingsMismatchError, match="the set was begun with another sampling"):
        other.open_same(order.recipe)


def test_one_worker_for_each_device(monkeypatch: pytest.MonkeyPatch) -> None:
    assert local.list_devices(None, None) == [None]
    assert local.list_devices(None, 3) == [None] * 3
    assert local.list_devices("cpu", 2) == ["cpu", "cpu"]
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    assert local.list_devices(None, None) == ["cuda:0", "cuda:1"]
    assert local.list_devices(None, 3) == ["cuda:0", "cuda:1", "cuda:0"]
    assert local.list_devices("cuda:1", None) == ["cuda:1"]
    with pytest.raises(InputError, match="workers must be at least 1, not 0"):
        local.list_devices(None, 0)
