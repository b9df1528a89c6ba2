import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from exported_programs import (
    BATCH,
    LABELS,
    SEEDS,
    Tiny,
    difference,
    draw_grey,
    edit_card,
    expected,
    export,
    make,
    open_file,
    rewrite,
)
from torch import nn

from sio_data.errors import InputError
from sio_data.generator import open_generator
from sio_data.generators.exported import ExportedGenerator
from sio_data.generators.pt2 import Program


@pytest.fixture(scope="module")
def network() -> nn.Module:
    return make(Tiny)


@pytest.fixture(scope="module")
def program(network: nn.Module, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return export(network, tmp_path_factory.mktemp("exported") / "tiny.pt2")


@pytest.fixture
def copy(program: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(program.parent, tmp_path / "copy")) / program.name


def test_it_tells_what_it_is_without_reading_the_weights(copy: Path) -> None:
    edit_card(copy, licence="mit", citation="Me, 2024", z=[8])
    backend = open_file(copy)
    assert isinstance(backend, ExportedGenerator)
    assert backend.class_names == ("cat", "dog", "owl")
    assert (backend.image_size, backend.licence, backend.citation) == (8, "mit", "Me, 2024")
    assert backend.sampling == {}
    assert "_weights" not in vars(backend)


def test_images_are_those_of_the_network(program: Path, network: nn.Module) -> None:
    drawn = open_file(program).sample(LABELS, SEEDS)
    assert drawn.dtype == torch.uint8
    assert drawn.shape == (5, 3, 8, 8)
    assert drawn.float().std() > 10
    assert difference(drawn, expected(network)) <= 1


def test_samples_depend_on_nothing_but_label_and_seed(program: Path) -> None:
    backend = open_file(program)
    together = backend.sample(LABELS, SEEDS)
    torch.manual_seed(1)
    assert torch.equal(together, open_file(program).sample(LABELS, SEEDS))
    alone = torch.cat([backend.sample(LABELS[i : i + 1], SEEDS[i : i + 1]) for i in range(5)])
    assert difference(together, alone) <= 1
    one, other_label, other_seed = backend.sample(torch.tensor([0, 1, 0]), [1, 1, 2])
    assert difference(one, other_label) > 1
    assert difference(one, other_seed) > 1


class Layers(nn.Module):
    """The layers that generators are usually made of."""

    def __init__(self) -> None:
        super().__init__()
        self.group = nn.GroupNorm(2, 8)
        self.attention = nn.MultiheadAttention(8, 2, batch_first=True)
        self.norm = nn.LayerNorm(8)
        self.instance = nn.InstanceNorm2d(8)
        self.draw = nn.Conv2d(8, 3, 3, padding=1)

    def forward(self, z: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        hidden = torch.cat([z, F.one_hot(labels, 3), torch.ones(z.shape[0], 21)], 1).view(-1, 8, 2, 2)
        hidden = F.max_pool2d(F.interpolate(F.silu(self.group(hidden)), scale_factor=4, mode="bilinear"), 2)
        tokens = self.norm(hidden.flatten(2).transpose(1, 2))
        tokens = tokens + self.attention(tokens, tokens, tokens)[0]
        tokens = F.scaled_dot_product_attention(tokens, tokens, tokens)
        hidden = self.instance(tokens.transpose(1, 2).reshape(-1, 8, 4, 4)).to(torch.float16).float()
        hidden = F.interpolate(F.pixel_shuffle(hidden.repeat(1, 4, 1, 1), 2), (8, 8), mode="bicubic", antialias=True)
        return torch.tanh(self.draw(F.gelu(hidden)) * torch.rsqrt(hidden.square().mean((1, 2, 3), keepdim=True) + 1e-4))


@pytest.mark.filterwarnings("ignore:.*LeafSpec:FutureWarning")  # torch's own, in run_decompositions
@pytest.mark.parametrize("decomposed", [False, True])
def test_the_usual_layers_run(tmp_path: Path, decomposed: bool) -> None:
    network = make(Layers)
    file = export(network, tmp_path / "layers.pt2", decomposed=decomposed)
    assert difference(open_file(file).sample(LABELS, SEEDS), expected(network)) <= 1


@pytest.mark.parametrize(
    ("batch", "bounds"), [(None, (4, 4)), (torch.export.Dim("batch", min=2, max=4), (2, 4))], ids=["fixed", "bounded"]
)
def test_a_batch_that_is_fixed_or_bounded_is_kept_to(
    network: nn.Module, tmp_path: Path, batch: object, bounds: tuple[int, int]
) -> None:
    file = export(network, tmp_path / "tiny.pt2", batch)
    assert Program(file).batch == bounds
    assert difference(open_file(file).sample(LABELS, SEEDS), expected(network)) <= 1
    alone = open_file(file).sample(LABELS[:1], SEEDS[:1])
    assert difference(alone, expected(network)[:1]) <= 1


def test_all_of_it_runs_on_the_device_asked_for(program: Path) -> None:
    """The device `meta` computes nothing, but refuses to mix with another: the program makes zeros on `cpu`."""
    device, opened = torch.device("meta"), Program(program)
    (images,) = opened.run(opened.load(device), [torch.empty(3, 8, device=device), LABELS[:3].to(device)], device)
    assert images.device == device
    assert images.shape == (3, 3, 8, 8)


@pytest.mark.parametrize(("low", "high"), [(0, 1), (0, 255), (-2, 2)])
def test_range_says_what_is_black_and_white(tmp_path: Path, low: float, high: float) -> None:
    class Ramp(nn.Module):
        def forward(self, z: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
            ramp = torch.linspace(low, high, 4).expand(3, 4, 4)
            return ramp + 0 * (z.sum(1) + labels).view(-1, 1, 1, 1)

    file = export(Ramp(), tmp_path / "ramp.pt2", card={"range": [low, high]})
    assert open_file(file).sample(LABELS, SEEDS)[0, 0, 0].tolist() == [0, 85, 170, 255]


def test_uint8_images_come_out_as_they_are(tmp_path: Path) -> None:
    class Bytes(nn.Module):
        def forward(self, z: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
            grey = torch.arange(256).view(1, 1, 16, 16).expand(z.shape[0], 3, 16, 16)
            return (grey + labels.view(-1, 1, 1, 1)).to(torch.uint8)

    file = export(Bytes(), tmp_path / "bytes.pt2", card={"range": [0, 255]})
    assert open_file(file).sample(torch.tensor([0, 1]), [1, 2])[:, 2].flatten(1).tolist() == [
        list(range(256)),
        [*range(1, 256), 0],
    ]


def test_images_are_made_smaller_on_demand_but_not_larger(program: Path) -> None:
    assert open_generator("exported", str(program), image_size=4).sample(LABELS, SEEDS).shape == (5, 3, 4, 4)
    with pytest.raises(InputError, match="8 pixels and can make them smaller, not 16"):
        open_generator("exported", str(program), image_size=16)


def test_classes_can_be_a_group(copy: Path) -> None:
    edit_card(copy, classes=["cifar10"])
    assert open_file(copy).class_names[:2] == ("airplane", "automobile")


def test_revision_is_the_hash_of_what_decides_the_images(program: Path, copy: Path) -> None:
    revision = open_file(program).revision
    edit_card(copy, licence="mit", citation="Me, 2024", range=[-1.0, 1.0], z=[8])
    for suffix in (".pt2", ".json"):
        copy.with_suffix(suffix).rename(copy.with_name(f"other{suffix}"))
    other = copy.with_name("other.pt2")
    assert open_file(other).revision == revision
    edit_card(other, range=[0, 1])
    assert open_file(other).revision != revision
    edit_card(other, classes=["cat", "owl", "dog"])
    assert open_file(other).revision != revision
    edit_card(other)
    rewrite(other, lambda members: members.update({"extra/notes": b"more"}))
    assert open_file(other).revision != revision


@pytest.mark.parametrize(
    ("entries", "message"),
    [
        ({"z": [9]}, r"z is \[9\], but the program takes \[8\]"),
        ({"classes": []}, "classes must be a list of names"),
        ({"classes": ["cat", 1]}, "classes must be a list of names"),
        ({"range": [1, -1]}, "range must be the values"),
        ({"range": "tanh"}, "range must be the values"),
        ({"licence": 1}, "licence must be a text"),
        ({"license": "mit"}, "unknown entry .*'license'.* Did you mean 'licence'"),
    ],
)
def test_a_senseless_card_is_refused(copy: Path, entries: dict[str, object], message: str) -> None:
    edit_card(copy, **entries)
    with pytest.raises(InputError, match=message):
        open_file(copy)


def test_files_that_are_missing_are_refused(copy: Path) -> None:
    with pytest.raises(InputError, match=r"no such \.pt2 file"):
        open_file(copy.with_name("other.pt2"))
    with pytest.raises(InputError, match=r"no such \.pt2 file"):
        open_file(copy.with_suffix(".json"))
    copy.with_suffix(".json").unlink()
    with pytest.raises(InputError, match=r"tiny\.json: no such file"):
        open_file(copy)


def draw_wide(z: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    return draw_grey(z, labels).expand(-1, 3, -1, -1)[..., :1]


def draw_whole_numbers(z: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    return draw_grey(z, labels).expand(-1, 3, -1, -1).to(torch.int64)


def draw_two(z: torch.Tensor, labels: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    return draw_grey(z, labels), draw_grey(z, labels)


def draw_mixed_up(labels: torch.Tensor, z: torch.Tensor) -> torch.Tensor:
    return draw_grey(z, labels).expand(-1, 3, -1, -1)


def draw_own_noise(z: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    return torch.randn_like(draw_grey(z, labels).expand(-1, 3, -1, -1))


class Function(nn.Module):
    def __init__(self, function: Callable[..., Any]) -> None:
        super().__init__()
        self.forward = function


@pytest.mark.parametrize(
    ("function", "message"),
    [
        (draw_grey, r"gives float32 \['B', 1, 2, 2\], not images"),
        (draw_wide, r"gives float32 \['B', 3, 2, 1\], not images"),
        (draw_whole_numbers, r"gives int64 \['B', 3, 2, 2\], not images"),
        (draw_two, "gives float32 .*, float32 .*, not images"),
        (draw_mixed_up, "takes .*, not z"),
        (draw_own_noise, "draws random numbers of its own"),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_a_program_that_is_no_such_generator_is_refused(
    tmp_path: Path, function: Callable[..., Any], message: str
) -> None:
    inputs = {"z": torch.randn(2, 8), "labels": torch.tensor([0, 1])}
    names = [name for name in function.__annotations__ if name in inputs]
    exported = torch.export.export(
        Function(function), tuple(inputs[name] for name in names), dynamic_shapes={name: {0: BATCH} for name in names}
    )
    torch.export.save(exported, tmp_path / "other.pt2")
    edit_card(tmp_path / "other.pt2")
    with pytest.raises(InputError, match=message):
        open_file(tmp_path / "other.pt2").sample(LABELS, SEEDS)


def test_a_program_exported_in_training_mode_is_refused(network: nn.Module, tmp_path: Path) -> None:
    file = export(make(Tiny).train(), tmp_path / "tiny.pt2")
    with pytest.raises(InputError, match=r"training mode .*\. Call \.eval\(\)"):
        open_file(file)


class Centred(nn.Module):
    def forward(self, z: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        images = draw_grey(z, labels + 1).expand(-1, 3, -1, -1)
        return torch.tanh(images - images.mean(0, keepdim=True))


class Normed(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.BatchNorm2d(3, track_running_stats=False)

    def forward(self, z: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        images: torch.Tensor = self.norm(draw_grey(z, labels + 1).expand(-1, 3, -1, -1))
        return images


@pytest.mark.filterwarnings("ignore:.*LeafSpec:FutureWarning")  # torch's own, in run_decompositions
@pytest.mark.parametrize("batch", [BATCH, None], ids=["open", "fixed"])
@pytest.mark.parametrize(("kind", "decomposed"), [(Centred, False), (Centred, True), (Normed, True)])
def test_a_program_whose_images_depend_on_the_batch_is_refused(
    tmp_path: Path, kind: type[nn.Module], decomposed: bool, batch: object
) -> None:
    backend = open_file(export(make(kind), tmp_path / "mixing.pt2", batch, decomposed=decomposed))
    for _ in range(2):
        with pytest.raises(InputError, match="mixes the images of a batch"):
            backend.sample(LABELS[:1], SEEDS[:1])


def test_a_program_that_draws_in_its_attention_is_refused(tmp_path: Path) -> None:
    class Dropping(nn.Module):
        def forward(self, z: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
            tokens = draw_grey(z, labels + 1).expand(-1, 3, -1, -1)
            return F.scaled_dot_product_attention(tokens, tokens, tokens, dropout_p=0.5)

    with pytest.raises(InputError, match="draws random numbers of its own"):
        open_file(export(Dropping(), tmp_path / "dropping.pt2")).sample(LABELS, SEEDS)


def test_a_program_with_a_state_is_refused(tmp_path: Path) -> None:
    class Counting(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.register_buffer("count", torch.zeros(1))

        def forward(self, z: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
            self.count.add_(1)
            return draw_grey(z, labels).expand(-1, 3, -1, -1) * self.count

    with pytest.raises(InputError, match="changes its own weights"):
        open_file(export(Counting(), tmp_path / "counting.pt2")).sample(LABELS, SEEDS)


def test_a_batch_that_must_be_even_is_refused(tmp_path: Path) -> None:
    class Pairs(nn.Module):
        def forward(self, z: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
            images = draw_grey(z, labels).expand(-1, 3, -1, -1)
            return images + images.view(-1, 2, 3, 2, 2).mean(1).repeat_interleave(2, 0)

    file = export(Pairs(), tmp_path / "pairs.pt2", 2 * torch.export.Dim("half"))
    with pytest.raises(InputError, match=r"takes batches of .* only\. Export it with torch\.export\.Dim"):
        open_file(file)


def test_a_label_that_the_program_does_not_know_is_told(copy: Path) -> None:
    edit_card(copy, classes=["cat", "dog", "owl", "yak"])
    with pytest.raises(
        InputError, match=r"the program fails in torch\.ops\.aten\.embedding\.default: index out of range"
    ):
        open_file(copy).sample(torch.tensor([3]), [0])
