import json
import os
import pty
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from sio_data import describe, open_set, train
from sio_data.cli import main
from sio_data.description import (
    BundleDescription,
    CheckpointDescription,
    RunsDescription,
    SetDescription,
    UnfinishedDescription,
)
from sio_data.errors import IncompleteError, InputError
from sio_data.manifest import Manifest, Origin
from sio_data.records import RECORDS
from sio_data.training.learner import Learner
from tests.small_sets import write_imported_set, write_set

HOSTILE = "\x1b[2J\x1b]0;owned\x07 \u202egnp.exe [bold red]cat[/] \u2028 \x7f"


def test_a_set_is_told_from_its_manifest_alone(tiny_set: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(tiny_set, tmp_path / "set"))
    manifest = open_set(folder).manifest
    for shard in (folder / "data").iterdir():
        shard.write_bytes(b"")  # never read
    found = describe(folder)
    assert isinstance(found, SetDescription)
    value = found.to_json()
    assert value["samples"] == 30
    assert value["classes"] == dict.fromkeys(("zero", "one", "two", "three", "four", "five"), 5)
    assert (value["image_size"], value["image_format"]) == (8, "png")
    assert (value["shards_there"], value["shards"], value["complete"]) == (4, 4, True)
    assert value["bytes"] == sum(shard.bytes for shard in manifest.shards)
    assert value["recipe"] == manifest.recipe.to_json()
    assert (value["recipe_hash"], value["digest"]) == (manifest.recipe.hash, manifest.digest)
    assert (value["licence"], value["weights"]) == ("cc-by-4.0", "…/unet")
    assert value["versions"] == manifest.versions
    assert value["command"] == f"{manifest.origin.command} --out {folder}"


def test_a_missing_shard_is_counted_as_missing(damaged: Path) -> None:
    (damaged / "data/train-000002.tar").unlink()
    found = describe(damaged)
    assert isinstance(found, SetDescription)
    assert found.shards_there == 3


def test_of_an_incomplete_set_only_finished_shards_count(damaged: Path, capsys: pytest.CaptureFixture[str]) -> None:
    manifest = open_set(damaged).manifest
    replace(manifest, complete=False, shards=()).write(damaged)
    (damaged / RECORDS).mkdir()
    (damaged / RECORDS / "train-000001.json").write_text("{}")
    found = describe(damaged)
    assert isinstance(found, SetDescription)
    assert (found.shards_there, found.bytes, found.to_json()["digest"]) == (1, None, None)
    assert main(["info", str(damaged)]) == 0
    shown = capsys.readouterr().out
    assert "complete: no; go on with the command below" in shown
    assert "shards: 1 of 4 there" in shown


