"""Shared by all tests: offline, one thread, caches of their own, and tiny real models made once a worker."""

import os
import shutil
import sys
import tempfile
import time

os.environ["HF_HOME"] = tempfile.mkdtemp(prefix="sio-data-tests-")
os.environ["HF_HUB_OFFLINE"] = "1"

from collections.abc import Callable, Iterator
from pathlib import Path
from uuid import uuid4

import pytest
import torch

from sio_data import bundle, fit, generate, publish, train
from sio_data.cli import main
from sio_data.compilation import Compilation, SourceFile
from sio_data.recipe import Recipe
from tests.hub_server import TOKEN, Hub

BACKEND = "diffusers"
"""Name of the back end that draws with `tiny_generator`."""

torch.set_num_threads(1)  # with two, a tiny model can be a hundred times slower on a busy machine


@pytest.fixture(autouse=True)
def _own_cache_of_datasets(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """`load_dataset` knows a folder by its name and its card: it would give one test the rows of another."""
    cache = tmp_path_factory.getbasetemp() / f"datasets-{uuid4().hex}"
    monkeypatch.setenv("HF_DATASETS_CACHE", str(cache))
    if "datasets" in sys.modules:  # otherwise it reads the variable when it is imported
        monkeypatch.setattr("datasets.config.HF_DATASETS_CACHE", cache)


@pytest.fixture(scope="session")
def tiny_generator(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A real U-Net of the digits, trained for three steps."""
    folder = tmp_path_factory.mktemp("generator") / "unet"
    return fit("digits", folder, steps=3, batch_size=8, channels=[16])


@pytest.fixture(scope="session")
def tiny_set(tiny_generator: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A real set of 30 samples in four shards. Tests that change it copy it first."""
    folder = tmp_path_factory.mktemp("set") / "synthetic"
    generate(BACKEND, str(tiny_generator), folder, per_class=5, shard_size=8, batch_size=4, sampling={"steps": "1"})
    return folder


@pytest.fixture
def damaged(tiny_set: Path, tmp_path: Path) -> Path:
    """A copy of the set, for a test to damage."""
    return Path(shutil.copytree(tiny_set, tmp_path / "damaged"))


@pytest.fixture(scope="session")
def other_set(tiny_generator: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A set like `tiny_set` of another seed."""
    folder = tmp_path_factory.mktemp("other") / "synthetic"
    options = {"shard_size": 8, "batch_size": 4, "sampling": {"steps": "1"}}
    generate(BACKEND, str(tiny_generator), folder, per_class=5, seed=1, **options)
    return folder


@pytest.fixture(scope="session")
def tiny_runs(tiny_set: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A baseline and an SIO checkpoint of two seeds each, trained for two epochs."""
    folder = tmp_path_factory.mktemp("runs")
    train("digits", folder / "baseline", epochs=2, seeds=[0, 1])
    train("digits", folder / "sio", synthetic=str(tiny_set), epochs=2, seeds=[0, 1])
    return folder / "baseline", folder / "sio"


@pytest.fixture
def compilation() -> Compilation:
    """What `tests.test_compilation.compile_set` makes."""
    sources = (SourceFile("old.npz", "0" * 64),)
    return Compilation("import", sources, {"seed": 1}, "1" * 64, ("cat", "dog", "owl"), (5, 0, 2), 4, shard_size=3)


@pytest.fixture
def sets(tiny_set: Path, other_set: Path, compilation: Compilation, tmp_path: Path) -> Path:
    """Two configurations: `digits` with two splits, and `animals`, a compiled set of other classes."""
    from tests.test_compilation import compile_set

    shutil.copytree(tiny_set, tmp_path / "sets/digits/train")
    shutil.copytree(other_set, tmp_path / "sets/digits/validation")
    compile_set(tmp_path / "sets/animals", compilation)
    return tmp_path / "sets"


@pytest.fixture
def published(hub: Hub, sets: Path) -> Path:
    """A published bundle `me/sets`, and one of its sets alone as `me/set`."""
    bundle(sets, default="digits")
    publish(sets, "me/sets", tag="v1")
    publish(sets / "digits/train", "me/set", tag="v1")
    hub.requests.clear()
    return sets


@pytest.fixture
def recipe() -> Recipe:
    return Recipe("diffusers", "abc", ("cat", "dog", "owl"), per_class=5, image_size=4, shard_size=4, batch_size=3)


@pytest.fixture
def hub(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    """A Hub on this machine, and the client of this process logged in there, with an empty cache.

    Nobody sleeps before trying again: `hub.pauses` holds how many seconds each pause would have taken.
    """
    from huggingface_hub import close_session, constants

    from sio_data.hub import calls

    with Hub() as hub:
        for name, value in {
            "ENDPOINT": hub.url,
            "HUGGINGFACE_CO_URL_TEMPLATE": hub.url + "/{repo_id}/resolve/{revision}/{filename}",
            "HF_HUB_OFFLINE": False,
            "HF_HUB_DISABLE_XET": True,
            "HF_HUB_CACHE": str(tmp_path_factory.mktemp("hub-cache")),
        }.items():
            monkeypatch.setattr(constants, name, value)
        monkeypatch.setenv("HF_TOKEN", TOKEN)
        monkeypatch.setattr(time, "sleep", hub.pauses.append)
        monkeypatch.setattr(calls, "_wait", lambda seconds, stop: hub.pauses.append(seconds))
        yield hub
        close_session()


Snapshot = dict[str, bytes]


def snapshot(folder: Path) -> Snapshot:
    """The content of every file below a folder."""
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.fixture
def refuse(capsys: pytest.CaptureFixture[str]) -> Iterator[Callable[..., str]]:
    """Run a command that must end with exit code 2 (or another), one message, and no file changed."""

    def run(*words: object, unchanged: Path, code: int = 2) -> str:
        before = snapshot(unchanged)
        assert main([str(word) for word in words]) == code
        captured = capsys.readouterr()
        assert snapshot(unchanged) == before
        assert "Traceback" not in captured.err
        message = " ".join(captured.err.split())
        assert message.count("error:") == 1
        return message

    return run
