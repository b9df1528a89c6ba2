import dataclasses
import json
from pathlib import Path

import pytest

from sio_data.errors import CorruptSetError
from sio_data.manifest import Manifest, Origin, ShardRecord
from sio_data.recipe import Recipe

SHARD = {"path": "data/train-000000.tar", "sha256": "0" * 64, "bytes": 10, "samples": 15, "draws": 15}


@pytest.fixture
def recipe(recipe: Recipe) -> Recipe:
    """All in one shard."""
    return dataclasses.replace(recipe, shard_size=15)


@pytest.fixture
def manifest(recipe: Recipe) -> Manifest:
    return Manifest(
        recipe, Origin("weights", "mit", "", "sio-data generate"), True, (ShardRecord(**SHARD),), {"a": "1"}
    )


def test_round_trip(tmp_path: Path, manifest: Manifest) -> None:
    manifest.write(tmp_path)
    assert Manifest.read(tmp_path) == manifest


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        ({"format": "other"}, "format"),
        ({"recipe": None}, "recipe"),
        ({"recipe": {"sampling": {"x": 10**400}}}, "lacks"),
        ({"recipe_hash": "0"}, "edited"),
        ({"digest": "0"}, "edited"),
        ({"generator": {}}, "not a sound manifest"),
        ({"generator": {"weights": 1, "licence": "", "citation": "", "command": ""}}, "not all text"),
        ({"shards": [{**SHARD, "samples": 14}]}, "edited"),
        ({"shards": [{**SHARD, "path": "../../etc/passwd"}]}, "not a shard record"),
        ({"shards": [{**SHARD, "path": "data/../x-000000.tar"}]}, "not a shard record"),
        ({"shards": [{**SHARD, "bytes": -1}]}, "not a shard record"),
        ({"shards": [{**SHARD, "samples": True}]}, "not a shard record"),
        ({"shards": [{**SHARD, "draws": 14}]}, "not a shard record"),
        ({"origin": "x"}, "edited"),
        ({"versions": {}}, "edited"),
        ({"shards": ["x"]}, "not a shard record"),
        ({"shards": None}, "not a sound manifest"),
    ],
)
def test_an_edited_manifest_is_refused(
    tmp_path: Path, manifest: Manifest, damage: dict[str, object], message: str
) -> None:
    manifest.write(tmp_path)
    path = tmp_path / "sio.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | damage))
    with pytest.raises(CorruptSetError, match=message):
        Manifest.read(tmp_path)


@pytest.mark.parametrize(
    "change", [{"samples": 14}, {"path": "data/train-000001.tar"}, {"path": "data/val-000000.tar"}]
)
def test_complete_with_other_shards_than_planned_is_refused(
    tmp_path: Path, recipe: Recipe, change: dict[str, object]
) -> None:
    Manifest(recipe, Origin("w", "mit", "", ""), True, (ShardRecord(**{**SHARD, **change}),)).write(tmp_path)
    with pytest.raises(CorruptSetError, match="says complete"):
        Manifest.read(tmp_path)


@pytest.mark.parametrize("text", ["", "{", "[1]", "\x00", "[" * 100_000])
def test_what_is_no_json_object_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "sio.json").write_text(text)
    with pytest.raises(CorruptSetError):
        Manifest.read(tmp_path)
