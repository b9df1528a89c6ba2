"""The kit of the back ends, and somebody else's back end: the one that CONTRIBUTING.md shows."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from sio_data import generate, verify
from sio_data.backend import Number, name_classes, read_options, resize, to_uint8
from sio_data.class_lists import expand_classes, imagenet_names, imagenet_wnids
from sio_data.errors import InputError, UnknownNameError

CONTRIBUTING = Path(__file__).parents[1] / "CONTRIBUTING.md"


def test_unknown_names_for_all_classes_name_them_in_the_weights_order() -> None:
    assert name_classes(3, ["owl", "cat", "dog"]) == ("owl", "cat", "dog")
    assert name_classes(3, ["owl"]) == ("0", "1", "2")
    assert name_classes(3, None) == ("0", "1", "2")


def test_known_names_select_and_never_rename() -> None:
    assert name_classes(3, ["2", "1", "0"]) == ("0", "1", "2")
    assert name_classes(1000, imagenet_names()[::-1]) == imagenet_names()
    assert name_classes(1000, sorted(imagenet_wnids(), reverse=True)) == imagenet_wnids()
    assert name_classes(1000, ["n01440764"]) == imagenet_wnids()
    assert name_classes(1000, None) == imagenet_names()


def test_class_lists_are_those_of_the_field() -> None:
    assert (imagenet_names()[0], imagenet_names()[999], imagenet_wnids()[0]) == ("tench", "toilet tissue", "n01440764")
    assert len({*imagenet_names()}) == len({*imagenet_wnids()}) == 1000
    assert expand_classes(["cat", "imagenet-10"]) == (
        "cat", "tree frog", "rock python", "hummingbird", "golden retriever", "tabby", "airliner", "garbage truck",
        "racer", "speedboat", "strawberry",
    )  # fmt: skip
    assert len(expand_classes(["imagenet-dogs"])) == 100
    assert expand_classes(["imagenet-dogs"])[0] == "Chihuahua"
    assert expand_classes(["imagenet-10:wnid"])[0] == "n01644373"
    assert expand_classes(["cifar10"])[3] == "cat"
    assert len({*expand_classes(["cifar100"])}) == 100


def test_somebody_elses_back_end_works_as_contributing_shows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shown: dict[str, object] = {}
    block = CONTRIBUTING.read_text().split("```python\n")[1].partition("```")[0]
    exec(compile(block, "CONTRIBUTING.md", "exec"), shown)
    monkeypatch.setattr("sio_data.generator.find_backend", lambda name: shown["Stripes"])
    done = generate("stripes", "any", tmp_path / "set", per_class=4, sampling={"contrast": "50"})
    assert done.recipe.class_names == ("still", "moving")
    assert not verify(tmp_path / "set", regenerate=8).faults
    with pytest.raises(UnknownNameError, match="Did you mean 'contrast'"):
        generate("stripes", "any", tmp_path / "new", per_class=4, sampling={"contrst": "50"})


def test_options_are_of_their_kind_and_in_their_range() -> None:
    declared = {"steps": Number(20, 1, 100)}
    assert read_options("x", declared, {"steps": "7"}) == {"steps": 7}
    for text in ("0", "101", "7.5", "many", ""):
        with pytest.raises(InputError, match="is not a whole number from 1 to 100"):
            read_options("x", declared, {"steps": text})
    with pytest.raises(InputError, match="is not a number from 0 to 1"):
        read_options("x", {"psi": Number(0.5, 0, 1)}, {"psi": "nan"})


def test_what_is_no_number_is_an_error_and_no_picture() -> None:
    assert to_uint8(torch.tensor([-2.0, -1, 0, 1, 2])).tolist() == [0, 0, 128, 255, 255]
    with pytest.raises(InputError, match="no numbers"):
        to_uint8(torch.tensor([0.0, float("nan")]))


def test_resizing_antialiases_like_pillow() -> None:
    image = np.random.RandomState(0).randint(0, 256, (64, 64, 3), dtype=np.uint8)
    ours = resize(torch.from_numpy(image).permute(2, 0, 1)[None], 16)[0].permute(1, 2, 0).numpy()
    pillow = np.asarray(Image.fromarray(image).resize((16, 16), Image.Resampling.BICUBIC))
    assert np.abs(ours.astype(int) - pillow).max() <= 2
