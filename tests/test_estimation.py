import time
from pathlib import Path

import pytest
import torch

from sio_data.cli import main
from sio_data.errors import InputError
from sio_data.estimation import _as_time, _with_unit, estimate
from sio_data.request import Request
from tests.conftest import BACKEND, snapshot


@pytest.fixture
def request_(tiny_generator: Path) -> Request:
    return Request(BACKEND, str(tiny_generator), 5, sampling={"steps": "1"}, shard_size=8, batch_size=4)


@pytest.fixture
def two_seconds(monkeypatch: pytest.MonkeyPatch) -> None:
    """A clock by which the timed batch takes two seconds."""
    ticks = iter((10.0, 12.0))
    monkeypatch.setattr(time, "perf_counter", lambda: next(ticks))


@pytest.mark.usefixtures("two_seconds")
@pytest.mark.parametrize("workers", [1, 3])
def test_time_and_cost_are_those_of_the_batch_times_the_batches(request_: Request, workers: int) -> None:
    found = estimate(request_, device="cpu", workers=workers, price_per_hour=360)
    assert found.seconds == 2 * 30 / 4 / workers
    assert found.cost == pytest.approx(2 * 30 / 4 / 3600 * 360)
    assert found.workers == workers
    assert found.measured == "4 images in 2.00 s on cpu, after a first batch"


def test_the_size_is_about_that_of_the_set(request_: Request, tiny_set: Path) -> None:
    real = sum(path.stat().st_size for path in tiny_set.glob("data/*.tar"))
    assert estimate(request_).bytes == pytest.approx(real, rel=0.2)


def test_it_says_what_would_be_made_and_writes_nothing(
    request_: Request, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    before = snapshot(Path(request_.weights))
    words = ["generate", "--generator", BACKEND, "--weights", request_.weights, "--per-class", "5", "--class", "zero"]
    words += ["--class", "five", "--shard-size", "8", "--batch-size", "4", "--sampling", "steps=1", "--dry-run"]
    assert main(words) == 0
    shown = {line.partition("  ")[0]: line.partition("  ")[2].strip() for line in capsys.readouterr().out.splitlines()}
    assert shown["classes"] == "2 (zero, five)"
    assert shown["images"] == "10 of 8x8 pixels"
    assert shown["shards"] == "2 of up to 8 images"
    assert shown["size"].endswith("kB")
    assert "on 1 worker" in shown["time"]
    assert "Nothing was written." in shown
    assert "cost" not in shown
    assert main([*words, "--price-per-hour", "3600000", "--out", "set", "--workers", "2"]) == 0
    again = capsys.readouterr().out
    assert "\ncost  " in again
    assert "on 2 workers" in again
    assert not list(tmp_path.iterdir())
    assert snapshot(Path(request_.weights)) == before


def test_threads_are_shared_between_workers_and_given_back(request_: Request, monkeypatch: pytest.MonkeyPatch) -> None:
    from sio_data.engines.drawing import Drawer

    seen = []
    sample = Drawer.sample
    monkeypatch.setattr(
        Drawer, "sample", lambda self, *rest: seen.append(torch.get_num_threads()) or sample(self, *rest)
    )
    try:
        torch.set_num_threads(4)
        estimate(request_, device="cpu", workers=2)
        assert seen == [2, 2]
        assert torch.get_num_threads() == 4
    finally:
        torch.set_num_threads(1)


@pytest.mark.parametrize("price", [-1.0, float("nan"), float("inf")])
def test_an_impossible_price_is_refused(request_: Request, price: float) -> None:
    with pytest.raises(InputError, match="price_per_hour must be a number from 0 on"):
        estimate(request_, price_per_hour=price)
    assert estimate(request_, price_per_hour=0).cost == 0


def test_units() -> None:
    sizes = {0: "0 bytes", 999: "999 bytes", 1000: "1 kB", 999_999: "1,000 kB", 12_345_678: "12.3 MB"}
    sizes |= {5 * 10**12: "5.0 TB", 5 * 10**15: "5,000.0 TB"}
    assert {size: _with_unit(size) for size in sizes} == sizes
    times = {0.01: "1 s", 119.4: "119 s", 120: "2 min", 7199: "120 min", 7200: "2.0 h", 10**6: "277.8 h"}
    assert {seconds: _as_time(seconds) for seconds in times} == times
