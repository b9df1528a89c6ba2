from pathlib import Path

import pytest

from sio_data.class_lists import expand_classes
from sio_data.detection.benchmarks import BENCHMARKS, SPLITS, Benchmark, OODPlace, Place, load_benchmark
from sio_data.errors import InputError, UnknownNameError

FOUR = ("mnist", "svhn", "textures", "places365")
LARGE = {"near": ("ssb-hard", "ninco"), "far": ("inaturalist", "textures", "openimage-o")}
SETS = {
    "cifar10": {"near": ("cifar100",), "far": FOUR},
    "cifar10-v1.5": {"near": ("cifar100", "tin"), "far": FOUR},
    "cifar100": {"near": ("cifar10",), "far": FOUR},
    "cifar100-v1.5": {"near": ("cifar10", "tin"), "far": FOUR},
    "imagenet-10": {"near": ("imagenet-others",), "far": ("textures", "mnist")},
    "imagenet-dogs": {"near": ("imagenet-others",), "far": ("textures", "mnist")},
    "imagenet-200": LARGE,
    "imagenet-1k": LARGE,
}
CLASSES = {"imagenet-200": 200, "imagenet-1k": 1000, "imagenet-dogs": 100, "cifar100": 100, "cifar100-v1.5": 100}


def places(benchmark: Benchmark) -> list[Place]:
    assert benchmark.ood_val is not None
    return [*benchmark.id.values(), *(one.place for one in benchmark.ood), benchmark.ood_val]


@pytest.mark.parametrize("name", BENCHMARKS)
def test_every_benchmark_has_the_sets_of_its_protocol(name: str) -> None:
    benchmark = load_benchmark(name)
    groups = {group: tuple(one.name for one in benchmark.ood if one.group == group) for group in ("near", "far")}
    assert groups == SETS[name]
    assert tuple(benchmark.id) == SPLITS
    for place in benchmark.id.values():
        assert len({*expand_classes(place.classes)}) == CLASSES.get(name, 10)
    assert all(place.list and not place.source for place in places(benchmark))
    assert len({place.list for place in places(benchmark)}) == len(places(benchmark))
    assert not benchmark.needs_all


@pytest.mark.parametrize("name", BENCHMARKS)
def test_lists_are_named_as_openood_names_them(name: str) -> None:
    benchmark = load_benchmark(name)
    for split, place in benchmark.id.items():
        assert place.list.partition("/")[2].startswith(f"{split}_")
    for one in benchmark.ood:
        assert one.place.list.partition("/")[2].startswith("test_")
    assert benchmark.ood_val is not None
    assert benchmark.ood_val.list.partition("/")[2].startswith("val_")


@pytest.mark.parametrize("name", [name for name in BENCHMARKS if name.startswith("cifar")])
def test_images_of_the_hub_are_cut_into_validation_and_test(name: str) -> None:
    benchmark = load_benchmark(name)
    val, test = benchmark.id["val"], benchmark.id["test"]
    assert (val.hub, val.first, val.after) == (test.hub, 1000, 0)
    assert (test.first, test.after) == (0, 1000)
    assert benchmark.id["train"].hub == test.hub.replace("#test", "#train")


def test_the_other_classes_of_imagenet_are_not_those_of_the_ten() -> None:
    (near,) = (one.place for one in load_benchmark("imagenet-10").ood if one.group == "near")
    others = {*expand_classes(near.classes)} - {*expand_classes(near.exclude_classes)}
    assert len(others) == 990
    assert not others & {*expand_classes(load_benchmark("imagenet-10").id["test"].classes)}


