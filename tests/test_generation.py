import itertools
import json
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from sio_data import denoising, generate, open_set
from sio_data.errors import (
    CorruptSetError,
    FolderInUseError,
    IncompleteError,
    InputError,
    SettingsMismatchError,
    UnknownNameError,
)
from sio_data.generator import open_generator
from sio_data.manifest import Manifest
from sio_data.plan import Plan, ShardPlan
from sio_data.shards import Batch
from tests.conftest import snapshot

ARGUMENTS = {"per_class": 5, "shard_size": 8, "batch_size": 4, "sampling": {"steps": "1"}}


@pytest.fixture
def copy(tiny_set: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(tiny_set, tmp_path / "copy"))


def test_a_set_holds_what_the_frame_says(tiny_set: Path) -> None:
    assert sorted(snapshot(tiny_set)) == [
        "README.md", "_info.json", "data/train-000000.tar", "data/train-000001.tar", "data/train-000002.tar",
        "data/train-000003.tar", "preview.png", "sio.json",
    ]  # fmt: skip
    manifest = Manifest.read(tiny_set)
    assert manifest.complete
    assert [shard.samples for shard in manifest.shards] == [8, 8, 8, 6]
    images = open_set(tiny_set).read()
    assert images.labels.tolist() == [index % 6 for index in range(30)]
    assert images.class_names == ("zero", "one", "two", "three", "four", "five")


def test_killed_at_every_moment_and_resumed_it_is_the_same_to_the_byte(
    tiny_generator: Path, tiny_set: Path, tmp_path: Path
) -> None:
    """SIGKILL before each write, flush, rename and batch: see tests/kill_at_every_moment.py."""
    script = Path(__file__).with_name("kill_at_every_moment.py")
    result = subprocess.run(
        [sys.executable, script, str(tiny_generator), str(tmp_path)], capture_output=True, text=True, check=False
    )
    assert result.returncode == 0, result.stderr
    moments = json.loads(result.stdout)
    assert len(moments) >= 10
    assert all(moment["killed"] for moment in moments)
    expected = snapshot(tiny_set)
    for moment in moments:
        assert snapshot(Path(moment["folder"])) == expected, moment
    states = [moment["state"] for moment in moments]
    assert sorted(states, key=["absent", "incomplete", "complete"].index) == states
    assert len({*states}) == 3


