"""A hostile or damaged file of an exported program is refused, and nothing in it runs."""

import io
import os
import pickle
import shutil
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from exported_programs import LABELS, SEEDS, Tiny, edit_json, export, make, nodes, open_file, rewrite

from sio_data.errors import InputError
from sio_data.generators.aten_operators import find_operator
from sio_data.generators.pt2 import _read_tensor

MODEL = "models/model.json"


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return export(make(Tiny), tmp_path_factory.mktemp("exported") / "tiny.pt2")


@pytest.fixture
def copy(program: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(program.parent, tmp_path / "copy")) / program.name


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
        "torch.ops.aten.max_pool2d_with_indices_backward.default",
        "torch.ops.aten.segment_reduce.default",
        "torch.ops.aten.sparse_csr_tensor.crow_col_value_size",
        "torch.ops.aten.ctc_loss.IntList",
        "torch.ops.aten.set_.source_Tensor_storage_offset",
        "torch.ops.aten.resize_.default",
        "torch.ops.aten.as_strided.default",
        "torch.ops.aten.empty.memory_format",
        "torch.ops.aten.new_empty.default",
        "torch.ops.aten.set_grad_enabled.default",
        "torch.ops.aten._native_batch_norm_legit.default",
        "torch.ops.aten.add.out",
        "torch.ops.aten.add.str",
        "torch.ops.aten.mul.left_t",
        "torch.ops.aten.view.dtype",
        "torch.ops.aten.to.prim_dtype",
        "torch.ops.aten.repeat_interleave.Tensor",
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


def call(target: str, *positional: object) -> object:
    return find_operator(*target.split("."))(*positional)


ONES, WIDE = torch.ones(1), torch.ones(1, 9, 2, 2)
NINE = torch.ones(9)
LEAST = torch.tensor([-(2**63)])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("_native_batch_norm_legit_no_training.default", WIDE, None, None, ONES, NINE, 0.1, 1e-5), "running_mean"),
        (("_native_batch_norm_legit_no_training.default", WIDE, None, None, NINE, ONES, 0.1, 1e-5), "running_var"),
        (("_native_batch_norm_legit_no_training.default", WIDE, ONES, None, NINE, NINE, 0.1, 1e-5), "weight"),
        (("_native_batch_norm_legit_no_training.default", WIDE, None, None, None, None, 0.1, 1e-5), "missing"),
        (("_native_batch_norm_legit_no_training.default", ONES, None, None, ONES, ONES, 0.1, 1e-5), "too few"),
        (("batch_norm.default", WIDE, None, None, NINE, ONES, False, 0.1, 1e-5, False), "running_var"),
        (("_native_batch_norm_legit.no_stats", WIDE, None, None, False, 0.1, 1e-5), "training mode only"),
        (("_native_batch_norm_legit.no_stats", WIDE.repeat(2, 1, 1, 1), None, None, True, 0.1, 1e-5), "mixes"),
        (("native_group_norm.default", NINE[:2], None, None, 3, (2**64 + 2) // 3, 1, 1, 1e-5), "do not fit"),
        (("conv2d.default", WIDE, WIDE, None, [1, 1], [0, 0], [2**63 - 1, 1]), "dilation .* senseless"),
        (("avg_pool2d.default", WIDE, [2**32, 2**32]), "kernel_size .* senseless"),
        (("to.dtype", WIDE, 1000), "no dtype"),
        (("to.dtype", WIDE, torch.float64, False, False, 4), "no memory_format"),
        (("upsample_nearest2d.default", WIDE, [4, 4], 1e-300, 1e-300), "scale"),
        (("upsample_nearest2d.vec", WIDE, None, [float("nan"), 2.0]), "scale"),
        (("embedding.default", WIDE[0, 0], torch.tensor([10**9])), "out of range"),
        (("gather.default", NINE, 0, torch.tensor([10**9])), "out of bounds"),
        (("index.Tensor", NINE, [torch.tensor([-(10**9)])]), "out of bounds"),
        (("index_put.default", NINE, [torch.tensor([10**9])], ONES), "out of bounds"),
        (("scatter_add.default", NINE, 0, torch.tensor([10**9]), ONES), "out of bounds"),
    ],
    ids=lambda value: value[0] if isinstance(value, tuple) else "",
)
def test_operators_do_not_reach_beyond_their_tensors(arguments: tuple[Any, ...], message: str) -> None:
    with pytest.raises((ValueError, IndexError, RuntimeError), match=message):
        call(*arguments)