def test_a_compiled_set(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    found = describe(write_imported_set(tmp_path / "set"))
    assert found.to_json()["classes"] == {"cat": 5, "dog": 0, "owl": 2}
    assert main(["info", str(tmp_path / "set")]) == 0
    shown = capsys.readouterr().out
    assert "  kind: import" in shown
    assert "old.npz" in shown


def test_a_checkpoint_and_its_runs(tiny_runs: tuple[Path, Path], capsys: pytest.CaptureFixture[str]) -> None:
    found = describe(tiny_runs[1] / "seed-1")
    assert isinstance(found, CheckpointDescription)
    assert (found.network, len(found.class_names), found.image_size) == ("convnet", 6, 8)
    assert found.bytes == (tiny_runs[1] / "seed-1/model.safetensors").stat().st_size
    assert (found.training["real"], found.training["seed"]) == ("digits", 1)
    runs = describe(tiny_runs[1])
    assert isinstance(runs, RunsDescription)
    assert [run.folder.name for run in runs.runs] == ["seed-0", "seed-1"]
    assert runs.runs[1] == found
    for folder in (tiny_runs[1], tiny_runs[1] / "seed-1"):
        assert main(["info", str(folder)]) == 0
        assert f"val accuracy {found.training['val_accuracy']:.2%}" in capsys.readouterr().out


def test_a_bundle_and_its_parts(damaged: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = damaged.parent
    damaged.rename(folder / "digits")
    write_imported_set(folder / "animals/test")
    manifest = Manifest.read(folder / "animals/test")
    replace(manifest, complete=False, shards=()).write(folder / "animals/test")
    found = describe(folder)
    assert isinstance(found, BundleDescription)
    assert found.parts == (describe(folder / "animals/test"), describe(folder / "digits"))
    assert main(["info", str(folder)]) == 0
    assert capsys.readouterr().out.splitlines() == [
        f"bundle: {folder}",
        "samples: 37 in 2 sets",
        "animals/test: 7 samples of 3 classes, 4x4 pixels, mit, incomplete",
        "digits: 30 samples of 6 classes, 8x8 pixels, cc-by-4.0",
    ]
    assert main(["info", str(folder), "--json"]) == 0
    value = json.loads(capsys.readouterr().out)
    assert (value["kind"], value["complete"], value["samples"]) == ("bundle", False, 37)
    assert [part["path"] for part in value["parts"]] == ["animals/test", "digits"]
    assert value["parts"][1]["classes"] == dict.fromkeys(("zero", "one", "two", "three", "four", "five"), 5)
    assert value["parts"][1]["licence"] == "cc-by-4.0"


def test_nothing_is_told_by_way_of_torch(tiny_set: Path, tiny_runs: tuple[Path, Path]) -> None:
    look = (
        "import sys, sio_data\nfor place in sys.argv[1:]: sio_data.describe(place)\nassert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", look, tiny_set, tiny_set.parent, *tiny_runs], check=True)


@pytest.mark.parametrize("text", ["{}", "[]", "x", '{"network": "convnet", "class_names": [1], "image_size": 8}'])
def test_a_checkpoint_that_is_none_is_refused(tiny_runs: tuple[Path, Path], tmp_path: Path, text: str) -> None:
    folder = Path(shutil.copytree(tiny_runs[0] / "seed-0", tmp_path / "run"))
    (folder / "config.json").write_text(text)
    with pytest.raises(InputError, match=r"config\.json"):
        describe(folder)


def test_json_is_the_description(tiny_set: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["info", str(tiny_set), "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == describe(tiny_set).to_json()


def test_hostile_texts_do_not_reach_a_terminal(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    origin = Origin(HOSTILE, HOSTILE, HOSTILE, f"sio-data {HOSTILE}")
    folder = write_set(tmp_path / "set", (HOSTILE, "x" * 5000), 1, origin=origin)
    manifest = Manifest.read(folder)
    replace(manifest, versions={HOSTILE: HOSTILE}).write(folder)
    shown = [in_terminal("info", folder)]
    for options in ([], ["--json"]):
        assert main(["info", str(folder), *options]) == 0
        shown.append(capsys.readouterr().out)
    assert main(["preview", str(folder), "--class", "nothing", "--out", str(tmp_path / "x.png")]) == 2
    shown.append(capsys.readouterr().err)
    for text in shown:
        assert "[bold red]cat[/]" in text
        assert not {"\x07", "\x7f", "\u202e", "\u2028"} & {*text}
        assert "\x1b[2J" not in text
        assert "\x1b]" not in text


def in_terminal(*words: object) -> str:
    """Run a command in a terminal, and give what it wrote there."""
    ours, theirs = pty.openpty()
    command = [sys.executable, "-m", "sio_data", *map(str, words)]
    environment = {**os.environ, "TERM": "xterm-256color", "COLUMNS": "400"}
    with subprocess.Popen(command, stdin=theirs, stdout=theirs, stderr=theirs, env=environment):
        os.close(theirs)
        written = bytearray()
        try:
            while data := os.read(ours, 65536):
                written += data
        except OSError:  # Linux: the other end was closed
            pass
        os.close(ours)
    return written.decode()


@pytest.fixture(scope="module")
def begun(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a finished run and one that was stopped in its second epoch of three."""
    folder = tmp_path_factory.mktemp("begun") / "runs"
    options = {"epochs": 3, "batch_size": 250, "method": "logitnorm:temperature=0.5"}
    train("digits", folder, seeds=[0], **options)
    updates, update = iter(range(100)), Learner.update

    def stop(*arguments: object) -> object:
        if next(updates) == 4:
            raise IncompleteError("stopped")
        return update(*arguments)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Learner, "update", stop)
        with pytest.raises(IncompleteError):
            train("digits", folder, seeds=[1], save_seconds=0, **options)
    return folder


def test_an_unfinished_run_is_told_with_its_command(begun: Path, capsys: pytest.CaptureFixture[str]) -> None:
    found = describe(begun / ".seed-1.unfinished")
    assert isinstance(found, UnfinishedDescription)
    assert found.epochs_done == 1
    assert main(["info", str(found.folder)]) == 0
    shown = capsys.readouterr().out
    assert f"unfinished: {found.folder}; go on with the command below" in shown
    assert "reached: 1 of 3 epochs done" in shown
    assert "  method: logitnorm:temperature=0.5" in shown
    assert "command: sio-data train --real digits" in shown
    assert main(["info", "--json", str(found.folder)]) == 0
    assert json.loads(capsys.readouterr().out)["kind"] == "unfinished"


def test_the_runs_of_a_method_and_those_that_are_unfinished(
    begun: Path, tiny_runs: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["info", str(begun)]) == 0
    shown = capsys.readouterr().out
    assert "seed-0: convnet, logitnorm:temperature=0.5, 6 classes, val accuracy" in shown
    assert ".seed-1.unfinished: unfinished, 1 of 3 epochs done" in shown
    assert main(["info", "--json", str(begun)]) == 0
    value = json.loads(capsys.readouterr().out)
    assert ([len(value[name]) for name in ("runs", "unfinished")], value["kind"]) == ([1, 1], "runs")
    alone = tmp_path / "alone"
    shutil.copytree(begun / ".seed-1.unfinished", alone / ".seed-1.unfinished")
    assert main(["info", str(alone)]) == 0
    assert "runs: 0 in" in capsys.readouterr().out
    assert main(["info", str(tiny_runs[0])]) == 0
    assert "seed-0: convnet, 6 classes" in capsys.readouterr().out


def test_an_unfinished_run_without_a_record_or_with_a_broken_log_is_no_trouble(begun: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(begun / ".seed-1.unfinished", tmp_path / ".seed-1.unfinished"))
    (folder / "log.csv").write_bytes(b"\xff\xfe")
    assert describe(tmp_path).to_json()["unfinished"][0]["epochs_done"] == 0
    (folder / "training.json").unlink()
    with pytest.raises(InputError, match="holds no synthetic set, no checkpoint and no runs"):
        describe(tmp_path)
