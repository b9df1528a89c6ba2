import io
import os
import pickle
import struct
import sys
import zipfile
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from sio_data.errors import InputError
from sio_data.generators.nvlabs_pickle import read_network
from tests.generators.nvlabs_files import TINY, EasyDict, Persistent, as_module, dump, made_up_tensors, write_network


class Call:
    """Pickles as a call."""

    def __init__(self, function: Callable[..., Any], *arguments: Any, state: Any = None) -> None:
        self.parts = (function, arguments) if state is None else (function, arguments, state)

    def __reduce__(self) -> tuple[Any, ...]:
        return self.parts


@pytest.fixture
def marker(tmp_path: Path) -> Path:
    return tmp_path / "ran"


def refuse(path: Path, message: str) -> None:
    with pytest.raises(InputError, match=message) as refused:
        read_network(path, "G_ema")
    assert str(refused.value).startswith(f"{path}: ")


def storage_record(data: bytes) -> Call:
    return Call(torch.storage._load_from_bytes, data)


def tensor_record(data: bytes, *, offset: object = 0, shape: object = (2,), stride: object = (1,)) -> Call:
    return Call(torch._utils._rebuild_tensor_v2, storage_record(data), offset, shape, stride, False, OrderedDict())


def saved(values: torch.Tensor) -> bytes:
    data = io.BytesIO()
    torch.save(values._typed_storage(), data, _use_new_zipfile_serialization=False)
    return data.getvalue()


def network(parameters: dict[str, Any], **state: Any) -> dict[str, Any]:
    whole = {"_init_args": (), "_init_kwargs": {}, "_parameters": parameters, "_buffers": {}, "_modules": {}}
    return {"G_ema": Persistent("Generator", {**whole, **state})}


@pytest.mark.parametrize("protocol", [3, 4, 5])
def test_a_network_comes_out_bit_equal(tmp_path: Path, protocol: int) -> None:
    found = read_network(write_network(tmp_path / "net.pkl", protocol=protocol), "G_ema")
    assert found.class_name == "Generator"
    assert found.arguments == TINY
    expected = made_up_tensors(TINY)
    assert {*found.tensors} == {*expected}
    for name, tensor in expected.items():
        assert torch.equal(found.tensors[name].load(), tensor)


def test_names_are_those_of_published_weights(tmp_path: Path) -> None:
    layer = {"weight", "bias", "noise_strength", "noise_const", "resample_filter", "affine.weight", "affine.bias"}
    colours = {"weight", "bias", "affine.weight", "affine.bias"}
    expected = {"mapping.w_avg", "synthesis.b4.const"}
    expected |= {f"mapping.{part}.{name}" for part in ("embed", "fc0", "fc1") for name in ("weight", "bias")}
    expected |= {f"synthesis.{part}.{name}" for part in ("b4.conv1", "b8.conv0", "b8.conv1") for name in layer}
    expected |= {f"synthesis.b{size}.torgb.{name}" for size in (4, 8) for name in colours}
    expected |= {f"synthesis.b{size}.resample_filter" for size in (4, 8)}
    assert {*read_network(write_network(tmp_path / "net.pkl"), "G_ema").tensors} == expected


def test_tensors_that_share_a_storage_or_are_transposed_come_out_right(tmp_path: Path) -> None:
    whole = torch.arange(12.0).reshape(3, 4)
    tensors = {"a": whole.T, "b": whole[1:, 1:], "c": whole.to(torch.float16)}
    file = dump(tmp_path / "net.pkl", {"G_ema": as_module(tensors, "Net", _init_args=(), _init_kwargs={})})
    for name, tensor in read_network(file, "G_ema").tensors.items():
        assert torch.equal(tensor.load(), tensors[name].float())
        assert tensor.load().is_contiguous()


def test_the_source_text_is_not_run(tmp_path: Path, marker: Path) -> None:
    state = {"_init_args": (), "_init_kwargs": {}, "_parameters": {}, "_buffers": {}, "_modules": {}}
    source = f"open({str(marker)!r}, 'w').close()\nclass Generator: pass"
    file = dump(tmp_path / "net.pkl", {"G_ema": Persistent("Generator", state, source)})
    modules = {*sys.modules}
    assert read_network(file, "G_ema").tensors == {}
    assert not marker.exists()
    assert not [name for name in {*sys.modules} - modules if "import" in name or "torch_utils" in name]