def test_a_division_that_would_stop_the_process_is_refused() -> None:
    divide = find_operator("div", "Tensor_mode")
    with pytest.raises(ValueError, match="'trunc'"):
        divide(LEAST, torch.tensor([-1]), rounding_mode="trunc")
    assert divide(NINE, 2, rounding_mode="trunc").sum() == 0


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


@pytest.mark.parametrize("member", [MODEL, "data/weights/weight_0"])
def test_members_that_are_compressed_are_not_read(copy: Path, member: str) -> None:
    """They could be a thousand times as long as the file."""
    with zipfile.ZipFile(copy) as archive:
        members = {entry.filename: archive.read(entry) for entry in archive.infolist()}
    with zipfile.ZipFile(copy, "w") as archive:
        for name, data in members.items():
            archive.writestr(name, data, zipfile.ZIP_DEFLATED if name.endswith(member) else zipfile.ZIP_STORED)
    with pytest.raises(InputError, match=f"{member} is compressed"):
        open_file(copy).sample(LABELS, SEEDS)


def test_weights_larger_than_their_bytes_are_refused(copy: Path) -> None:
    """Repeated by strides of zero, a few bytes would fill the memory."""

    def stretch(entries: dict[str, Any]) -> None:
        meta = entries["config"]["classes.weight"]["tensor_meta"]
        meta.update(sizes=[{"as_int": 10**14}], strides=[{"as_int": 0}])

    edit_json(copy, "data/weights/model_weights_config.json", stretch)
    with pytest.raises(InputError, match="has 96 bytes, too few"):
        open_file(copy).sample(LABELS, SEEDS)


def test_truth_values_are_read_as_zero_or_one() -> None:
    def read(name: str) -> torch.Tensor:
        return torch.tensor([0, 1, 255], dtype=torch.uint8)

    meta = {"dtype": 12, "sizes": [{"as_int": 3}], "strides": [{"as_int": 1}], "storage_offset": {"as_int": 0}}
    truths = _read_tensor(read, "weights", {"path_name": "a", "tensor_meta": meta})
    assert truths.view(torch.uint8).tolist() == [0, 1, 1]


@pytest.mark.parametrize(
    ("target", "values"),
    [
        ("_operator.mul", [{"as_string": "a"}, {"as_int": 10**14}]),
        ("_operator.mul", [{"as_ints": [1]}, {"as_int": 10**14}]),
        ("_operator.pow", [{"as_int": 7}, {"as_int": 10**9}]),
        ("_operator.mul", [{"as_int": 2**40}, {"as_int": 2**40}]),
        ("torch.ops.aten.zeros.default", [{"as_ints": [10**14]}]),
    ],
)
def test_what_would_fill_the_memory_is_refused(copy: Path, target: str, values: list[dict[str, Any]]) -> None:
    inputs = [{"name": "", "arg": value, "kind": 1} for value in values]
    node = {"target": target, "inputs": inputs, "outputs": [{"as_sym_int": {"as_name": "extra"}}]}
    edit_json(copy, MODEL, lambda model: nodes(model).insert(0, node))
    with pytest.raises(InputError, match=f"fails in {target}"):
        open_file(copy).sample(LABELS, SEEDS)


def test_memory_that_runs_out_is_told(copy: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object, **__: object) -> None:
        raise MemoryError

    with monkeypatch.context() as patch:
        patch.setattr("sio_data.generators.aten_operators._check", fail)
        with pytest.raises(InputError, match=r"fails in .*MemoryError"):
            open_file(copy).sample(LABELS, SEEDS)
    monkeypatch.setattr(zipfile.ZipFile, "read", fail)
    with pytest.raises(InputError, match="MemoryError"):
        open_file(copy)


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
