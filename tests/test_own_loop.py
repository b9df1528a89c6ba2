"""The examples of docs/own-loop.md, run as they stand."""

import dataclasses
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F

import sio_data

PAGE = Path(__file__).parent.parent / "docs/own-loop.md"
BLOCKS = {
    part.partition("\n")[0].strip(): part.partition("```python\n")[2].partition("```")[0]
    for part in PAGE.read_text().split("\n## ")[1:]
}


@pytest.fixture
def demo(tiny_set: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A small stand-in for the demo's set, in the current folder."""
    monkeypatch.chdir(tmp_path)
    Path("demo").mkdir()
    Path("demo/synthetic").symlink_to(tiny_set)
    torch.set_num_threads(1)


def run(title: str) -> dict[str, Any]:
    names: dict[str, Any] = {"__name__": "example"}
    exec(compile(BLOCKS[title], str(PAGE), "exec"), names)
    return names


def three_epochs(names: dict[str, Any]) -> list[sio_data.mixing.Batch]:
    batches = sio_data.MixedBatches(names["real"], names["synthetic"], batch_size=128, alpha=0.8)
    return [batch for epoch in range(3) for batch in batches.epoch(epoch)]


def are_images_of(seen: list[torch.Tensor], batches: list[sio_data.mixing.Batch]) -> bool:
    return len(seen) == len(batches) and all(map(torch.equal, seen, (batch.images for batch in batches)))


def is_better_than_chance(names: dict[str, Any], network: torch.nn.Module) -> bool:
    with torch.inference_mode():
        loss = F.cross_entropy(network(names["real"].images / 255), names["real"].labels)
    return bool(loss < torch.tensor(float(len(names["real"].class_names))).log() - 0.2)


def test_every_block_is_run() -> None:
    assert list(BLOCKS) == ["PyTorch", "Resume", "Several processes", "Lightning", "Hugging Face Trainer"]
    assert PAGE.read_text().count("```python") == len(BLOCKS)


@pytest.mark.usefixtures("demo")
def test_plain_pytorch() -> None:
    names = run("PyTorch")
    assert is_better_than_chance(names, names["model"])


@pytest.mark.usefixtures("demo")
def test_resuming() -> None:
    names = run("Resume")
    assert names["first"].state_dict() == {"epoch": 0, "batch": 3, "batches": 5, "seed": 0}


@pytest.mark.usefixtures("demo")
def test_two_processes_learn_what_one_learns() -> None:
    Path("train.py").write_text(BLOCKS["Several processes"])
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", "train.py"]
    done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    names = {"real": sio_data.load_source("digits", "train"), "synthetic": sio_data.load_source("demo/synthetic")}
    torch.manual_seed(0)
    network = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(3 * 8 * 8, len(names["real"].class_names)))
    optimizer = torch.optim.SGD(network.parameters(), lr=0.1)
    for batch in three_epochs(names):
        losses = F.cross_entropy(network(batch.images / 255), batch.labels, reduction="none")
        optimizer.zero_grad()
        sio_data.sio_loss(losses, batch.is_synthetic, alpha=0.8, mix="loss").backward()
        optimizer.step()
    theirs = torch.load("network.pt", weights_only=True)
    assert all(torch.allclose(theirs[name], ours, atol=1e-5) for name, ours in network.state_dict().items())


@pytest.mark.usefixtures("demo")
@pytest.mark.filterwarnings("ignore:`isinstance.treespec, LeafSpec.` is deprecated:FutureWarning")
def test_lightning_sees_our_batches_and_resumes_in_mid_epoch() -> None:
    names = run("Lightning")
    assert is_better_than_chance(names, names["trainer"].model.network)
    seen: list[torch.Tensor] = []

    class Watched(names["SIO"]):
        def training_step(self, batch: sio_data.mixing.Batch, index: int) -> torch.Tensor:
            seen.append(batch.images)
            return super().training_step(batch, index)

        def on_train_batch_end(self, *_: object) -> None:
            if self.global_step == 7:
                self.trainer.save_checkpoint("seventh.ckpt")

    quiet = dict.fromkeys(("logger", "enable_checkpointing", "enable_progress_bar", "enable_model_summary"), False)
    names["lightning"].Trainer(max_epochs=3, **quiet).fit(Watched())
    assert are_images_of(seen, three_epochs(names))
    seen.clear()
    names["lightning"].Trainer(max_epochs=3, **quiet).fit(Watched(), ckpt_path="seventh.ckpt", weights_only=False)
    assert are_images_of(seen, three_epochs(names)[7:])


@pytest.mark.usefixtures("demo")
def test_hugging_face_trainer_sees_our_batches_and_resumes_in_mid_epoch() -> None:
    names = run("Hugging Face Trainer")
    assert is_better_than_chance(names, names["model"])
    seen: list[torch.Tensor] = []

    class Watched(names["SIOTrainer"]):
        def compute_loss(self, model: torch.nn.Module, inputs: dict[str, torch.Tensor], **options: Any) -> Any:
            seen.append(inputs["images"])
            return super().compute_loss(model, inputs, **options)

    settings = dataclasses.replace(names["settings"], save_strategy="steps", save_steps=7)
    Watched(names["model"], settings).train()
    assert are_images_of(seen, three_epochs(names))
    seen.clear()
    Watched(names["model"], settings).train(resume_from_checkpoint="demo/trainer/checkpoint-7")
    assert are_images_of(seen, three_epochs(names)[7:])
