import io
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import datasets
import numpy as np
import pytest
import torch
from PIL import Image

from sio_data import load_source
from sio_data.class_lists import expand_classes
from sio_data.detection.benchmarks import load_benchmark
from sio_data.detection.image_sets import EvaluationImages, MissingSet, OODSet, load_images, name_sets
from sio_data.errors import ClassMapError, InputError, UnknownNameError
from sio_data.image_set import ImageSet
from tests.openood_layout import picture, write_list, write_pictures

LISTS = {
    "cifar10/train_cifar10.txt": 20,
    "cifar10/val_cifar10.txt": 10,
    "cifar10/test_cifar10.txt": 10,
    "cifar10/test_cifar100.txt": 6,
    "cifar10/test_mnist.txt": 5,
    "cifar10/test_svhn.txt": 4,
    "cifar10/test_texture.txt": 3,
    "cifar10/test_places365.txt": 2,
    "cifar10/val_cifar100.txt": 4,
}


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """The CIFAR-10 benchmark in tiny; every picture has a seed of its own."""
    seed = 0
    for path, count in LISTS.items():
        known = path.endswith("_cifar10.txt")
        rows = [(f"{Path(path).stem}/{index}.png", index % 10 if known else -1) for index in range(count)]
        write_list(tmp_path / "data", path, rows)
        write_pictures(tmp_path / "data", {place: seed + index for index, (place, _) in enumerate(rows)})
        seed += count
    return tmp_path / "data"


def seeds(images: ImageSet) -> list[int]:
    """The seeds of the pictures in a set."""
    known = {np.asarray(picture(seed)).transpose(2, 0, 1).tobytes(): seed for seed in range(200)}
    return [known[image.numpy().tobytes()] for image in images.images]


def load(data: Path | None, name: str = "cifar10", **options: object) -> EvaluationImages:
    return load_images(load_benchmark(name), 8, data=data, **options)


def test_a_benchmark_of_lists(data: Path) -> None:
    images = load(data)
    assert seeds(images.train) == list(range(20))
    assert seeds(images.val) == list(range(20, 30))
    assert seeds(images.test) == list(range(30, 40))
    assert images.test.labels.tolist() == list(range(10))
    assert images.train.class_names == images.test.class_names == expand_classes(["cifar10"])
    assert {name: len(one) for name, one in images.ood.items()} == {
        "cifar100": 6, "mnist": 5, "svhn": 4, "textures": 3, "places365": 2
    }  # fmt: skip
    assert images.ood["mnist"].labels.tolist() == [-1] * 5
    assert images.ood_val is not None
    assert len(images.ood_val) == 4
    assert images.missing == ()
    assert images.removed == dict.fromkeys([*images.ood, "ood_val"], 0)
    assert images.id_sources["val"] == str(data / "benchmark_imglist/cifar10/val_cifar10.txt")
    assert images.sets[0] == OODSet("near", "cifar100", str(data / "benchmark_imglist/cifar10/test_cifar100.txt"))
    assert [one.group for one in images.sets] == ["near"] + 4 * ["far"]
    assert images.ood_val_source.endswith("val_cifar100.txt")


def test_mapped_storage_gives_the_same(data: Path) -> None:
    assert load(data, storage="mapped").test.digest == load(data).test.digest


def test_missing_sets_are_named_and_the_rest_is_loaded(data: Path) -> None:
    (data / "benchmark_imglist/cifar10/test_svhn.txt").unlink()
    (data / "images_classic/test_mnist/3.png").unlink()
    (data / "benchmark_imglist/cifar10/val_cifar100.txt").unlink()
    images = load(data)
    assert list(images.ood) == [one.name for one in images.sets] == ["cifar100", "textures", "places365"]
    assert [(one.name, one.group) for one in images.missing] == [("mnist", "far"), ("svhn", "far"), ("ood_val", "val")]
    mnist, svhn, _ = (one.reason for one in images.missing)
    assert "1 of 5 pictures are missing" in mnist
    assert "cifar10/test_svhn.txt: there is no such list" in svhn
    assert images.ood_val is None
    assert images.ood_val_source == ""


def test_without_id_images_or_any_ood_set_there_is_nothing_to_evaluate(data: Path) -> None:
    for path in LISTS:
        if "test" in path and path != "cifar10/test_cifar10.txt":
            (data / "benchmark_imglist" / path).unlink()
    with pytest.raises(InputError, match=r"cifar10: no OOD set can be loaded. cifar100: .* places365: "):
        load(data)
    (data / "images_classic/val_cifar10/2.png").unlink()
    with pytest.raises(
        InputError, match=r"cifar10: the ID val images cannot be loaded: .*1 of 10 pictures are missing"
    ):
        load(data)


