import json
import pickle
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import requests
import torch
from pytorch_pretrained_biggan import BigGAN, BigGANConfig, file_utils

from sio_data.errors import InputError
from sio_data.files import sha256_file
from sio_data.generator import Generator, open_generator
from sio_data.generators.biggan import BigGANGenerator, _truncated_noise

Edit = Callable[[dict[str, Any]], object]
LABELS, SEEDS = torch.tensor([0, 1, 2, 9]), [5, 6, 7, 8]


def build(classes: int) -> BigGAN:
    """A random network of 16 pixels; some passes in training mode make spectral norm's vectors converge."""
    layers = [(False, 16, 16), (True, 16, 8), (False, 8, 4), (True, 4, 2), (False, 2, 1)]
    config = BigGANConfig(16, 8, 8, 8, classes, layers, attention_layer_position=3)
    with torch.random.fork_rng(), torch.no_grad():
        torch.manual_seed(0)
        network = BigGAN(config)
        torch.nn.init.constant_(network.generator.bn.weight, 0.1)
        torch.nn.init.zeros_(network.generator.bn.bias)
        for _ in range(20):
            network(torch.randn(2, 8), torch.eye(classes)[:2], 1.0)
        for name, values in network.named_buffers():
            if name.endswith("running_means"):
                values.copy_(torch.linspace(0, 0.1, len(values))[:, None].expand_as(values))
            elif name.endswith("running_vars"):
                values.fill_(0.1)
    return network.eval()


def save(network: BigGAN, folder: Path) -> Path:
    folder.mkdir()
    torch.save(network.state_dict(), folder / "pytorch_model.bin")
    (folder / "config.json").write_text(network.config.to_json_string())
    return folder


@pytest.fixture(scope="module")
def network() -> BigGAN:
    return build(10)


