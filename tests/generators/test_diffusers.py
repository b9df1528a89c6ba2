import json
import shutil
from pathlib import Path

import pytest
import torch

from sio_data.errors import InputError, SioDataError
from sio_data.generator import open_generator
from sio_data.generators.diffusers import DiffusersGenerator


def test_it_is_found_by_entry_point(tiny_generator: Path) -> None:
    assert isinstance(open_generator("diffusers", str(tiny_generator)), DiffusersGenerator)


def test_it_tells_what_it_is_without_reading_the_network(tiny_generator: Path) -> None:
    backend = open_generator("diffusers", str(tiny_generator), sampling={"steps": "7"})
    assert backend.class_names == ("zero", "one", "two", "three", "four", "five")
    assert backend.image_size == 8
    assert backend.licence == "cc-by-4.0"
    assert backend.sampling == {"steps": 7, "guidance": 1.0}
    assert "_network" not in vars(backend)


def test_samples_are_rgb_uint8_and_depend_on_nothing_but_label_and_seed(tiny_generator: Path) -> None:
    backend = open_generator("diffusers", str(tiny_generator), sampling={"steps": "2"})
    labels, seeds = torch.tensor([0, 1, 2]), [5, 6, 7]
    together = backend.sample(labels, seeds)
    assert together.dtype == torch.uint8
    assert together.shape == (3, 3, 8, 8)
    alone = torch.cat([backend.sample(labels[i : i + 1], seeds[i : i + 1]) for i in range(3)])
    assert (together.int() - alone.int()).abs().max() <= 1
    assert torch.equal(together, backend.sample(labels, seeds))


def test_revision_is_the_hash_of_the_weights(tiny_generator: Path, tmp_path: Path) -> None:
    copy = Path(shutil.copytree(tiny_generator, tmp_path / "copy"))
    revision = open_generator("diffusers", str(tiny_generator)).revision
    assert open_generator("diffusers", str(copy)).revision == revision
    weights = copy / "unet/diffusion_pytorch_model.safetensors"
    data = weights.read_bytes()
    weights.write_bytes(data[:-1] + bytes([data[-1] ^ 1]))
    assert open_generator("diffusers", str(copy)).revision != revision


def test_an_unfinished_training_is_refused(tiny_generator: Path, tmp_path: Path) -> None:
    copy = Path(shutil.copytree(tiny_generator, tmp_path / "copy"))
    record = json.loads((copy / "training.json").read_text())
    (copy / "training.json").write_text(json.dumps(record | {"complete": False}))
    with pytest.raises(SioDataError, match="training is not finished"):
        open_generator("diffusers", str(copy))


@pytest.mark.parametrize("card", ["---\nlicense: [\n---\n", "---\n- a\n---\n", "no metadata", ""])
def test_a_card_that_cannot_be_read_says_nothing(tiny_generator: Path, tmp_path: Path, card: str) -> None:
    copy = Path(shutil.copytree(tiny_generator, tmp_path / "copy"))
    (copy / "README.md").write_text(card)
    assert open_generator("diffusers", str(copy)).licence == "unknown"


@pytest.mark.parametrize(
    ("file", "change", "message"),
    [
        ("unet/config.json", {"sample_size": [8, 8]}, "sample_size"),
        ("scheduler/scheduler_config.json", {"num_train_timesteps": "abc"}, "no sound"),
    ],
)
def test_a_damaged_config_is_refused(
    tiny_generator: Path, tmp_path: Path, file: str, change: dict[str, object], message: str
) -> None:
    copy = Path(shutil.copytree(tiny_generator, tmp_path / "copy"))
    (copy / file).write_text(json.dumps(json.loads((copy / file).read_text()) | change))
    with pytest.raises(InputError, match=message):
        open_generator("diffusers", str(copy)).sample(torch.tensor([0]), [0])


def test_a_folder_of_something_else_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"it holds no model_index\.json"):
        open_generator("diffusers", str(tmp_path))


def test_without_a_card_the_licence_is_unknown(tiny_generator: Path, tmp_path: Path) -> None:
    copy = Path(shutil.copytree(tiny_generator, tmp_path / "copy"))
    (copy / "README.md").unlink()
    assert open_generator("diffusers", str(copy)).licence == "unknown"
