"""The code of docs/detection.md runs."""

import re
import shutil
from pathlib import Path

import pytest
import yaml

from sio_data import calibrate
from sio_data.detection import DETECTORS
from sio_data.detection.benchmarks import BENCHMARKS, load_benchmark

PAGE = Path(__file__).parents[2] / "docs" / "detection.md"


def test_every_block_of_python_runs(
    tiny_runs: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    blocks = re.findall(r"```python\n(.*?)```", PAGE.read_text(), re.DOTALL)
    assert len(blocks) == 3
    shutil.copytree(tiny_runs[1], tmp_path / "demo" / "sio")
    monkeypatch.chdir(tmp_path)
    calibrate("demo/sio/seed-0", id="digits")
    names: dict[str, object] = {}
    try:
        for block in blocks:
            exec(block, names)
        assert len(names["scores"]) == 50
        assert len(names["scored"].scores) == 433
        own = DETECTORS["cosine"]().fit(train=names["train"])
        assert own.score(names["test"]).shape == (50,)
    finally:
        DETECTORS.pop("cosine", None)


def test_the_benchmark_file_on_the_page_is_one(tmp_path: Path) -> None:
    (block,) = re.findall(r"```yaml\n(.*?)```", PAGE.read_text(), re.DOTALL)
    assert {"id", "near", "far", "ood_val"} == {*yaml.safe_load(block)}
    (tmp_path / "mine.yaml").write_text(block)
    assert [one.name for one in load_benchmark(str(tmp_path / "mine.yaml")).ood] == ["unknown-digits", "textures"]


def test_the_page_names_every_benchmark() -> None:
    text = PAGE.read_text()
    assert all(f"`{name}`" in text for name in BENCHMARKS)
