from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from sio_data import generate, open_set, regenerate, repair, verify
from sio_data.backend import About
from sio_data.cli import main
from sio_data.errors import CorruptSetError, IncompleteError, InputError, SettingsMismatchError
from sio_data.manifest import Manifest
from tests.conftest import BACKEND, snapshot
from tests.damage import SHARDS, edit_manifest, flip

ARGUMENTS = {"per_class": 5, "shard_size": 8, "batch_size": 4, "sampling": {"steps": "1"}}


@pytest.mark.parametrize(("key", "index"), [(7, 7), ("7", 7), ("000000007", 7), (0, 0), ("29", 29)])
def test_an_image_is_made_again_from_its_metadata(
    tiny_set: Path, tiny_generator: Path, key: str | int, index: int
) -> None:
    made = regenerate(str(tiny_set), key, weights=str(tiny_generator))
    stored = open_set(tiny_set).read().images[index].permute(1, 2, 0).numpy()
    assert np.array_equal(made.sample.image, stored)
    assert made.difference.max() <= 1
    assert abs(made.image.astype(int) - stored).max() == made.difference.max()
    assert (made.sample.index, made.sample.label) == (index, index % 6)
    assert made.class_name == ("zero", "one", "two", "three", "four", "five")[index % 6]


def test_the_difference_is_counted_both_ways(tiny_set: Path, tiny_generator: Path) -> None:
    from dataclasses import replace

    made = regenerate(tiny_set, 0, weights=str(tiny_generator))
    black = np.zeros_like(made.image)
    assert np.array_equal(replace(made, image=black).difference, made.sample.image)
    white = replace(made, image=black + 255).difference
    assert np.array_equal(white, 255 - made.sample.image)


@pytest.mark.parametrize("key", [30, "30", -1, "-1", "1e3", "", "7.0", " 7", "0x1", "²", "seven", "9" * 5000, 10**30])
def test_a_key_that_is_none_is_refused(tiny_set: Path, tiny_generator: Path, key: str | int) -> None:
    with pytest.raises(InputError, match=r"has no sample .*: its keys go from 0 to 29"):
        regenerate(tiny_set, key, weights=str(tiny_generator))


@pytest.mark.parametrize("image_format", ["jpg", "webp"])
def test_classes_by_name_and_other_formats(
    tiny_generator: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, image_format: str
) -> None:
    monkeypatch.chdir(tiny_generator.parent)
    options = {**ARGUMENTS, "image_format": image_format, "classes": ["five", "zero", "three"]}
    generate(BACKEND, tiny_generator.name, tmp_path / "set", **options)
    made = regenerate(tmp_path / "set", 4)
    assert (made.class_name, made.sample.label) == ("zero", 1)
    assert made.difference.mean() < 1
    assert not verify(tmp_path / "set", regenerate=9).faults


def test_what_cannot_work_is_refused(damaged: Path, tiny_generator: Path, other_set: Path, tmp_path: Path) -> None:
    weights = str(tiny_generator)
    before = snapshot(damaged)
    for options, error, message in (
        ({}, InputError, "was made with …/unet. Say where it is with --weights"),
        ({"weights": str(tmp_path)}, InputError, "no generator folder"),
        ({"weights": weights, "sampling": {"steps": "2"}}, SettingsMismatchError, "begun with another sampling"),
        ({"weights": weights, "sampling": {"stepz": "2"}}, InputError, "Did you mean 'steps'"),
    ):
        with pytest.raises(error, match=message):
            regenerate(damaged, 3, **options)
    assert snapshot(damaged) == before
    with pytest.raises(InputError, match="is no synthetic set"):
        regenerate(tmp_path, 3, weights=weights)
    flip(damaged / SHARDS[0], 700)
    with pytest.raises(CorruptSetError, match=r"train-000000\.tar was changed .* Mend it with: sio-data repair"):
        regenerate(damaged, 3, weights=weights)
    assert regenerate(damaged, 8, weights=weights).difference.max() <= 1
    edit_manifest(damaged, lambda value: value.update(complete=False, shards=[], samples=0))
    with pytest.raises(IncompleteError, match="is incomplete"):
        regenerate(damaged, 3, weights=weights)


def test_the_command_writes_the_picture_and_compares(
    tiny_set: Path, tiny_generator: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "7.png"
    assert main(["regenerate", str(tiny_set), "7", "--weights", str(tiny_generator), "--out", str(out)]) == 0
    made = regenerate(tiny_set, 7, weights=str(tiny_generator))
    assert np.array_equal(np.asarray(Image.open(out)), made.image)
    said = capsys.readouterr().out
    assert said.startswith(f"sample 000000007, label 1 (one), seed {made.seed}: ")
    assert said.endswith("identical to the stored image.\n" if not made.difference.any() else "1 of 255.\n")


class Picky:
    """A back end that refuses two draws in three, and has two places for one class."""

    about = About("", "", "", "")
    citation, licence, revision = "", "mit", "1"
    image_size, conditional, patience = 4, True, 1000
    sampling: Mapping[str, str] = {}
    class_names = ("cat", "dog", "cat")

    def __init__(self, weights: str, **_: object) -> None:
        self.conditional = weights == "conditional"

    def sample(self, labels: torch.Tensor, seeds: Sequence[int]) -> torch.Tensor:
        noise = [torch.rand(3, 4, 4, generator=torch.Generator().manual_seed(seed)) for seed in seeds]
        shift = labels if self.conditional else torch.zeros_like(labels)
        return (torch.stack(noise) * 200 + 20 * shift[:, None, None, None]).to(torch.uint8)

    def judge(self, images: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        value = images.long().sum(dim=(1, 2, 3))
        return torch.where(value % 3 == 0, labels if self.conditional else value // 3 % 3, -1)

    def explain(self) -> str:
        return ""


@pytest.mark.parametrize("kind", ["conditional", "unconditional"])
def test_refused_draws_and_templates_are_made_again_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    """The seed is that of the accepted draw, and the place of the class is that of the sample."""
    monkeypatch.setattr("sio_data.generator.find_backend", lambda name: Picky)
    folder = tmp_path / "set"
    generate("picky", kind, folder, per_class=12, shard_size=10, batch_size=5)
    before = snapshot(folder)
    assert Manifest.read(folder).draws > 24
    found = verify(folder, regenerate=24)
    assert not found.faults
    assert found.comparison
    assert found.comparison.identical == 24
    flip(folder / SHARDS[1], 700)
    assert repair(folder).remade == (SHARDS[1],)
    assert snapshot(folder) == before
    (folder / "sio.json").unlink()
    repair(folder)
    assert snapshot(folder) == before
