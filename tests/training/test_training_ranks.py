"""Two processes under torchrun train like one."""

import json
import os
import subprocess
import sys
from collections import Counter
from contextlib import nullcontext
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch import nn

from sio_data import train
from sio_data.embedded import load_embedded
from sio_data.errors import InputError
from sio_data.files import read_json
from sio_data.training import series
from sio_data.training.beginning import TrainingData, begin
from sio_data.training.learner import Learner
from sio_data.training.methods.base import TrainingBatch
from sio_data.training.ranks import Ranks, join_ranks
from sio_data.training.settings import TrainingSettings

MIXES = ("batch", "loss")
HERE = Path(__file__).parent


def gradients(mix: str, ranks: Ranks) -> dict[str, torch.Tensor]:
    """Give the gradients of a step on this rank's part of one global batch, whose parts hold different shares."""
    settings = TrainingSettings(mix=mix, augmentation="none")
    data = TrainingData(load_embedded("digits", "train"), load_embedded("digits", "val"))
    classifier, method, state = begin(settings, data, 0, torch.device("cpu"))
    for name, module in list(classifier.named_modules()):
        if isinstance(module, nn.BatchNorm2d):  # frozen: its statistics would be those of a rank's part
            classifier.get_submodule(name.rpartition(".")[0])[int(name.rpartition(".")[2])] = nn.Identity()
    learner = Learner(settings, classifier, method, state, ranks)
    is_synthetic = torch.arange(40) % 4 == 0  # all of them on rank 0 of two
    mine = slice(ranks.rank, None, ranks.world)
    images = data.real.images[:40].float() / 255
    learner.update(TrainingBatch(images[mine], data.real.labels[:40][mine], is_synthetic[mine]), 0.1)
    return {name: parameter.grad for name, parameter in classifier.named_parameters()}


def torchrun(script: str, *arguments: object, restarts: int = 0, processes: int = 2) -> None:
    command = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", str(processes)]
    command += ["--master-addr", "127.0.0.1"]
    command += ["--master-port", "0", "--standalone", f"--max-restarts={restarts}", str(HERE / script)]
    top = HERE.parents[1]
    environment = {**os.environ, "PYTHONPATH": str(top), "OMP_NUM_THREADS": "1", "PYTHONWARNINGS": "default"}
    done = subprocess.run(
        [*command, *map(str, arguments)], cwd=top, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


@pytest.fixture(scope="module")
def gradients_of_two(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("gradients")
    torchrun("gradient_job.py", folder)
    return folder


@pytest.mark.parametrize("mix", MIXES)
def test_the_gradients_of_two_ranks_are_those_of_one_on_the_same_global_batch(mix: str, gradients_of_two: Path) -> None:
    alone = gradients(mix, Ranks())
    for rank in (0, 1):
        together = load_file(gradients_of_two / f"{mix}-{rank}.safetensors")
        for name, gradient in alone.items():
            torch.testing.assert_close(together[name], gradient, rtol=1e-4, atol=1e-6)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("ranks")
    torchrun("rank_job.py", folder, -1, processes=3)
    return folder


def told(folder: Path) -> list[dict]:
    return [json.loads((folder / f"rank-{rank}.json").read_text()) for rank in range(3)]


def test_each_real_image_of_an_epoch_is_seen_by_exactly_one_rank(whole: Path) -> None:
    images = load_embedded("digits", "train").images
    ranks = told(whole)
    steps = len(ranks[0]["steps"]) // 2
    for epoch in (0, 1):
        parts = [[one for step in rank["steps"][epoch * steps :][:steps] for one in step] for rank in ranks]
        seen = Counter(one for part in parts for one in part)
        assert sum(seen.values()) == len(images)
        assert sorted(seen.values()) == sorted(Counter(image.numpy().tobytes() for image in images).values())


def test_the_ranks_end_with_identical_weights_and_one_checkpoint(whole: Path) -> None:
    first, *others = (rank["weights"] for rank in told(whole))
    assert others == [first, first]
    assert [path.name for path in (whole / "runs").iterdir()] == ["seed-0"]


def test_an_elastic_restart_ends_in_the_same_weights(whole: Path, tmp_path: Path) -> None:
    torchrun("rank_job.py", tmp_path, 11, restarts=1, processes=3)  # ranks save every ten steps at most
    one, other = (load_file(folder / "runs/seed-0/model.safetensors") for folder in (whole, tmp_path))
    assert all(torch.equal(one[name], other[name]) for name in one)
    records = [read_json(folder / "runs/seed-0/training.json") for folder in (whole, tmp_path)]
    assert records[0]["history"] == records[1]["history"]
    assert len(told(tmp_path)[0]["steps"]) < len(told(whole)[0]["steps"])  # it went on, and did not begin anew


def test_one_process_can_train_with_the_others_several_times(gradients_of_two: Path) -> None:
    assert (gradients_of_two / "joined-twice-0").is_file()


def test_fewer_outliers_than_processes_are_refused(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(Ranks, "share", lambda self, value: value)
    monkeypatch.setattr(series, "join_ranks", lambda device: nullcontext((Ranks(0, 4), "cpu")))
    monkeypatch.setattr(Ranks, "wait", lambda self: None)
    with pytest.raises(InputError, match="outlier_batch_size must be at least 4"):
        train("digits", tmp_path / "runs", method="oe", outliers="textures#val", outlier_batch_size=3)


def test_a_process_alone_is_rank_0_of_1(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("RANK", raising=False)
    with join_ranks("cpu") as (ranks, device):
        assert (ranks.rank, ranks.world, device) == (0, 1, "cpu")
        assert ranks.share("x") == "x"


def test_under_torchrun_a_device_of_ones_own_cannot_be_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RANK", "0")
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(InputError, match="each process has a device of its own"), join_ranks("cuda:1"):
        pass
