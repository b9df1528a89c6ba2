import json
import shutil
from pathlib import Path

import pytest

from sio_data.errors import CorruptSetError
from sio_data.manifest import Manifest
from sio_data.recovery import card_copy, card_digest, card_metadata, is_of_another_set, recover_manifest
from sio_data.set_card import card_fits
from tests.damage import CARD, DAMAGES, MANIFEST, SHARDS, edit_manifest, flip, replace_text


def test_a_deleted_manifest_comes_back_from_card_and_shards(tiny_set: Path, damaged: Path) -> None:
    (damaged / MANIFEST).unlink()
    found, original = recover_manifest(damaged), Manifest.read(tiny_set)
    assert (found.recipe, found.origin, found.shards) == (original.recipe, original.origin, original.shards)
    assert list(found.recipe.sampling) == list(original.recipe.sampling)
    assert found.complete


@pytest.mark.parametrize(
    ("names", "recovered"),
    [
        (["manifest with another recipe"], True),
        (["manifest deleted", "all but one shard unreadable"], True),
        (["card deleted", "versions edited"], True),
        (["all missing", "versions edited"], True),
        (["manifest with another recipe", "card deleted"], False),
        (["manifest with another recipe", "all missing"], False),
        (["manifest deleted", "card deleted"], False),
        (["manifest deleted", "all missing"], False),
        (["manifest deleted", "card of another set"], False),
        (["card with another recipe", "manifest with another recipe"], False),
    ],
)  # fmt: skip
def test_two_of_three_witnesses_decide(
    tiny_set: Path, damaged: Path, other_set: Path, names: list[str], recovered: bool
) -> None:
    for name in names:
        if name == "versions edited":
            edit_manifest(damaged, lambda value: value["versions"].update(torch="0"), seal=False)
        elif name == "all but one shard unreadable":
            for shard in SHARDS[:3]:
                (damaged / shard).write_bytes(b"\xff" * 2000)
        else:
            DAMAGES[name].do(damaged, other_set)
    if recovered:
        assert recover_manifest(damaged).recipe == Manifest.read(tiny_set).recipe
    else:
        with pytest.raises(CorruptSetError, match=r"no two of sio\.json, README\.md and the shards .* Make it anew"):
            recover_manifest(damaged)


def test_one_shard_of_another_set_does_not_outvote_the_others(damaged: Path, other_set: Path) -> None:
    shutil.copy(other_set / SHARDS[0], damaged / SHARDS[0])
    (damaged / CARD).unlink()
    edit_manifest(damaged, lambda value: value["versions"].update(torch="0"), seal=False)
    assert recover_manifest(damaged).recipe.seed == 0


def test_sound_records_of_an_edited_manifest_are_kept_and_others_are_not(tiny_set: Path, damaged: Path) -> None:
    flip(damaged / SHARDS[0], 700)
    hostile = [
        {"path": "../../etc/passwd", "sha256": "0" * 64, "bytes": 1, "samples": 1, "draws": 1},
        {"path": "data/train-000077.tar", "sha256": "0" * 64, "bytes": 1, "samples": 1, "draws": 1},
        "x",
    ]
    edit_manifest(damaged, lambda value: value["shards"].extend(hostile), seal=False)
    assert recover_manifest(damaged).shards == Manifest.read(tiny_set).shards
    edit_manifest(damaged, lambda value: value.update(shards="x"), seal=False)
    assert recover_manifest(damaged).shards == ()


def test_leftovers_do_not_make_a_complete_set_incomplete(damaged: Path, other_set: Path) -> None:
    for name in ("flipped bit", "leftovers", "manifest with another recipe"):
        DAMAGES[name].do(damaged, other_set)
    assert recover_manifest(damaged).complete


def test_only_two_witnesses_make_a_sound_manifest_that_of_another_set(damaged: Path, other_set: Path) -> None:
    manifest, other = Manifest.read(damaged), Manifest.read(other_set)
    assert not is_of_another_set(damaged, manifest)
    assert is_of_another_set(damaged, other)
    (damaged / CARD).unlink()
    assert not is_of_another_set(damaged, other)
    DAMAGES["card of another set"].do(damaged, other_set)
    assert not is_of_another_set(damaged, manifest)


@pytest.mark.parametrize(
    "text",
    ["", "---\n", "---\nx: [\n---\n", "---\n- 1\n---\n", "---\nconfigs: 5\n---\n", "---\nconfigs: []\n---\n",
     "```json\n{\n```", "```json\n{\"recipe\": 5}\n```", "```json\n{" + '"a":{' * 5000 + "}\n```", "\x00"],
)  # fmt: skip
def test_a_card_that_says_nothing_sound_is_no_witness(damaged: Path, text: str) -> None:
    (damaged / CARD).write_text(text)
    assert card_digest(damaged) is None
    assert not card_fits(damaged, Manifest.read(damaged))
    assert isinstance(card_metadata(damaged), dict)
    (damaged / MANIFEST).write_text("")
    with pytest.raises(CorruptSetError):
        recover_manifest(damaged)


def test_a_card_that_is_no_text_is_no_witness(damaged: Path) -> None:
    (damaged / CARD).write_bytes(b"\xff\xfe\x00")
    assert (card_copy(damaged), card_metadata(damaged)) == ({}, {})


def test_the_card_holds_a_copy_without_the_shards(tiny_set: Path) -> None:
    value = json.loads((tiny_set / MANIFEST).read_text())
    assert card_copy(tiny_set) == {"recipe": value["recipe"], "generator": value["generator"]}
    assert card_digest(tiny_set) == value["digest"]


def test_an_edited_licence_comes_back_from_the_card(tiny_set: Path, damaged: Path) -> None:
    replace_text(damaged / MANIFEST, "cc-by-4.0", "mit")
    assert recover_manifest(damaged).origin.licence == "cc-by-4.0"
