import io
import json
import os
import pickle
import shutil
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from sio_data.backend import seeded_noise
from sio_data.errors import InputError
from sio_data.generator import Generator, open_generator
from sio_data.generators.exported import ExportedGenerator
from sio_data.generators.pt2 import Program

CARD = {"classes": ["cat", "dog", "owl"], "range": [-1, 1]}
LABELS, SEEDS = torch.tensor([0, 1, 2, 1, 0]), [5, 6, 7, 8, 9]
BATCH = torch.export.Dim("batch")
MODEL = "models/model.json"


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


@pytest.fixture(scope="module")
def network() -> nn.Module:
    return make(Tiny)


@pytest.fixture(scope="module")
def program(network: nn.Module, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return export(network, tmp_path_factory.mktemp("exported") / "tiny.pt2")


@pytest.fixture
def copy(program: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(program.parent, tmp_path / "copy")) / program.name


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


def nodes(model: dict[str, Any]) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = model["graph_module"]["graph"]["nodes"]
    return found


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
        hidden = F.interpolate(F.silu(self.group(hidden)), scale_factor=2, mode="bilinear")
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


def test_revision_is_the_hash_of_program_and_card(program: Path, copy: Path) -> None:
    (copy.parent / "notes.txt").write_text("of no weight")
    assert open_file(copy).revision == open_file(program).revision
    edit_card(copy, range=[0, 1])
    assert open_file(copy).revision != open_file(program).revision


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


def draw_grey(z: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    return z[:, :4].view(-1, 1, 2, 2) * labels.view(-1, 1, 1, 1)


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


class Hostile:
    def __init__(self, trace: Path) -> None:
        self.trace = trace

    def __reduce__(self) -> tuple[object, ...]:
        return os.system, (f"touch {self.trace}",)


def pickled(trace: Path) -> bytes:
    buffer = io.BytesIO()
    torch.save(Hostile(trace), buffer)
    return buffer.getvalue()


@pytest.mark.parametrize(
    ("config", "member", "name"),
    [
        ("data/weights/model_weights_config.json", "data/weights/weight_0", "classes.weight"),
        ("data/constants/model_constants_config.json", "data/constants/tensor_0", "gain"),
    ],
)
def test_a_pickle_in_the_place_of_weights_is_refused_and_not_run(
    copy: Path, tmp_path: Path, config: str, member: str, name: str
) -> None:
    rewrite(copy, lambda members: members.update({member: pickled(tmp_path / "trace")}))
    edit_json(copy, config, lambda entries: entries["config"][name].update(use_pickle=True))
    with pytest.raises(InputError, match=f"keeps {name!r} as a pickle, which is not read: it could run code"):
        open_file(copy)
    assert not (tmp_path / "trace").exists()


def test_pickles_that_are_not_needed_are_never_read(program: Path, copy: Path, tmp_path: Path) -> None:
    def plant(members: dict[str, bytes]) -> None:
        assert "data/sample_inputs/model.pt" in members
        for name in ("data/sample_inputs/model.pt", "data/weights/model.pt", "data/constants/model.pt"):
            members[name] = pickled(tmp_path / "trace")
        members["data/constants/opaque_obj_0"] = pickle.dumps(Hostile(tmp_path / "trace"))
        members["data/aotinductor/model/model.so"] = b"native code"

    rewrite(copy, plant)
    assert torch.equal(open_file(copy).sample(LABELS, SEEDS), open_file(program).sample(LABELS, SEEDS))
    assert not (tmp_path / "trace").exists()


def test_an_archive_of_an_older_format_is_refused_and_not_run(copy: Path, tmp_path: Path) -> None:
    with zipfile.ZipFile(copy, "w") as archive:
        archive.writestr("version", "8.20")
        for name in ("state_dict", "constants", "example_inputs"):
            archive.writestr(f"serialized_{name}.pt", pickled(tmp_path / "trace"))
    with pytest.raises(InputError, match=r"no program of torch\.export\.save .* Save it again"):
        open_file(copy)
    assert not (tmp_path / "trace").exists()


@pytest.mark.parametrize(
    "target",
    [
        "torch.os.system",
        "torch.ops.os.system",
        "torch.ops.aten.save.default",
        "torch.ops.aten.from_file.default",
        "torch.ops.aten._unsafe_index.Tensor",
        "torch.ops.aten.__class__.mro",
        "torch.ops.aten.name.join",
        "torch.ops.aten.no_such.default",
        "torch.ops.prim.Print.default",
        "torch.ops.higher_order.cond",
        "torch.load",
        "_operator.attrgetter",
        "math.factorial",
        "#namespace:name",
    ],
)
def test_a_program_calls_nothing_but_operators_of_torch(copy: Path, tmp_path: Path, target: str) -> None:
    command = {"name": "", "arg": {"as_string": f"touch {tmp_path / 'trace'}"}, "kind": 1}
    edit_json(copy, MODEL, lambda model: nodes(model)[0].update(target=target, inputs=[command]))
    with pytest.raises(InputError, match="the program calls"):
        open_file(copy)
    assert not (tmp_path / "trace").exists()


def test_texts_that_torch_would_evaluate_are_not(copy: Path, tmp_path: Path) -> None:
    code = f"__import__('os').system('touch {tmp_path / 'trace'}')"

    def plant(model: dict[str, Any]) -> None:
        graph = model["graph_module"]["graph"]
        graph["sym_int_values"] = {"size": {"as_expr": {"expr_str": code, "hint": None}}}
        model["guards_code"] = [code]
        for node in graph["nodes"]:
            node["name"] = code

    edit_json(copy, MODEL, plant)
    open_file(copy).sample(LABELS, SEEDS)

    def plant_size(model: dict[str, Any]) -> None:
        model["graph_module"]["graph"]["tensor_values"]["z"]["sizes"][0]["as_expr"]["expr_str"] = code

    edit_json(copy, MODEL, plant_size)
    with pytest.raises(InputError, match="takes batches of __import__"):
        open_file(copy)
    assert not (tmp_path / "trace").exists()


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        (lambda model: model.update(schema_version={"major": 7, "minor": 1}), "is written in format .*Save it again"),
        (lambda model: model.pop("graph_module"), "is damaged"),
        (lambda model: nodes(model)[1].update(inputs=3), "is damaged"),
        (lambda model: nodes(model)[1]["inputs"][0].update(arg={"as_operator": "a"}), "argument of the kind"),
        (lambda model: nodes(model)[1]["inputs"].pop(), "fails in"),
        (lambda model: nodes(model)[1]["inputs"][0].update(arg={"as_tensor": {"name": "lost"}}), "fails in.*lost"),
    ],
)
def test_a_damaged_program_is_refused(copy: Path, edit: Callable[[dict[str, Any]], object], message: str) -> None:
    edit_json(copy, MODEL, edit)
    with pytest.raises(InputError, match=message):
        open_file(copy).sample(LABELS, SEEDS)


def test_weights_that_are_too_small_are_refused(copy: Path) -> None:
    rewrite(copy, lambda members: members.update({"data/weights/weight_0": b"1234"}))
    with pytest.raises(InputError, match="is damaged"):
        open_file(copy).sample(LABELS, SEEDS)


@pytest.mark.parametrize("cut", [0, 1000, -1000])
def test_a_file_that_is_cut_off_is_refused(copy: Path, cut: int) -> None:
    copy.write_bytes(copy.read_bytes()[:cut])
    with pytest.raises(InputError, match="is damaged"):
        open_file(copy)


def test_a_flipped_bit_in_the_weights_is_noticed(copy: Path) -> None:
    data = bytearray(copy.read_bytes())
    with zipfile.ZipFile(copy) as archive:
        weights = next(archive.read(name) for name in archive.namelist() if name.endswith("weights/weight_0"))
    data[data.index(weights)] ^= 1
    copy.write_bytes(data)
    with pytest.raises(InputError, match="is damaged"):
        open_file(copy).sample(LABELS, SEEDS)
