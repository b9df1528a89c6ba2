import json
import shutil
from pathlib import Path

import pytest
import torch
import yaml
from diffusers import UNet2DModel
from safetensors.torch import load_file

from sio_data import fit
from sio_data.errors import ClassMapError, FolderInUseError, InputError, SettingsMismatchError, SioDataError
from sio_data.fitting.diffusion import DiffusionSettings, DiffusionTrainer
from sio_data.sources import load_source
from tests.conftest import snapshot

TINY = {"steps": 6, "batch_size": 8, "channels": [16]}


def weights(folder: Path) -> dict[str, torch.Tensor]:
    return load_file(folder / "unet/diffusion_pytorch_model.safetensors")


def test_the_result_is_a_diffusers_folder_with_class_map_card_and_samples(tiny_generator: Path) -> None:
    assert sorted(snapshot(tiny_generator)) == [
        "README.md", "model_index.json", "samples.png", "scheduler/scheduler_config.json", "training.json",
        "unet/config.json", "unet/diffusion_pytorch_model.safetensors",
    ]  # fmt: skip
    unet = UNet2DModel.from_pretrained(tiny_generator, subfolder="unet", low_cpu_mem_usage=False)
    assert unet.config.num_class_embeds == 7
    index = json.loads((tiny_generator / "model_index.json").read_text())
    assert index["id2label"] == {str(i): name for i, name in enumerate(load_source("digits").class_names)}
    metadata = yaml.safe_load((tiny_generator / "README.md").read_text().split("---\n")[1])
    assert metadata["license"] == "cc-by-4.0"
    record = json.loads((tiny_generator / "training.json").read_text())
    assert record["command"].startswith("sio-data fit digits --out ")
    assert record["command"].endswith("--steps 3 --batch-size 8 --channels 16")


def test_python_in_the_card_runs(tiny_generator: Path) -> None:
    card = (tiny_generator / "README.md").read_text()
    block = card.split("```python\n")[1].partition("```")[0].replace("path/to/this/folder", str(tiny_generator))
    names: dict[str, object] = {}
    exec(compile(block, "README.md", "exec"), names)
    assert names["zero"].size == (8, 8)


@pytest.fixture
def trainer() -> DiffusionTrainer:
    return DiffusionTrainer(DiffusionSettings(40, 32, 1e-3, (16,), 0), load_source("digits"), torch.device("cpu"))


def test_a_batch_is_drawn_from_seed_and_step_alone(trainer: DiffusionTrainer) -> None:
    one, two, other = trainer._draw(3), trainer._draw(3), trainer._draw(4)
    assert all(torch.equal(a, b) for a, b in zip(one, two, strict=True))
    assert not any(torch.equal(a, b) for a, b in zip(one, other, strict=True))


def test_a_tenth_of_the_labels_becomes_no_class(trainer: DiffusionTrainer) -> None:
    labels = torch.cat([trainer._draw(step)[1] for step in range(100)])
    assert 0.08 < (labels == 6).float().mean() < 0.12
    assert labels.unique().tolist() == [0, 1, 2, 3, 4, 5, 6]


def test_the_network_learns_v(trainer: DiffusionTrainer, monkeypatch: pytest.MonkeyPatch) -> None:
    targets = []
    mse = torch.nn.functional.mse_loss
    monkeypatch.setattr(
        torch.nn.functional, "mse_loss", lambda out, target: (targets.append(target), mse(out, target))[1]
    )
    trainer._step(0)
    clean, _, noise, timesteps = trainer._draw(0)
    kept = trainer.noise_schedule.alphas_cumprod[timesteps][:, None, None, None]
    assert torch.allclose(targets[0], kept.sqrt() * noise - (1 - kept).sqrt() * clean, atol=1e-6)
    assert trainer.sampling_scheduler().config.prediction_type == "v_prediction"


def test_what_is_saved_is_the_running_mean_of_the_weights(trainer: DiffusionTrainer) -> None:
    for step in range(3):
        trainer._step(step)
    raw = [parameter.detach().clone() for parameter in trainer.unet.parameters()]
    mean = [parameter.clone() for parameter in trainer.ema.shadow_params]
    saved = list(trainer.averaged_unet().parameters())
    assert all(torch.equal(a, b) for a, b in zip(saved, mean, strict=True))
    assert not all(torch.equal(a, b) for a, b in zip(saved, raw, strict=True))


def test_training_lowers_the_loss(trainer: DiffusionTrainer) -> None:
    losses = [trainer._step(step) for step in range(40)]
    assert sum(losses[-5:]) < 0.8 * sum(losses[:5])