@pytest.fixture(scope="module")
def folder(network: BigGAN, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save(network, tmp_path_factory.mktemp("biggan") / "tiny")


@pytest.fixture
def copy(folder: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(folder, tmp_path / "copy"))


def open_with(folder: Path, **sampling: str) -> Generator:
    return open_generator("biggan", str(folder), sampling=sampling)


def difference(one: torch.Tensor, other: torch.Tensor) -> int:
    return int((one.int() - other.int()).abs().max())


def test_it_tells_what_it_is_without_building_the_network(folder: Path) -> None:
    backend = open_with(folder, truncation="0.4")
    assert isinstance(backend, BigGANGenerator)
    assert backend.class_names == tuple(map(str, range(10)))
    assert backend.image_size == 16
    assert backend.sampling == {"truncation": 0.4}
    assert backend.licence == "unknown"
    assert "1809.11096" in backend.citation
    assert "_network" not in vars(backend)


def test_samples_depend_on_nothing_but_label_and_seed(folder: Path) -> None:
    backend = open_with(folder)
    together = backend.sample(LABELS, SEEDS)
    assert together.dtype == torch.uint8
    assert together.shape == (4, 3, 16, 16)
    torch.manual_seed(1)
    assert torch.equal(together, open_with(folder).sample(LABELS, SEEDS))
    alone = torch.cat([backend.sample(LABELS[i : i + 1], SEEDS[i : i + 1]) for i in range(4)])
    assert difference(together, alone) <= 1


def test_labels_and_seeds_both_reach_the_network(folder: Path) -> None:
    one, other_label, other_seed = open_with(folder).sample(torch.tensor([3, 4, 3]), [1, 1, 2])
    assert difference(one, other_label) > 1
    assert difference(one, other_seed) > 1


@pytest.mark.parametrize("truncation", [1.0, 0.5])
def test_images_are_those_that_the_library_draws_from_truncated_noise(
    folder: Path, network: BigGAN, truncation: float
) -> None:
    generators = [torch.Generator().manual_seed(seed) for seed in SEEDS]
    rows = [torch.nn.init.trunc_normal_(torch.empty(8), a=-2, b=2, generator=generator) for generator in generators]
    with torch.no_grad():
        images = network(torch.stack(rows) * truncation, torch.eye(10)[LABELS], truncation)
    drawn = open_with(folder, truncation=str(truncation)).sample(LABELS, SEEDS)
    assert difference(drawn, ((images + 1) * 127.5).round().to(torch.uint8)) <= 1


def test_noise_is_cut_off_at_two_standard_deviations() -> None:
    noise = _truncated_noise(2000, [0, 1])
    assert 1.9 < noise.abs().max() <= 2
    assert 0.85 < noise.std() < 0.91
    assert not torch.equal(noise[0], noise[1])


def test_truncation_shrinks_the_noise_and_changes_the_images(folder: Path) -> None:
    wide, narrow = (open_with(folder, truncation=value).sample(LABELS, SEEDS) for value in ("1", "0.1"))
    assert difference(wide, narrow) > 1


@pytest.mark.parametrize(("truncation", "row"), [("0.3", 15), ("0.31", 15.5), ("0.02", 1), ("1", 50)])
def test_batch_norm_uses_the_statistics_of_the_truncation(folder: Path, truncation: str, row: float) -> None:
    backend = open_with(folder, truncation=truncation)
    assert isinstance(backend, BigGANGenerator)
    seen: list[torch.Tensor] = []
    means = backend._network.generator.bn.running_means
    backend._network.generator.bn.register_forward_pre_hook(lambda module, inputs: seen.append(module.running_means))
    backend.sample(LABELS[:1], SEEDS[:1])
    assert torch.allclose(seen[0], torch.full_like(means, 0.1 * row / 50), atol=1e-6)


@pytest.mark.parametrize("truncation", ["0", "0.01", "1.1", "nan", "much"])
def test_truncations_without_statistics_are_refused(folder: Path, truncation: str) -> None:
    with pytest.raises(InputError, match="truncation"):
        open_with(folder, truncation=truncation)


def test_the_least_truncation_is_that_of_the_weights(copy: Path) -> None:
    edit_config(copy, lambda config: config.update(n_stats=11))
    with pytest.raises(InputError, match=r"11 truncations, none of them for 0\.05"):
        open_with(copy, truncation="0.05")


def test_images_are_made_smaller_on_demand_but_not_larger(folder: Path) -> None:
    own = open_with(folder).sample(LABELS, SEEDS)
    small = open_generator("biggan", str(folder), image_size=8).sample(LABELS, SEEDS)
    assert small.shape == (4, 3, 8, 8)
    assert (own.float().mean((2, 3)) - small.float().mean((2, 3))).abs().max() < 2
    with pytest.raises(InputError, match="16 pixels and can make them smaller, not 32"):
        open_generator("biggan", str(folder), image_size=32)


def test_a_thousand_classes_are_those_of_imagenet(tmp_path: Path) -> None:
    folder = save(build(1000), tmp_path / "imagenet")
    names = open_with(folder).class_names
    assert (len(names), names[0], names[207]) == (1000, "tench", "golden retriever")
    assert open_generator("biggan", str(folder), classes=["n01440764"]).class_names[0] == "n01440764"


def test_other_classes_can_be_named(folder: Path) -> None:
    names = tuple("abcdefghij")
    assert open_generator("biggan", str(folder), classes=names).class_names == names


def test_revision_is_the_hash_of_config_and_weights(folder: Path, copy: Path) -> None:
    (copy / "notes.txt").write_text("of no weight")
    assert open_with(copy).revision == open_with(folder).revision
    state = torch.load(copy / "pytorch_model.bin", weights_only=True)
    torch.save(state | {"embeddings.weight": state["embeddings.weight"] + 1}, copy / "pytorch_model.bin")
    assert open_with(copy).revision != open_with(folder).revision


def test_a_name_is_downloaded_by_the_library(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    def fetch(url: str, cache: object) -> str:
        asked.append(url)
        return str(folder / ("config.json" if url.endswith("config.json") else "pytorch_model.bin"))

    monkeypatch.setattr(file_utils, "get_from_cache", fetch)
    backend = open_generator("biggan", "biggan-deep-256")
    assert [url.rpartition("/")[2] for url in asked] == [
        "biggan-deep-256-config.json",
        "biggan-deep-256-pytorch_model.bin",
    ]
    assert backend.licence == "apache-2.0"
    assert backend.revision == open_with(folder).revision
    assert backend.sample(LABELS, SEEDS).shape == (4, 3, 16, 16)


def test_without_network_a_name_is_refused(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def fail(*args: object, **options: object) -> None:
        raise requests.ConnectionError

    monkeypatch.setattr(requests, "head", fail)
    monkeypatch.setattr(file_utils, "PYTORCH_PRETRAINED_BIGGAN_CACHE", tmp_path)
    with pytest.raises(
        InputError, match=r"'biggan-deep-128' cannot be downloaded.*Check the network, or name a folder"
    ):
        open_generator("biggan", "biggan-deep-128")


def test_a_folder_that_is_missing_or_of_something_else_is_refused(copy: Path) -> None:
    with pytest.raises(InputError, match="no such folder, and none of biggan-deep-128"):
        open_generator("biggan", "biggan-deep-64")
    (copy / "pytorch_model.bin").unlink()
    with pytest.raises(InputError, match=r"it holds no pytorch_model\.bin"):
        open_with(copy)


def edit_config(folder: Path, edit: Edit) -> None:
    config = json.loads((folder / "config.json").read_text())
    edit(config)
    (folder / "config.json").write_text(json.dumps(config))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"num_classes": "ten"}, "num_classes: not a value"),
        ({"z_dim": 0}, "z_dim: not a value"),
        ({"channel_width": 10**9}, "channel_width: not a value"),
        ({"layers": [[True, 16, 1]]}, "layers: not a value"),
        ({"layers": 3, "eps": "small"}, "layers, eps: not a value"),
        ({"attention_layer_position": None}, "attention_layer_position: not a value"),
        ({"output_dim": 128}, "output_dim is 128, but its layers draw 16 pixels"),
        ({"n_stats": 1}, "statistics for 1 truncations"),
        ({"attention_layer_position": 4}, r"does not fit its config\.json: missing"),
    ],
)
def test_a_config_with_senseless_values_is_refused(copy: Path, change: dict[str, object], message: str) -> None:
    edit_config(copy, lambda config: config.update(change))
    with pytest.raises(InputError, match=message):
        open_with(copy)


