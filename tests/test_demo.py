"""The quickstart, its commands, and what the README says of them."""

import shlex
from pathlib import Path

import pytest

from sio_data import quickstart
from sio_data.demo import quickstart_commands
from sio_data.errors import SioDataError

ROOT = Path(__file__).parent.parent


def test_each_command_is_printed_before_it_runs(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    ran = []

    def invoke(words: list[str]) -> None:
        assert capsys.readouterr().out == f"\n$ {shlex.join(['sio-data', *words])}\n"
        ran.append(words)

    monkeypatch.setattr("sio_data.cli.invoke", invoke)
    assert quickstart("demo") == Path("demo/report/report.html")
    assert ran == quickstart_commands("demo")


def test_it_stops_at_the_first_step_that_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    ran = []

    def invoke(words: list[str]) -> None:
        ran.append(words[0])
        if words[0] == "generate":
            raise SioDataError("no")

    monkeypatch.setattr("sio_data.cli.invoke", invoke)
    with pytest.raises(SioDataError):
        quickstart("demo")
    assert ran == ["fit", "generate"]


def test_readme_shows_the_commands_that_run() -> None:
    readme = " ".join((ROOT / "README.md").read_text().replace("\\\n", " ").split())
    for words in quickstart_commands("demo"):
        assert shlex.join(["sio-data", *words]) in readme


def test_python_in_the_readme_runs(
    tiny_set: Path, tiny_runs: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Small stand-ins take the place of the demo's set and checkpoints; other tests run the five commands."""
    import torch

    monkeypatch.chdir(tmp_path)
    (tmp_path / "demo").mkdir()
    (tmp_path / "demo/synthetic").symlink_to(tiny_set)
    (tmp_path / "demo/sio").symlink_to(tiny_runs[1])
    blocks = [part.partition("```")[0] for part in (ROOT / "README.md").read_text().split("```python\n")[1:]]
    runnable = [block for block in blocks if "sio_data.fit" not in block]
    assert len(runnable) == 4
    for block in runnable:
        torch.manual_seed(0)
        exec(compile(block.replace("range(60)", "range(1)"), "README.md", "exec"), {})
