"""Ranks that a launcher started: each makes its share; they never talk to each other, and none waits."""

import os
from collections.abc import Mapping
from dataclasses import dataclass

import torch

from sio_data.errors import InputError


@dataclass(frozen=True)
class Rank:
    """One of several processes that make a set together.

    Attributes:
        index: Which one, from 0.
        count: How many there are.
        local: Which one on its machine.
    """

    index: int = 0
    count: int = 1
    local: int = 0

    def share(self, shards: range) -> range:
        """Give the shards that this rank makes: every `count`-th."""
        return shards[self.index :: self.count]

    def device(self) -> str | None:
        """Give its CUDA device, or None where there is none."""
        return f"cuda:{self.local % torch.cuda.device_count()}" if torch.cuda.is_available() else None


def read_rank(environment: Mapping[str, str] = os.environ) -> Rank | None:
    """Read the rank that torchrun or a Slurm job array set; None if there is neither.

    Raises:
        InputError: The variables make no sense.
    """
    try:
        if "RANK" in environment and "WORLD_SIZE" in environment:
            rank = Rank(*(int(environment.get(name, 0)) for name in ("RANK", "WORLD_SIZE", "LOCAL_RANK")))
        elif "SLURM_ARRAY_TASK_ID" in environment:
            task, first, step, count = (
                int(environment.get(f"SLURM_ARRAY_TASK_{name}", default))
                for name, default in (("ID", 0), ("MIN", 0), ("STEP", 1), ("COUNT", 1))
            )
            rank = Rank((task - first) // step, count)
        else:
            return None
    except (ValueError, ZeroDivisionError) as error:
        raise InputError(f"the launcher's variables are no whole numbers: {error}.") from error
    if not 0 <= rank.index < rank.count:
        raise InputError(
            f"rank {rank.index} of {rank.count} cannot be. A Slurm array must be evenly spaced, like --array=0-7."
        )
    return rank


def is_torchrun(environment: Mapping[str, str] = os.environ) -> bool:
    """Tell whether torchrun started this process."""
    return "TORCHELASTIC_RUN_ID" in environment