@pytest.mark.parametrize(
    ("function", "arguments", "named"),
    [
        (os.system, ("touch {marker}",), r"posix\.system"),
        (eval, ("open('{marker}', 'w')",), r"builtins\.eval"),
        (exec, ("open('{marker}', 'w')",), r"builtins\.exec"),
        (getattr, (os, "system"), r"builtins\.getattr|cannot pickle"),
        (torch.load, ("{marker}",), r"torch\.serialization\.load"),
        (EasyDict.fromkeys, ((1,),), r"builtins\.getattr"),
        (torch.nn.Linear, (1, 1), r"torch\.nn\.modules\.linear\.Linear"),
    ],
)
def test_what_calls_anything_else_is_refused_by_name(
    tmp_path: Path, marker: Path, function: Callable[..., Any], arguments: tuple[Any, ...], named: str
) -> None:
    given = [a.format(marker=marker) if isinstance(a, str) else "os" if a is os else a for a in arguments]
    refuse(dump(tmp_path / "net.pkl", {"G_ema": Call(function, *given)}), f"asks for ({named})")
    assert not marker.exists()


def test_a_dotted_name_does_not_lead_out_of_an_allowed_global(tmp_path: Path) -> None:
    name = b"OrderedDict.__init__.__globals__"
    file = tmp_path / "net.pkl"
    file.write_bytes(b"\x80\x04\x8c\x0bcollections\x8c" + bytes([len(name)]) + name + b"\x93.")
    refuse(file, r"asks for collections\.OrderedDict\.__init__\.__globals__")


def test_a_pickle_inside_a_storage_is_not_run(tmp_path: Path, marker: Path) -> None:
    for inner in (
        pickle.dumps(Call(os.system, f"touch {marker}")),
        saved(torch.ones(2)).replace(b"ctorch\nFloatStorage", b"cposix\nsystem"),
    ):
        found = read_network(dump(tmp_path / "net.pkl", network({"a": tensor_record(inner)})), "G_ema")
        with pytest.raises(InputError, match="a tensor cannot be read"):
            found.tensors["a"].load()
        assert not marker.exists()


def test_a_zipped_storage_is_refused(tmp_path: Path) -> None:
    data = io.BytesIO()
    with zipfile.ZipFile(data, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("data.pkl", bytes(10**6))
    found = read_network(dump(tmp_path / "net.pkl", network({"a": tensor_record(data.getvalue())})), "G_ema")
    with pytest.raises(InputError, match="zipped"):
        found.tensors["a"].load()


@pytest.mark.parametrize(
    "claim",
    [
        {"shape": (10**12,)},
        {"shape": (3,)},
        {"offset": 1},
        {"offset": 2**61},
        {"shape": (2**40, 2**40), "stride": (1, 1)},
        {"stride": (1, 1)},
    ],
)
def test_a_tensor_larger_than_its_storage_is_refused(tmp_path: Path, claim: dict[str, Any]) -> None:
    file = dump(tmp_path / "net.pkl", network({"a": tensor_record(saved(torch.ones(2)), **claim)}))
    with pytest.raises(InputError, match="a tensor cannot be read"):
        read_network(file, "G_ema").tensors["a"].load()


@pytest.mark.parametrize(
    "record",
    [
        tensor_record(saved(torch.ones(2)), shape=(-1,)),
        tensor_record(saved(torch.ones(2)), shape="ab"),
        tensor_record(saved(torch.ones(2)), shape=(1.5,)),
        tensor_record(saved(torch.ones(2)), offset=None),
        storage_record(saved(torch.ones(2))),
        Call(torch._utils._rebuild_tensor_v2),
        "text",
    ],
)
def test_a_tensor_that_is_not_described_is_refused(tmp_path: Path, record: object) -> None:
    refuse(dump(tmp_path / "net.pkl", network({"a": record})), "a is no sound tensor")


@pytest.mark.parametrize(
    ("record", "message"),
    [
        (Call(OrderedDict, state={"update": 1}), "it changes a mapping"),
        (Call(torch.storage._load_from_bytes, b"", state={"arguments": ()}), "it changes a storage"),
        (Call(torch._utils._rebuild_tensor_v2, state=({}, {"x": 1})), "it changes a tensor"),
    ],
)
def test_records_cannot_be_changed_after_making(tmp_path: Path, record: Call, message: str) -> None:
    refuse(dump(tmp_path / "net.pkl", {"G_ema": record}), message)


@pytest.mark.parametrize("name", [b"collections\nOrderedDict", b"torch.storage\n_load_from_bytes", b"numpy\ndtype"])
def test_allowed_classes_cannot_be_changed(tmp_path: Path, name: bytes) -> None:
    """BUILD on the global itself, with attributes for its dictionary and for setattr."""
    file = tmp_path / "net.pkl"
    attributes = b"}X\x08\x00\x00\x00__call__K\x01s"
    for state in (attributes, b"N" + attributes + b"\x86"):
        file.write_bytes(b"\x80\x02c" + name + b"\n" + state + b"b.")
        refuse(file, "damaged")


@pytest.mark.parametrize(
    ("data", "opcode"),
    [
        (b"\x80\x02\x82\x01.", "EXT1"),
        (b"\x80\x02\x83\x01\x00.", "EXT2"),
        (b"\x80\x02\x84\x01\x00\x00\x00.", "EXT4"),
        (b"\x80\x02K\x01Q.", "BINPERSID"),
        (b"Pname\n.", "PERSID"),
        (b"\x80\x05\x97.", "NEXT_BUFFER"),
    ],
)
def test_opcodes_that_look_elsewhere_are_refused(tmp_path: Path, data: bytes, opcode: str) -> None:
    file = tmp_path / "net.pkl"
    file.write_bytes(data)
    refuse(file, f"opcode {opcode},")


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"\x80\x02]r\xff\xff\xff\x7f.", "far longer"),  # a place in the memo that would take 16 GiB
        (b"\x80\x02" + b"]0" * 100_001 + b".", "far longer"),
        (b"\x80\x02}N" + b"\x85" * 190_000 + b"Ns.", "far longer"),  # a key whose hash would overflow the stack
        (b"\x80\x04\x8e" + struct.pack("<Q", 2**40) + b"abc.", "damaged"),  # says that a terabyte follows
        (b"\x80\x04\x95" + struct.pack("<Q", 2**62) + b"N.", "damaged|holds no network"),
        (b"", "damaged"),
        (b"no pickle at all", "damaged"),
        (b"\x80\x04N.", "it holds no network 'G_ema'"),
        (b"\x80\x04}.", "it holds no network 'G_ema'"),
    ],
)
def test_bombs_and_other_files_are_refused(tmp_path: Path, data: bytes, message: str) -> None:
    file = tmp_path / "net.pkl"
    file.write_bytes(data)
    refuse(file, message)