def test_interrupted_it_goes_on_from_the_saved_step_to_the_same_weights(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = fit("digits", tmp_path / "whole", **TINY)
    made = DiffusionTrainer._step
    steps = []

    def stop_at_five(self: DiffusionTrainer, step: int) -> float:
        steps.append(step)
        if step == 5 and steps.count(5) == 1:
            raise KeyboardInterrupt
        return made(self, step)

    monkeypatch.setattr(DiffusionTrainer, "_step", stop_at_five)
    with pytest.raises(KeyboardInterrupt):
        fit("digits", tmp_path / "stopped", save_every=2, **TINY)
    assert not (tmp_path / "stopped/model_index.json").exists()
    torch.manual_seed(99)
    stopped = fit("digits", tmp_path / "stopped", save_every=2, **TINY)
    assert steps == [0, 1, 2, 3, 4, 5, 4, 5]
    for name, tensor in weights(whole).items():
        assert torch.equal(weights(stopped)[name], tensor), name
    assert not (stopped / ".state.pt").exists()


def test_the_seed_decides(tmp_path: Path) -> None:
    results = [weights(fit("digits", tmp_path / str(i), seed=seed, **TINY)) for i, seed in enumerate((0, 0, 1))]
    assert all(torch.equal(results[0][name], results[1][name]) for name in results[0])
    assert not all(torch.equal(results[0][name], results[2][name]) for name in results[0])


def test_run_again_when_complete_it_changes_nothing(tiny_generator: Path) -> None:
    before = snapshot(tiny_generator)
    fit("digits", tiny_generator, steps=3, batch_size=8, channels=[16])
    assert snapshot(tiny_generator) == before


def test_other_settings_are_refused_by_name(tiny_generator: Path) -> None:
    with pytest.raises(SettingsMismatchError, match=r"batch_size: 8 there, 9 asked"):
        fit("digits", tiny_generator, steps=3, batch_size=9, channels=[16])


def test_a_folder_without_a_saved_state_can_be_begun_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(DiffusionTrainer, "_step", lambda self, step: float("nan"))
        with pytest.raises(SioDataError, match="give a lower learning rate"):
            fit("digits", tmp_path / "out", learning_rate=1.0, **TINY)
    assert (fit("digits", tmp_path / "out", learning_rate=1e-4, **TINY) / "model_index.json").is_file()


def test_a_finished_folder_that_lost_its_weights_is_trained_again(tmp_path: Path) -> None:
    folder = fit("digits", tmp_path / "out", **TINY)
    before = weights(folder)
    shutil.rmtree(folder / "unet")
    fit("digits", folder, **TINY)
    assert all(torch.equal(before[name], tensor) for name, tensor in weights(folder).items())


def test_the_licence_is_the_sources_and_part_of_the_settings(tmp_path: Path) -> None:
    folder = fit("digits#train", tmp_path / "out", **TINY)
    assert "license: cc-by-4.0" in (folder / "README.md").read_text()
    with pytest.raises(SettingsMismatchError, match=r'licence: "cc-by-4\.0" there, "mit" asked'):
        fit("digits#train", folder, licence="mit", **TINY)


def test_a_full_disk_is_an_error_not_a_crash(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise RuntimeError("file write failed\nwith a stack")

    monkeypatch.setattr(torch, "save", fail)
    with pytest.raises(SioDataError, match=r"cannot be written: file write failed$"):
        fit("digits", tmp_path / "out", **TINY)


def test_images_without_a_label_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ClassMapError, match="have no label"):
        fit("textures#test", tmp_path / "out", **TINY)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"steps": 0}, "steps"),
        ({"batch_size": 0}, "batch_size"),
        ({"learning_rate": 0}, "learning_rate"),
        ({"learning_rate": float("nan")}, "learning_rate"),
        ({"channels": [10]}, "multiples of 16"),
        ({"channels": [16, 16, 16, 16, 16]}, "cannot be halved 4 times"),
        ({"image_size": 9, "channels": [16, 16]}, "divisible by 2"),
        ({"save_every": 0}, "save_every"),
        ({"device": "abacus"}, "abacus"),
        ({"device": "meta"}, "meta"),
        ({"image_size": 0}, "image_size"),
    ],
)
def test_bad_input_is_refused_before_a_folder_is_made(tmp_path: Path, change: dict[str, object], message: str) -> None:
    with pytest.raises(InputError, match=message):
        fit("digits", tmp_path / "out", **{**TINY, **change})
    assert not (tmp_path / "out").exists()


def test_a_folder_that_holds_something_else_is_refused(tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").touch()
    with pytest.raises(FolderInUseError):
        fit("digits", tmp_path, **TINY)


def test_a_damaged_state_is_refused_not_trusted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import pickle

    class Harm:
        def __reduce__(self) -> tuple[object, ...]:
            return Path.touch, (tmp_path / "harm",)

    def fail(self: object, step: int) -> float:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(DiffusionTrainer, "_step", fail)
        with pytest.raises(KeyboardInterrupt):
            fit("digits", tmp_path / "out", **TINY)
    for content in (b"", b"junk", pickle.dumps(Harm(), protocol=2)):
        (tmp_path / "out/.state.pt").write_bytes(content)
        with pytest.raises(InputError, match="is damaged"):
            fit("digits", tmp_path / "out", **TINY)
    assert not (tmp_path / "harm").exists()


def test_a_loss_that_explodes_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(DiffusionTrainer, "_step", lambda self, step: float("nan"))
    with pytest.raises(SioDataError, match="the loss became nan at step 0"):
        fit("digits", tmp_path / "out", **TINY)
