"""Run by torchrun in the tests: trains on the digits, and writes what each rank saw and ended in.

torchrun --nproc-per-node 2 rank_job.py FOLDER CRASH_AT_STEP
"""

import hashlib
import json
import os
import sys
from pathlib import Path

import torch

from sio_data import train
from sio_data.training.learner import Learner
from sio_data.training.methods.base import TrainingBatch
from sio_data.training.run import Run, Trained

torch.set_num_threads(1)
folder, crash_at = Path(sys.argv[1]), int(sys.argv[2])
rank, attempt = os.environ["RANK"], os.environ["TORCHELASTIC_RESTART_COUNT"]
steps: list[list[str]] = []
update, trained = Learner.update, Run.trained


def seen_update(self: Learner, batch: TrainingBatch, rate: float) -> torch.Tensor:
    if attempt == "0" and len(steps) == crash_at:
        os._exit(9)
    real = batch.images[~batch.is_synthetic]
    steps.append([hashlib.sha256(image.numpy().tobytes()).hexdigest() for image in real])
    return update(self, batch, rate)


def told_trained(self: Run) -> Trained:
    weights = {name: value.sum().item() for name, value in self.learner.tensors().items()}
    (folder / f"rank-{rank}.json").write_text(json.dumps({"steps": steps, "weights": weights}))
    return trained(self)


Learner.update, Run.trained = seen_update, told_trained
options = {"epochs": 2, "batch_size": 128, "seeds": [0], "augmentation": "none", "every_real": True}
train("digits", folder / "runs", synthetic="digits", save_seconds=0, device="cpu", **options)