@pytest.mark.parametrize("storage", ["memory", "mapped"])
def test_images_that_are_id_images_are_dropped_and_counted(data: Path, storage: str) -> None:
    write_pictures(data, {"test_cifar100/0.png": 5, "test_cifar100/3.png": 25, "test_mnist/1.png": 35})
    write_pictures(data, {"val_cifar100/0.png": 5, "val_cifar100/2.png": 41})  # 41 is an image of cifar100
    images = load(data, storage=storage)
    assert seeds(images.ood["cifar100"]) == [41, 42, 44, 45]
    assert seeds(images.ood["mnist"]) == [46, 48, 49, 50]
    assert images.ood_val is not None
    assert seeds(images.ood_val) == [61, 63]
    assert {name: count for name, count in images.removed.items() if count} == {"cifar100": 2, "mnist": 1, "ood_val": 2}
    assert len(images.train) == 20


def test_a_set_of_nothing_but_id_images_is_missing(data: Path) -> None:
    write_pictures(data, {"test_places365/0.png": 5, "test_places365/1.png": 6})
    (missing,) = load(data).missing
    assert missing.name == "places365"
    assert "each of its 2 images is in another set, too" in missing.reason


def test_classes_are_spelled_as_the_checkpoint_spells_them(tmp_path: Path) -> None:
    data = tmp_path / "data"
    for split in ("train", "val", "test"):
        rows = [(f"{split}/{label}.png", label) for label in range(10)]
        write_list(data, f"imagenet/{split}_imagenet_10.txt", rows)
        seed = 10 * ("train", "val", "test").index(split)
        write_pictures(data, {place: seed + label for place, label in rows}, "images_largescale")
    others = [("others/31.png", 31), ("others/30.png", 30), ("others/949.png", 949)]
    write_list(data, "imagenet/test_imagenet.txt", others)
    write_pictures(data, {place: 100 + label % 10 for place, label in others}, "images_largescale")
    names, wnids = expand_classes(["imagenet-10"]), expand_classes(["imagenet-10:wnid"])
    assert load(data, "imagenet-10").test.class_names == names
    for known in (names, wnids):
        images = load(data, "imagenet-10", class_names=tuple(reversed(known)))
        assert images.test.class_names == images.train.class_names == known
        assert seeds(images.ood["imagenet-others"]) == [100]  # the images of 31 and 949 are of known classes
        assert [one.name for one in images.missing] == ["textures", "mnist", "ood_val"]


def write_png(colour: tuple[int, ...]) -> dict[str, bytes]:
    file = io.BytesIO()
    Image.new("RGB", (1, 1), colour).save(file, "PNG")
    return {"bytes": file.getvalue()}


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """A Hub with CIFAR-10, CIFAR-100 and MNIST, 1,100 pictures of a pixel each; gives what was asked for."""
    asked = []

    def opened(path: str, config: str | None, **options: object) -> datasets.DatasetDict:
        asked.append(path)
        numbers = {"uoft-cs/cifar10": 0, "uoft-cs/cifar100": 1, "ylecun/mnist": 2}
        if path not in numbers:
            raise FileNotFoundError(f"{path} is not here")
        names = list(expand_classes(["cifar100" if path.endswith("100") else "cifar10"]))

        def rows(split: int) -> datasets.Dataset:
            colours = [(2 * numbers[path] + split, *divmod(place, 256)) for place in range(1100)]
            features = datasets.Features({"img": datasets.Image(), "label": datasets.ClassLabel(names=names)})
            given = {"img": [write_png(colour) for colour in colours], "label": [at % len(names) for at in range(1100)]}
            return datasets.Dataset.from_dict(given, features=features)

        return datasets.DatasetDict({"train": rows(0), "test": rows(1)})

    monkeypatch.setattr(datasets, "load_dataset", opened)
    return asked


def places(images: ImageSet | None) -> list[int]:
    assert images is not None
    return [256 * int(image[1, 0, 0]) + int(image[2, 0, 0]) for image in images.images]


