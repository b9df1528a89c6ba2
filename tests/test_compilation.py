import dataclasses
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import pytest

from sio_data import open_set, repair, verify
from sio_data.compilation import Compilation, read_set_recipe
from sio_data.engines.job import ShardJob
from sio_data.errors import CorruptSetError, InputError, SettingsMismatchError
from sio_data.layout import Layout
from sio_data.making import begin, finish
from sio_data.manifest import Manifest, Origin
from sio_data.plan import Integers
from sio_data.recipe import Recipe
from sio_data.shards import Batch
from tests.conftest import snapshot

IMAGES = np.random.RandomState(0).randint(0, 256, (7, 4, 4, 3), dtype=np.uint8)
LABELS = np.array([0, 2, 0, 0, 2, 0, 0])
SOURCES = [{"source": {"file": "old.npz", "row": row}} for row in range(7)]


def compile_set(
    folder: Path, compilation: Compilation, sources: Sequence[dict[str, Any]] = SOURCES, labels: Integers = LABELS
) -> int:
    layout = Layout(compilation)

    def draw(index: int) -> Iterator[Batch]:
        cut = slice(layout.start(index), layout.start(index) + layout.size(index))
        yield Batch(IMAGES[cut], labels[cut], sources[cut], layout.size(index))

    manifest = begin(folder, Manifest(compilation, Origin("old.npz", "mit", "", "sio-data import old.npz")))
    return finish(folder, manifest, ShardJob(folder, layout, draw).make, "importing")[0]


def test_a_compiled_set_is_a_set_like_any_other(compilation: Compilation, tmp_path: Path) -> None:
    assert compile_set(tmp_path / "set", compilation) == 7
    assert not verify(tmp_path / "set").faults
    images = open_set(tmp_path / "set").read()
    assert np.array_equal(images.images.permute(0, 2, 3, 1).numpy(), IMAGES)
    assert images.labels.tolist() == LABELS.tolist()
    rows = datasets.load_dataset(str(tmp_path / "set"), split="train", cache_dir=str(tmp_path / "cache"))
    assert rows[1]["json"] == {
        "index": 1, "label": 2, "class": "owl", "recipe": compilation.hash, "source": {"file": "old.npz", "row": 1},
    }  # fmt: skip


def test_made_again_it_does_nothing_and_after_a_loss_only_what_is_missing(
    compilation: Compilation, tmp_path: Path
) -> None:
    compile_set(tmp_path, compilation)
    before = snapshot(tmp_path)
    assert compile_set(tmp_path, compilation) == 0
    (tmp_path / "data/train-000002.tar").unlink()
    assert compile_set(tmp_path, compilation) == 1
    assert snapshot(tmp_path) == before


def test_another_source_is_refused(compilation: Compilation, tmp_path: Path) -> None:
    compile_set(tmp_path, compilation)
    with pytest.raises(SettingsMismatchError, match="order"):
        compile_set(tmp_path, dataclasses.replace(compilation, order="2" * 64))


def test_a_lost_shard_cannot_be_repaired_and_the_message_says_what_to_do(
    compilation: Compilation, tmp_path: Path
) -> None:
    compile_set(tmp_path, compilation)
    (tmp_path / "data/train-000001.tar").unlink()
    before = snapshot(tmp_path)
    with pytest.raises(InputError, match=r"sio-data import old\.npz"):
        repair(tmp_path)
    assert snapshot(tmp_path) == before


def test_its_manifest_can_be_repaired(compilation: Compilation, tmp_path: Path) -> None:
    compile_set(tmp_path, compilation)
    before = snapshot(tmp_path)
    (tmp_path / "sio.json").unlink()
    repair(tmp_path)
    assert snapshot(tmp_path) == before


def test_a_sample_whose_source_was_edited_is_found(compilation: Compilation, tmp_path: Path) -> None:
    compile_set(tmp_path, compilation)
    shard = tmp_path / "data/train-000000.tar"
    shard.write_bytes(shard.read_bytes().replace(b'"row":1', b'"row":9'))
    with pytest.raises(CorruptSetError, match="other bytes than recorded"):
        open_set(tmp_path).read()


def test_json_gives_back_recipes_and_compilations(compilation: Compilation, recipe: Recipe) -> None:
    assert read_set_recipe(compilation.to_json()) == compilation
    assert read_set_recipe(recipe.to_json()) == recipe


@pytest.mark.parametrize(
    "change",
    [
        {"kind": "theft"}, {"kind": 1}, {"sources": []}, {"sources": [{"name": "x"}]}, {"sources": "x"},
        {"sources": [{"name": "x", "sha256": "../.."}]}, {"rule": [1]}, {"rule": {"a": float("nan")}},
        {"rule": {"a": []}}, {"order": "x"}, {"class_names": ["cat", "cat", "owl"]}, {"class_names": [1, 2, 3]},
        {"class_names": ["cat", "\ud800", "owl"]},
        {"counts": [1]}, {"counts": [0, 0, 0]}, {"counts": [-1, 1, 1]}, {"counts": [True, 1, 1]}, {"counts": 3},
        {"image_size": 0}, {"image_size": 10**6}, {"image_format": "gif"}, {"shard_size": 0}, {"more": 1},
        {"counts": [10**9, 1, 1]}, {"counts": [10**7, 0, 0], "shard_size": 1},
    ],
)  # fmt: skip
def test_malformed_json_is_refused(compilation: Compilation, change: dict[str, object]) -> None:
    with pytest.raises(InputError):
        read_set_recipe({**compilation.to_json(), **change})


def test_notes_below_the_card_are_kept(compilation: Compilation, tmp_path: Path) -> None:
    compile_set(tmp_path, compilation)
    card = tmp_path / "README.md"
    noted = card.read_text() + "Ask *us*.\n"
    card.write_text(noted)
    (tmp_path / "data/train-000001.tar").unlink()
    compile_set(tmp_path, compilation)
    assert card.read_text() == noted