def test_a_damaged_config_is_refused(copy: Path) -> None:
    (copy / "config.json").write_text("{")
    with pytest.raises(InputError, match="not a readable JSON file"):
        open_with(copy)


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        (lambda state: state.pop("embeddings.weight"), r"missing: embeddings\.weight \(1\)"),
        (lambda state: state.update(extra=torch.zeros(1)), r"unexpected: extra \(1\)"),
        (
            lambda state: state.update({"embeddings.weight": torch.zeros(8, 11)}),
            r"of another shape: embeddings\.weight \(1\)",
        ),
        (lambda state: state.update(extra="text"), "no table of tensors"),
    ],
)
def test_weights_that_do_not_fit_the_config_are_refused(copy: Path, edit: Edit, message: str) -> None:
    state = torch.load(copy / "pytorch_model.bin", weights_only=True)
    edit(state)
    torch.save(state, copy / "pytorch_model.bin")
    with pytest.raises(InputError, match=message):
        open_with(copy)


@pytest.mark.parametrize("size", [0, 100, 20_000])
def test_weights_that_are_cut_off_are_refused(copy: Path, size: int) -> None:
    file = copy / "pytorch_model.bin"
    file.write_bytes(file.read_bytes()[:size])
    with pytest.raises(InputError, match="no sound weights"):
        open_with(copy)


def test_a_pickle_of_something_else_is_refused_and_not_run(copy: Path) -> None:
    trace = copy / "trace"

    class Hostile:
        def __reduce__(self) -> tuple[object, ...]:
            return Path.touch, (trace,)

    for write in (torch.save, lambda value, file: file.write_bytes(pickle.dumps(value, 2))):
        write({"embeddings.weight": Hostile()}, copy / "pytorch_model.bin")
        with pytest.raises(InputError, match="no sound weights"):
            open_with(copy)
    assert not trace.exists()


def test_weights_of_the_old_format_load(folder: Path, copy: Path) -> None:
    """The released weights are of 2019, when torch.save wrote no zip files."""
    state = torch.load(copy / "pytorch_model.bin", weights_only=True)
    torch.save(state, copy / "pytorch_model.bin", _use_new_zipfile_serialization=False)
    assert sha256_file(copy / "pytorch_model.bin") != sha256_file(folder / "pytorch_model.bin")
    assert torch.equal(open_with(copy).sample(LABELS, SEEDS), open_with(folder).sample(LABELS, SEEDS))
