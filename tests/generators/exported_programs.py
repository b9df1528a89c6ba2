"""What the tests of the back end `exported` share: tiny programs exported for real, and ways to change their files."""

import json
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import nn

from sio_data.backend import seeded_noise
from sio_data.generator import Generator, open_generator

CARD = {"classes": ["cat", "dog", "owl"], "range": [-1, 1]}
LABELS, SEEDS = torch.tensor([0, 1, 2, 1, 0]), [5, 6, 7, 8, 9]
BATCH = torch.export.Dim("batch")


class Tiny(nn.Module):
    """A generator of 8 pixels with all that programs are made of: weights, constants, sizes, parts without gradient."""

    def __init__(self) -> None:
        super().__init__()
        self.classes = nn.Embedding(3, 8)
        self.start = nn.Linear(16, 8 * 4 * 4)
        self.norm = nn.BatchNorm2d(8)
        self.drop = nn.Dropout()
        self.draw = nn.ConvTranspose2d(8, 3, 4, 2, 1)
        self.gain = torch.tensor([2.0])
        self.register_buffer("shift", torch.full((1,), 0.1), persistent=False)

    def forward(self, z: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        hidden = self.start(torch.cat([z, self.classes(labels)], 1)).view(z.shape[0], 8, 4, 4)
        with torch.no_grad():
            hidden = hidden * self.gain
        left, right = self.drop(self.norm(hidden)).chunk(2, 1)
        images = torch.tanh(self.draw(torch.cat([right, left], 1)) + self.shift)
        return images + torch.zeros(z.shape[0], 3, 8, 8)


def export(
    network: nn.Module,
    file: Path,
    batch: Any = BATCH,
    card: dict[str, Any] | None = None,
    decomposed: bool = False,
) -> Path:
    """Save it with the card; `batch` is the dynamic one, or None for a batch fixed at four."""
    shapes = {"z": {0: batch}, "labels": {0: batch}} if batch else None
    program = torch.export.export(network, (torch.randn(4, 8), torch.tensor([0, 1, 2, 0])), dynamic_shapes=shapes)
    torch.export.save(program.run_decompositions() if decomposed else program, file)
    file.with_suffix(".json").write_text(json.dumps(CARD | (card or {})))
    return file


def make(kind: type[nn.Module]) -> nn.Module:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return kind().eval()


def open_file(file: Path) -> Generator:
    return open_generator("exported", str(file), device="cpu")


def edit_card(file: Path, **entries: object) -> None:
    file.with_suffix(".json").write_text(json.dumps(CARD | entries))


def expected(network: nn.Module) -> torch.Tensor:
    with torch.no_grad():
        images = network(seeded_noise((8,), SEEDS), LABELS)
    return ((images + 1) * 127.5).round().to(torch.uint8)


def difference(one: torch.Tensor, other: torch.Tensor) -> int:
    return int((one.int() - other.int()).abs().max())


def rewrite(file: Path, edit: Callable[[dict[str, bytes]], object]) -> None:
    """Change members of an archive, by their names below its root."""
    with zipfile.ZipFile(file) as archive:
        root = archive.namelist()[0].split("/")[0]
        members = {name.removeprefix(f"{root}/"): archive.read(name) for name in archive.namelist()}
    edit(members)
    with zipfile.ZipFile(file, "w") as archive:
        for name, data in members.items():
            archive.writestr(f"{root}/{name}", data)


def edit_json(file: Path, member: str, edit: Callable[[dict[str, Any]], object]) -> None:
    def change(members: dict[str, bytes]) -> None:
        content = json.loads(members[member])
        edit(content)
        members[member] = json.dumps(content).encode()

    rewrite(file, change)


def draw_grey(z: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    return z[:, :4].view(-1, 1, 2, 2) * labels.view(-1, 1, 1, 1)


def nodes(model: dict[str, Any]) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = model["graph_module"]["graph"]["nodes"]
    return found