def test_a_file_of_ones_own_names_sources_lists_and_the_hub(tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text("""
id: digits
near:
  unknown: {source: my/folder, exclude_classes: [six, seven]}
far:
  textures: textures
  others: {hub: me/set#test, first: 50}
ood_val: digits-unknown#val
""")
    digits = Place("digits")
    assert load_benchmark(str(path)) == Benchmark(
        str(path),
        {"train": digits, "val": digits, "test": digits},
        (
            OODPlace("near", "unknown", Place("my/folder", exclude_classes=("six", "seven"))),
            OODPlace("far", "textures", Place("textures")),
            OODPlace("far", "others", Place(hub="me/set#test", first=50)),
        ),
        Place("digits-unknown#val"),
    )


def test_id_splits_may_lie_apart(tmp_path: Path) -> None:
    path = tmp_path / "mine.yml"
    path.write_text(
        "id: {classes: [cat, dog], train: a.txt, val: b.txt, test: {source: c.txt, classes: cifar10}}\nfar: {x: x}"
    )
    benchmark = load_benchmark(str(path))
    assert benchmark.id["train"] == Place("a.txt", classes=("cat", "dog"))
    assert benchmark.id["test"] == Place("c.txt", classes=("cifar10",))
    assert benchmark.ood_val is None


@pytest.mark.parametrize(
    ("text", "messages"),
    [
        ("[1, 2]", ["must be a mapping with id, near, far and ood_val"]),
        ("id: digits", ["there is no OOD set, near or far"]),
        ("far: {x: x}", ["id must be a source, or a mapping"]),
        ("id: digits\nfar: {x: x}\nnaer: {y: y}", ["'naer' is not among id, near, far, ood_val"]),
        ("id: digits\nfar: [x]", ["far must be a mapping of names to places"]),
        ("id: digits\nfar: {x: {lst: a.txt}}", ["far: x: 'lst' is not among source, list, hub", "needs either source"]),
        ("id: digits\nfar: {x: {source: a, hub: b/c}}", ["far: x needs either source, or list or hub or both"]),
        ("id: digits\nfar: {x: {source: 3}}", ["far: x: source must be a text"]),
        ("id: digits\nfar: {x: {source: a, first: ten}}", ["far: x: first must be a number of images"]),
        ("id: digits\nfar: {x: {source: a, first: true}}", ["far: x: first must be a number of images"]),
        ("id: digits\nfar: {x: {source: a, first: 1, after: 1}}", ["first and after exclude each other"]),
        ("id: digits\nfar: {x: {list: a.txt, first: 1}}", ["a list is cut already"]),
        (
            "id: digits\nfar: {x: {source: a, classes: {b: c}}}",
            ["classes must be a group of classes or a list of names"],
        ),
        ("id: digits\nfar: {x: {source: a, classes: [b, b]}}", ["classes holds a name twice"]),
        ("id: digits\nnear: {x: a}\nfar: {x: b}", ["x is the name of a near and of a far set"]),
        (
            "id: digits\nnear: {1: a, ood_val: b}",
            ["near: 1 is no name for a set", "near: 'ood_val' is no name for a set"],
        ),
        ("id: digits\nnear: {' ': a}", ["near: ' ' is no name for a set"]),
        ("id: digits\nfar: {x: {list: /etc/a.txt}}", ["far: x: list must lie below benchmark_imglist"]),
        ("id: digits\nfar: {x: {list: a/../../b.txt}}", ["far: x: list must lie below benchmark_imglist"]),
        ("id: digits\nnear: {x: }", ["near: x must be a source, or a mapping"]),
        ("id: {train: a, val: b}\nfar: {x: x}", ["id: test must be a source, or a mapping"]),
        ("id: digits\nfar: {x: x}\nood_val: 3", ["ood_val must be a source, or a mapping"]),
        ("id: digits#train\nfar: {x: x}", ["not to be judged by it"]),
        ("id: a.txt\nfar: {x: x}", ["is one list of images"]),
        ("id: !!python/object/apply:os.system [true]\nfar: {x: x}", ["is no sound YAML"]),
        ("id: [", ["is no sound YAML"]),
    ],
)
def test_all_faults_of_a_file_are_named(tmp_path: Path, text: str, messages: list[str]) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text(text)
    with pytest.raises(InputError) as caught:
        load_benchmark(str(path))
    assert all(message in str(caught.value) for message in messages), str(caught.value)


def test_names_and_files_that_are_not_there(tmp_path: Path) -> None:
    with pytest.raises(UnknownNameError, match="Did you mean 'cifar10'"):
        load_benchmark("cifar-10")
    with pytest.raises(InputError, match="no such file"):
        load_benchmark(str(tmp_path / "mine.yaml"))
    (tmp_path / "large.yaml").write_text("#" * 200_000)
    with pytest.raises(InputError, match="larger than"):
        load_benchmark(str(tmp_path / "large.yaml"))
    (tmp_path / "bytes.yaml").write_bytes(b"\xff\xfe\xff")
    with pytest.raises(InputError, match="cannot be read"):
        load_benchmark(str(tmp_path / "bytes.yaml"))


def test_imagenet_200_has_the_classes_of_imagenet_r_in_the_order_of_its_labels() -> None:
    names, wnids = expand_classes(["imagenet-200"]), expand_classes(["imagenet-200:wnid"])
    whole = dict(zip(expand_classes(["imagenet:wnid"]), expand_classes(["imagenet"]), strict=True))
    assert [whole[wnid] for wnid in wnids] == list(names)
    assert list(wnids) == sorted(wnids)
    assert (names[:3], names[-1]) == (("goldfish", "great white shark", "hammerhead"), "acorn")
