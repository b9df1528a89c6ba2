"""Run by torchrun in the tests: the gradients of one step, as each rank has them after it.

torchrun --nproc-per-node 2 gradient_job.py FOLDER
"""

import sys
from pathlib import Path

import torch
from safetensors.torch import save_file

from sio_data.training.ranks import join_ranks
from tests.training.test_training_ranks import MIXES, gradients

torch.set_num_threads(1)
with join_ranks("cpu") as (ranks, _):
    for mix in MIXES:
        save_file(gradients(mix, ranks), Path(sys.argv[1]) / f"{mix}-{ranks.rank}.safetensors")
with join_ranks("cpu") as (ranks, _):
    ranks.wait()
    (Path(sys.argv[1]) / f"joined-twice-{ranks.rank}").touch()