def test_a_cut_file_is_refused_wherever_it_was_cut(tmp_path: Path) -> None:
    whole = write_network(tmp_path / "net.pkl").read_bytes()
    file = tmp_path / "cut.pkl"
    for length in range(0, len(whole), len(whole) // 50):
        file.write_bytes(whole[:length])
        refuse(file, "damaged")


def test_no_changed_byte_gets_past_with_another_error(tmp_path: Path) -> None:
    whole = write_network(tmp_path / "net.pkl").read_bytes()
    file = tmp_path / "changed.pkl"
    for place in range(0, len(whole), len(whole) // 300):
        file.write_bytes(whole[:place] + bytes([whole[place] ^ 0x55]) + whole[place + 1 :])
        try:
            for tensor in read_network(file, "G_ema").tensors.values():
                tensor.load()
        except InputError:
            pass


def test_modules_without_end_are_refused(tmp_path: Path) -> None:
    itself = network({})
    itself["G_ema"].meta["state"]["_modules"]["child"] = Persistent("Layer", itself["G_ema"].meta["state"])
    refuse(dump(tmp_path / "net.pkl", itself), "far more modules")
    state = network({})["G_ema"].meta["state"]
    for _ in range(30):  # 2**30 of them, in a small file
        module = Persistent("Layer", state)
        state = network({}, _modules={"a": module, "b": module})["G_ema"].meta["state"]
    refuse(dump(tmp_path / "net.pkl", {"G_ema": Persistent("Layer", state)}), "far more modules")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"_init_args": (1,)}, "arguments by name"),
        ({"_init_kwargs": None}, "arguments by name"),
        ({"_init_kwargs": {1: 1}}, "arguments without names"),
        ({"_parameters": None}, "a module has no parameters"),
        ({"_modules": {"a": 1}}, "a is no module"),
        ({"_buffers": {1: 1}}, "buffers without sound names"),
        ({"_buffers": {"x" * 200: 1}}, "buffers without sound names"),
    ],
)
def test_a_module_that_is_not_described_is_refused(tmp_path: Path, change: dict[str, Any], message: str) -> None:
    refuse(dump(tmp_path / "net.pkl", network({}, **change)), message)


def test_a_module_without_state_or_description_is_refused(tmp_path: Path) -> None:
    nothing = Persistent("Generator", {})
    nothing.meta = {"class_name": "Generator"}
    refuse(dump(tmp_path / "net.pkl", {"G_ema": nothing}), "no class name or no state")
    nothing.meta = []  # type: ignore[assignment]
    refuse(dump(tmp_path / "net.pkl", {"G_ema": nothing}), "not described")


def test_tensorflow_files_must_be_converted(tmp_path: Path) -> None:
    file = tmp_path / "net.pkl"
    file.write_bytes(b"\x80\x03cdnnlib.tflib.network\nNetwork\n)\x81.")
    refuse(file, r"TensorFlow version. Convert it with legacy\.py")


def test_a_missing_file_is_refused(tmp_path: Path) -> None:
    refuse(tmp_path / "net.pkl", "No such file")