def test_an_unfinished_set_is_visibly_so(tiny_generator: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from datasets import load_dataset
    from datasets.exceptions import DatasetNotFoundError

    from sio_data.engines.drawing import Drawer

    draw = Drawer.draw

    def stop_in_second(self: Drawer, shard: ShardPlan) -> Iterator[Batch]:
        yield from itertools.islice(draw(self, shard), None if shard.index == 0 else 1)
        if shard.index == 1:
            raise KeyboardInterrupt

    monkeypatch.setattr(Drawer, "draw", stop_in_second)
    with pytest.raises(KeyboardInterrupt):
        generate("diffusers", str(tiny_generator), tmp_path / "set", **ARGUMENTS)
    assert [path.name for path in (tmp_path / "set/data").iterdir()] == ["train-000000.tar"]
    with pytest.raises(IncompleteError, match="is incomplete"):
        open_set(tmp_path / "set")
    assert "incomplete" in (tmp_path / "set/README.md").read_text()
    with pytest.raises((FileNotFoundError, DatasetNotFoundError)):
        load_dataset(str(tmp_path / "set"))
    monkeypatch.undo()
    other = Path(shutil.copytree(tmp_path / "set", tmp_path / "other"))
    assert generate("diffusers", str(tiny_generator), tmp_path / "set", **ARGUMENTS).made == 22
    (other / "data/train-000000.tar").unlink()
    assert generate("diffusers", str(tiny_generator), other, **ARGUMENTS).made == 30
    assert snapshot(other) == snapshot(tmp_path / "set")


def test_run_again_when_complete_it_does_nothing(tiny_generator: Path, copy: Path) -> None:
    before = {path: path.stat().st_mtime_ns for path in copy.rglob("*")}
    assert generate("diffusers", str(tiny_generator), copy, **ARGUMENTS).made == 0
    assert {path: path.stat().st_mtime_ns for path in copy.rglob("*")} == before


def test_with_another_recipe_it_refuses_and_names_the_fields(tiny_generator: Path, copy: Path) -> None:
    before = snapshot(copy)
    with pytest.raises(SettingsMismatchError, match=r"per_class: 5 there, 6 asked; seed: 0 there, 1 asked"):
        generate("diffusers", str(tiny_generator), copy, **{**ARGUMENTS, "per_class": 6}, seed=1)
    assert snapshot(copy) == before


def test_a_deleted_card_or_preview_is_made_again(tiny_generator: Path, copy: Path) -> None:
    before = snapshot(copy)
    for name in ("README.md", "preview.png"):
        (copy / name).unlink()
        generate("diffusers", str(tiny_generator), copy, **ARGUMENTS)
        assert snapshot(copy) == before


def test_begun_without_a_finished_shard_it_can_be_begun_anew(tiny_generator: Path, tmp_path: Path) -> None:
    """A network that does not fit its configuration is noticed when it is first used."""
    weights = Path(shutil.copytree(tiny_generator, tmp_path / "weights"))
    config = weights / "unet/config.json"
    whole = config.read_text()
    config.write_text(whole.replace('"layers_per_block": 1', '"layers_per_block": 2'))
    with pytest.raises(InputError, match="weights and config do not fit"):
        generate("diffusers", str(weights), tmp_path / "set", **ARGUMENTS)
    config.write_text(whole)
    assert generate("diffusers", str(weights), tmp_path / "set", **ARGUMENTS).made == 30


def test_truncated_weights_are_refused_before_a_folder_is_made(tiny_generator: Path, tmp_path: Path) -> None:
    weights = Path(shutil.copytree(tiny_generator, tmp_path / "weights"))
    tensors = weights / "unet/diffusion_pytorch_model.safetensors"
    tensors.write_bytes(tensors.read_bytes()[:-100])
    with pytest.raises(InputError, match="no sound weights"):
        generate("diffusers", str(weights), tmp_path / "set", **ARGUMENTS)
    tensors.unlink()
    with pytest.raises(InputError, match="no safetensors file"):
        generate("diffusers", str(weights), tmp_path / "set", **ARGUMENTS)
    assert not (tmp_path / "set").exists()


def test_a_deleted_shard_is_made_again(tiny_generator: Path, copy: Path) -> None:
    before = snapshot(copy)
    (copy / "data/train-000002.tar").unlink()
    with pytest.raises(CorruptSetError, match="is missing"):
        open_set(copy).read()
    assert generate("diffusers", str(tiny_generator), copy, **ARGUMENTS).made == 8
    assert snapshot(copy) == before


@pytest.mark.parametrize("damage", [lambda data: data[:-1000], lambda data: data[:700] + b"x" + data[701:]])
def test_a_changed_shard_is_refused_not_overwritten(tiny_generator: Path, copy: Path, damage: object) -> None:
    path = copy / "data/train-000001.tar"
    path.write_bytes(damage(path.read_bytes()))
    before = snapshot(copy)
    with pytest.raises(CorruptSetError, match=r"train-000001\.tar was changed"):
        generate("diffusers", str(tiny_generator), copy, **ARGUMENTS)
    with pytest.raises(CorruptSetError, match=r"train-000001\.tar was changed"):
        open_set(copy).read()
    assert snapshot(copy) == before


def test_a_shard_that_is_not_in_the_manifest_is_refused(tiny_generator: Path, copy: Path) -> None:
    shutil.copy(copy / "data/train-000000.tar", copy / "data/train-000009.tar")
    with pytest.raises(CorruptSetError, match=r"train-000009\.tar is not part of the set"):
        open_set(copy)
    with pytest.raises(CorruptSetError, match=r"train-000009\.tar is not part of the set"):
        generate("diffusers", str(tiny_generator), copy, **ARGUMENTS)


def test_swapped_shards_are_found(copy: Path) -> None:
    one, two = copy / "data/train-000000.tar", copy / "data/train-000001.tar"
    one.rename(copy / "x")
    two.rename(one)
    (copy / "x").rename(two)
    with pytest.raises(CorruptSetError):
        open_set(copy).read()


def test_noise_and_labels_do_not_depend_on_how_the_work_is_cut(
    tiny_generator: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Made all at once, in batches or one by one, each sample starts from the same noise and the same label."""
    drawn: list[tuple[bytes, int]] = []
    real_predict = denoising.predict

    def predict(network: object, images: torch.Tensor, timestep: object, labels: torch.Tensor, *rest: object) -> object:
        drawn.extend((one.numpy().tobytes(), int(label)) for one, label in zip(images, labels, strict=True))
        return real_predict(network, images, timestep, labels, *rest)

    monkeypatch.setattr(denoising, "predict", predict)
    results = []
    for name, cut in {"once": (30, 30), "batches": (8, 3), "singles": (7, 1)}.items():
        drawn.clear()
        torch.manual_seed(len(name))
        generate(
            "diffusers", str(tiny_generator), tmp_path / name,
            per_class=5, sampling={"steps": "1"}, shard_size=cut[0], batch_size=cut[1],
        )  # fmt: skip
        results.append(list(drawn))
    assert len({noise for noise, _ in results[0]}) == 30
    assert results[0] == results[1] == results[2]
    pixels = [open_set(tmp_path / name).read().images.int() for name in ("once", "batches", "singles")]
    assert max((pixels[0] - other).abs().max() for other in pixels[1:]) <= 1


def test_labels_reach_the_generator_by_name(tiny_generator: Path, tmp_path: Path) -> None:
    """A set whose class map is in another order holds the same picture for the same class and seed."""
    done = generate("diffusers", str(tiny_generator), tmp_path / "set", classes=["five", "zero"], **ARGUMENTS)
    images = done.set.read()
    assert images.class_names == ("five", "zero")
    backend = open_generator("diffusers", str(tiny_generator), sampling={"steps": "1"})
    seeds = Plan(done.set.manifest.recipe)[0].seeds[:4].tolist()
    assert torch.equal(backend.sample(torch.tensor([5, 0, 5, 0]), seeds), images.images[:4])


@pytest.mark.parametrize("image_format", ["webp", "jpg"])
def test_other_formats(tiny_generator: Path, tmp_path: Path, tiny_set: Path, image_format: str) -> None:
    done = generate("diffusers", str(tiny_generator), tmp_path / "set", image_format=image_format, **ARGUMENTS)
    difference = done.set.read().images.int() - open_set(tiny_set).read().images.int()
    assert difference.abs().float().mean() < (5 if image_format == "jpg" else 1e-9)


def test_preview_shows_the_samples(tiny_set: Path) -> None:
    first = open_set(tiny_set).read().images[0].permute(1, 2, 0).numpy()
    picture = np.asarray(Image.open(tiny_set / "preview.png"))
    enlarged = np.repeat(np.repeat(first, 6, 0), 6, 1)
    windows = np.lib.stride_tricks.sliding_window_view(picture[4:52], 48, axis=1)[0]
    assert any(np.array_equal(picture[4:52, left : left + 48], enlarged) for left in range(len(windows)))


def test_preview_shows_every_class_however_small_the_shards(
    tiny_generator: Path, tmp_path: Path, tiny_set: Path
) -> None:
    generate("diffusers", str(tiny_generator), tmp_path / "set", **{**ARGUMENTS, "shard_size": 1, "batch_size": 4})
    sizes = [np.asarray(Image.open(folder / "preview.png")).shape for folder in (tmp_path / "set", tiny_set)]
    assert sizes[0] == sizes[1]


def test_bad_input_is_refused_before_a_folder_is_made(tiny_generator: Path, tmp_path: Path) -> None:
    out = tmp_path / "new"
    for change, error, message in (
        ({"per_class": 0}, InputError, "per_class"),
        ({"classes": ["zero", "sixx"]}, UnknownNameError, "Did you mean 'five'|unknown class 'sixx'"),
        ({"classes": ["zero", "zero"]}, InputError, "class names"),
        ({"image_size": 32}, InputError, "draws images of 8 pixels and can make them smaller, not 32"),
        ({"sampling": {"stepz": "1"}}, UnknownNameError, "Did you mean 'steps'"),
        ({"sampling": {"steps": "many"}}, InputError, "not a whole number"),
        ({"sampling": {"steps": "0"}}, InputError, "not a whole number from 1 to 1000"),
        ({"image_format": "gif"}, InputError, "gif"),
        ({"device": "abacus"}, InputError, "abacus"),
    ):
        with pytest.raises(error, match=message):
            generate("diffusers", str(tiny_generator), out, **{**ARGUMENTS, **change})
        assert not out.exists()
    with pytest.raises(UnknownNameError, match="unknown generator 'difusers'"):
        generate("difusers", str(tiny_generator), out, **ARGUMENTS)
    with pytest.raises(InputError, match="no such folder"):
        generate("diffusers", str(tmp_path / "nothing"), out, **ARGUMENTS)
    (tmp_path / "full").mkdir()
    (tmp_path / "full/thesis.tex").touch()
    with pytest.raises(FolderInUseError, match=r"thesis\.tex"):
        generate("diffusers", str(tiny_generator), tmp_path / "full", **ARGUMENTS)
    assert [path.name for path in tmp_path.iterdir()] == ["full"]
