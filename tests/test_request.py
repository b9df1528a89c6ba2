import dataclasses
from pathlib import Path

import pytest

import sio_data
from sio_data.cli import main
from sio_data.errors import InputError, SettingsMismatchError
from sio_data.recipe import Recipe
from sio_data.request import Request, read_recipe_file
from tests.conftest import BACKEND, snapshot

RECIPE = """
generator: biggan   # a comment
weights: biggan-deep-128
per_class: 500
classes: [imagenet-10, no, yes, 010, 1.0, null, "ö: x"]
image_size: 64
sampling: {truncation: 0.40, watermark: yes, empty: "no"}
seed: 3
image_format: webp
shard_size: 250
batch_size: 50
"""


def write(folder: Path, text: str) -> Path:
    (folder / "recipe.yaml").write_text(text, encoding="utf-8")
    return folder / "recipe.yaml"


def test_every_value_is_the_text_that_stands_there(tmp_path: Path) -> None:
    found = read_recipe_file(write(tmp_path, RECIPE))
    assert found == {
        "generator": "biggan", "weights": "biggan-deep-128", "per_class": 500,
        "classes": ["imagenet-10", "no", "yes", "010", "1.0", "null", "ö: x"], "image_size": 64,
        "sampling": {"truncation": "0.40", "watermark": "yes", "empty": "no"}, "seed": 3, "image_format": "webp",
        "shard_size": 250, "batch_size": 50,
    }  # fmt: skip
    assert {*found} == {item.name for item in dataclasses.fields(Request)}
    assert read_recipe_file(write(tmp_path, "per_class: 5")) == {"per_class": 5}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "expected lines like `per_class: 500`"),
        ("[1]", "expected lines like"),
        ("per_class", "expected lines like"),
        ("a: [", "not a readable YAML file"),
        ("a: 1\n---\nb: 2", "not a readable YAML file"),
        ("a: *b", "not a readable YAML file"),
        ("[" * 20_000, "not a readable YAML file"),
        ("a: \x00", "not a readable YAML file"),
        ("per_clas: 5", "unknown key 'per_clas'. Known keys: generator, weights, per_class"),
        ("5: 5", "unknown key '5'"),
        ("? [a]\n: 5", "unknown key"),
        ("out: x", "unknown key 'out'"),
        ("per_class: five", "per_class must be a whole number"),
        ("per_class: 1e3", "per_class must be a whole number"),
        ("per_class: 5.0", "per_class must be a whole number"),
        ("per_class: yes", "per_class must be a whole number"),
        ("per_class:", "per_class must be a whole number"),
        ("per_class: [5]", "per_class must be a whole number"),
        ("per_class: " + "9" * 5000, "per_class must be a whole number"),
        ("weights:", "weights must be a text"),
        ("weights: {a: b}", "weights must be a text"),
        ("classes: cat", "classes must be a list of texts"),
        ("classes: [[cat]]", "classes must be a list of texts"),
        ("classes: {cat: dog}", "classes must be a list of texts"),
        ("sampling: steps=1", "sampling must be a mapping like {steps: 20}"),
        ("sampling: {steps: [1]}", "sampling must be a mapping"),
        ("sampling: {steps: 1, steps: 2}", "sampling must be a mapping like {steps: 20}, each name once"),
        ("seed: 1\nseed: 2", "seed comes twice"),
        ("seed: !!python/object/apply:os.system [ls]", "seed must be a whole number"),
        ("seed: x\ncats: 1\nimage_size: y", "seed must be a whole number; unknown key 'cats'; image_size must be"),
    ],
)  # fmt: skip
def test_a_bad_recipe_file_is_refused_with_all_faults(tmp_path: Path, text: str, message: str) -> None:
    path = write(tmp_path, text)
    with pytest.raises(InputError) as caught:
        read_recipe_file(path)
    assert message in str(caught.value)
    assert str(caught.value).startswith(f"{path}: ")
    assert len(str(caught.value)) < 1000


def test_files_that_cannot_be_read_are_refused(tmp_path: Path) -> None:
    (tmp_path / "latin.yaml").write_bytes(b"classes: [\xf6]")
    for name in ("latin.yaml", "nothing.yaml", "."):
        with pytest.raises(InputError, match="not a readable YAML file"):
            read_recipe_file(tmp_path / name)


def test_options_win_over_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls = []
    monkeypatch.setattr(sio_data, "generate", lambda **options: calls.append(options) or 1 / 0, raising=False)
    path = write(tmp_path, "generator: a\nweights: b\nper_class: 5\nseed: 3\nclasses: [x]\nsampling: {p: 1, q: 2}")
    with pytest.raises(ZeroDivisionError):
        main(["generate", str(path), "--out", "o", "--per-class", "6", "--class", "y", "--sampling", "q=3"])
    asked = {name: calls[0][name] for name in ("generator", "weights", "per_class", "classes", "seed", "sampling")}
    assert asked == {
        "generator": "a", "weights": "b", "per_class": 6, "classes": ["y"], "seed": 3, "sampling": {"p": "1", "q": "3"},
    }  # fmt: skip


def test_a_recipe_file_makes_the_same_set_as_the_options(tiny_generator: Path, tiny_set: Path, tmp_path: Path) -> None:
    path = write(
        tmp_path,
        f"generator: {BACKEND}\nweights: {tiny_generator}\nper_class: 5\nshard_size: 8\nbatch_size: 4\n"
        "sampling: {steps: 1}",
    )
    assert main(["generate", str(path), "--out", str(tmp_path / "set")]) == 0
    assert snapshot(tmp_path / "set") == snapshot(tiny_set)


def test_a_generator_that_resolves_to_another_recipe_is_refused_by_field(tiny_generator: Path) -> None:
    request = Request(BACKEND, str(tiny_generator), 5, sampling={"steps": "1"})
    recipe = request.open()[1]
    assert request.open_same(recipe).revision == recipe.revision
    for change, message in (
        ({"revision": "0"}, "are not those that the set was begun with"),
        ({"seed": 1, "batch_size": 7}, "the set was begun with another seed and batch_size"),
        ({"sampling": {**recipe.sampling, "steps": 2}}, "another sampling"),
    ):
        with pytest.raises(SettingsMismatchError, match=message):
            request.open_same(dataclasses.replace(recipe, **change))


def test_of_an_absolute_path_the_origin_shows_only_the_name(tiny_generator: Path, recipe: Recipe) -> None:
    generator = Request(BACKEND, str(tiny_generator), 5).open()[0]
    for weights, shown in ((str(tiny_generator), "…/unet"), ("runs/unet", "runs/unet"), ("owner/name", "owner/name")):
        origin = Request(BACKEND, weights, 5, seed=3).origin(generator)
        assert origin.weights == shown
        assert f"--weights {shown}" in origin.command.replace("'", "")
        assert "--seed 3" in origin.command
        assert str(tiny_generator.parent) not in origin.command