def test_a_benchmark_of_the_hub_cuts_validation_images_class_by_class(hub: list[str]) -> None:
    images = load_images(load_benchmark("cifar10"), 1)
    assert len(images.train) == 1100
    assert sorted(places(images.val) + places(images.test)) == list(range(1100))
    assert images.val.labels.bincount().tolist() == [100] * 10
    assert images.val.images[:, 0].unique().tolist() == images.test.images[:, 0].unique().tolist() == [1]
    assert sorted(places(images.ood_val) + places(images.ood["cifar100"])) == list(range(1100))
    assert len(places(images.ood_val)) == 1000
    assert images.ood["cifar100"].labels.tolist() == [-1] * 100
    assert len(images.ood["mnist"]) == 1100
    assert {*hub} >= {"uoft-cs/cifar10", "uoft-cs/cifar100", "ylecun/mnist", "ufldl-stanford/svhn", "tanganke/dtd"}
    reasons = {one.name: one.reason for one in images.missing}
    assert set(reasons) == {"svhn", "textures", "places365"}
    assert "hub:ufldl-stanford/svhn/cropped_digits cannot be read" in reasons["svhn"]
    assert "not on the Hub" in reasons["places365"]
    assert "benchmark_imglist/cifar10/test_places365.txt" in reasons["places365"]
    assert images.sets[0].source == "hub:uoft-cs/cifar100#test"


def test_a_file_of_ones_own(tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text("""
id: digits
near:
  unknown: {source: digits-unknown#test, exclude_classes: [seven]}
far:
  textures: textures
  nothing: no/such/folder
ood_val: digits-unknown
""")
    images = load_images(load_benchmark(str(path)), 8)
    whole = load_source("digits-unknown", "test")
    assert len(images.ood["unknown"]) == int((whole.labels != whole.class_names.index("seven")).sum())
    assert images.ood_val is not None
    assert torch.equal(images.ood_val.images, load_source("digits-unknown", "val").images)
    assert torch.equal(images.train.images, load_source("digits", "train").images)
    (missing,) = images.missing
    assert missing == MissingSet("nothing", "far", missing.reason)
    assert "unknown source 'no/such/folder'" in missing.reason


def write_file(tmp_path: Path, text: str) -> str:
    (tmp_path / "mine.yaml").write_text(text)
    return str(tmp_path / "mine.yaml")


def test_splits_that_lie_apart_are_taken_whole_and_one_that_is_shared_is_cut(tmp_path: Path) -> None:
    apart = "id: {train: digits#train, val: digits#val, test: digits#test}\nfar: {textures: textures}"
    images = load_images(load_benchmark(write_file(tmp_path, apart)), 8)
    assert (len(images.train), len(images.val), len(images.test)) == (541, 109, 433)
    shared = "id: {train: digits#train, val: digits#train, test: digits#test}\nfar: {textures: textures}"
    images = load_images(load_benchmark(write_file(tmp_path, shared)), 8)
    assert len(images.train) + len(images.val) == 541
    assert len(images.val) == pytest.approx(54, abs=3)


def test_id_splits_number_their_classes_alike(tmp_path: Path) -> None:
    for split, names in {"train": ("cat", "dog"), "val": ("dog", "cat"), "test": ("dog", "cat")}.items():
        rows = [(f"{split}/{name}/0.png", label) for label, name in enumerate(names)]
        write_list(tmp_path, f"pets/{split}.txt", rows)
        write_pictures(tmp_path, {place: 10 * len(split) + label for place, label in rows})
    lists = {split: tmp_path / f"benchmark_imglist/pets/{split}.txt" for split in ("train", "val", "test")}
    sources = ", ".join(f"{split}: {path}" for split, path in lists.items())
    text = f"id: {{{sources}}}\nfar: {{textures: textures}}"
    images = load_images(load_benchmark(write_file(tmp_path, text)), 8)
    assert images.test.class_names == images.train.class_names == ("dog", "cat")
    assert images.train.labels.tolist() == [1, 0]
    assert images.test.labels.tolist() == [0, 1]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "id: digits\nnear: {a: {source: digits-unknown, exclude_classes: [ten]}}",
            "unknown class of digits-unknown 'ten'",
        ),
        ("id: digits\nnear: {a: {source: digits-unknown, first: 571}}", "has 571 images, too few to cut 571 off"),
        (
            "id: digits\nnear: {a: {source: digits-unknown, after: 570}}",
            "first: 570 takes all of its 571 images, class by class, and leaves none for after: 570",
        ),
        ("id: digits\nnear: {a: {source: digits-unknown, exclude_classes: [six, seven, eight, nine]}}", "no image but"),
    ],
)
def test_a_set_that_cannot_be_cut_so_is_missing(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        load_images(load_benchmark(write_file(tmp_path, text)), 8)


def test_sources_named_one_by_one() -> None:
    sets = [OODSet.parse("near:unknown=digits-unknown"), OODSet.parse("far:textures=textures")]
    images = load_images(name_sets("digits", sets, "digits-unknown"), 8)
    assert (len(images.train), len(images.val), len(images.test)) == (541, 109, 433)
    assert {name: len(one) for name, one in images.ood.items()} == {"unknown": 571, "textures": 400}
    assert images.sets == tuple(sets)
    assert images.id_sources == {"train": "digits", "val": "digits", "test": "digits"}
    assert images.ood_val is not None
    assert torch.equal(images.ood_val.images, load_source("digits-unknown", "val").images)
    assert load_images(name_sets("digits#test", sets), 8).test.digest == images.test.digest
    assert load_images(name_sets("digits#test", sets), 8).ood_val is None


def test_sources_named_one_by_one_must_all_be_there() -> None:
    textures = OODSet("far", "textures", "textures")
    with pytest.raises(UnknownNameError, match="Did you mean 'textures'"):
        load_images(name_sets("digits", [textures, OODSet("far", "more", "texture")]), 8)
    with pytest.raises(InputError, match="each of its 571 images is in another set"):
        load_images(name_sets("digits", [OODSet("near", "six", "digits-unknown")], "digits-unknown#test"), 8)
    with pytest.raises(InputError, match="each of its 433 images is in another set"):
        load_images(name_sets("digits", [OODSet("near", "same", "digits")]), 8)
    with pytest.raises(InputError, match="not to be judged by it"):
        name_sets("digits#train", [textures])
    with pytest.raises(InputError, match="one list of images"):
        name_sets("lists/test.txt", [textures])


def test_id_images_need_labels(data: Path) -> None:
    path = data / "benchmark_imglist/cifar10/test_cifar10.txt"
    path.write_text(path.read_text().replace(" 3\n", " -1\n"))
    with pytest.raises(ClassMapError, match="1 of 10 images have no label"):
        load(data)


def test_an_ood_set_is_judged_by_its_test_split_whatever_it_is_called() -> None:
    with pytest.raises(InputError, match="stands for the validation images"):
        OODSet.parse("far:ood_val=textures")
    images = load_images(name_sets("digits", [OODSet("far", "ood_val", "textures")]), 8)
    assert torch.equal(images.ood["ood_val"].images, load_source("textures", "test").images)


def test_an_unknown_storage_is_refused_before_anything_is_read(data: Path) -> None:
    with pytest.raises(UnknownNameError, match="unknown storage 'nope'"):
        load(data, storage="nope")
    with pytest.raises(UnknownNameError, match="unknown storage 'nope'"):
        load_images(name_sets("no/such/folder", []), 8, storage="nope")


def test_large_sets_show_how_far_they_are_compared(monkeypatch: pytest.MonkeyPatch) -> None:
    shown: list[tuple[str, int]] = []

    @contextmanager
    def counted(title: str, total: int) -> Iterator[Callable[[int, str], None]]:
        yield lambda units, note: shown.append((f"{title} of {total}", units))

    monkeypatch.setattr("sio_data.image_set.progress", counted)
    sets = [OODSet.parse("far:textures=textures")]
    load_images(name_sets("digits", sets), 8)
    assert shown == []
    monkeypatch.setattr("sio_data.image_set._LARGE", 541 * 3 * 8 * 8)
    images = load_images(name_sets("digits", sets), 8)
    assert shown == [("comparing digits of 541", 541)]
    assert images.train.digest != images.val.digest
    assert shown[1:] == [("hashing digits of 541", 541)]


def test_the_folder_of_data_must_have_lists(tmp_path: Path, data: Path) -> None:
    with pytest.raises(InputError, match="no folder of OpenOOD's layout: it has no benchmark_imglist/"):
        load(tmp_path)
    assert load(Path(str(data))).missing == ()


@pytest.mark.parametrize(
    "text", ["near=digits", "near:=digits", "near: =digits", "near:a=", "near:a= ", "middle:a=digits"]
)
def test_ood_sets_of_another_form_are_refused(text: str) -> None:
    with pytest.raises(InputError, match="not of the form near:NAME=SOURCE"):
        OODSet.parse(text)
