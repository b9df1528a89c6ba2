import itertools
import json
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from sio_data import generate, open_set, repair, verify
from sio_data.cli import main
from sio_data.engines.drawing import Drawer
from sio_data.errors import CorruptSetError, IncompleteError, InputError, SettingsMismatchError
from sio_data.plan import ShardPlan
from sio_data.shards import Batch
from tests.conftest import BACKEND, snapshot
from tests.damage import CARD, DAMAGES, MANIFEST, SHARDS, Damage, edit_manifest, flip

ARGUMENTS = {"per_class": 5, "shard_size": 8, "batch_size": 4, "sampling": {"steps": "1"}}


def times(folder: Path) -> dict[str, int]:
    return {path.name: path.stat().st_mtime_ns for path in (folder / "data").glob("*.tar")}


@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES)
def test_every_damage_is_mended_to_the_byte(
    tiny_generator: Path, tiny_set: Path, damaged: Path, other_set: Path, damage: Damage
) -> None:
    damage.do(damaged, other_set)
    before = times(damaged)
    done = repair(damaged, weights=str(tiny_generator))
    assert snapshot(damaged) == snapshot(tiny_set)
    assert {fault.path for fault in done.faults} == {*damage.faults}
    assert (done.remade, done.removed) == (damage.remade, damage.removed)
    untouched = {*SHARDS} - {*damage.remade}
    assert {Path(name).name: before[Path(name).name] for name in untouched} == {
        Path(name).name: times(damaged)[Path(name).name] for name in untouched
    }
    assert not verify(damaged).faults


def test_without_a_bad_shard_no_generator_is_needed(tiny_set: Path, damaged: Path, other_set: Path) -> None:
    for name, damage in DAMAGES.items():
        if not damage.remade:
            damage.do(damaged, other_set)
            repair(damaged)
            assert snapshot(damaged) == snapshot(tiny_set), name


def leaves(value: object, path: tuple[object, ...] = ()) -> Iterator[tuple[tuple[object, ...], object]]:
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else None
    if items is None:
        yield path, value
    else:
        for key, item in list(items):
            yield from leaves(item, (*path, key))


def test_every_edited_field_of_the_manifest_is_found_and_mended(tiny_set: Path, damaged: Path) -> None:
    whole = (tiny_set / MANIFEST).read_text()
    fields = list(leaves(json.loads(whole)))
    assert len(fields) > 40
    for path, old in fields:
        value = json.loads(whole)
        place = value
        for step in path[:-1]:
            place = place[step]
        place[path[-1]] = not old if isinstance(old, bool) else old + 1 if isinstance(old, int | float) else f"{old}0"
        (damaged / MANIFEST).write_text(json.dumps(value))
        done = repair(damaged)
        assert [fault.path for fault in done.faults] == [MANIFEST], path
        assert snapshot(damaged) == snapshot(tiny_set), path


@pytest.mark.parametrize("first", ["flipped bit", "missing", "swapped", "shard of another set", "cut after a sample"])
@pytest.mark.parametrize(
    "second",
    ["manifest deleted", "manifest with another recipe", "manifest of another set", "records out of order",
     "doubled", "card deleted", "card with another digest", "card with another recipe", "leftovers"],
)  # fmt: skip
def test_two_faults_at_once(
    tiny_generator: Path, tiny_set: Path, damaged: Path, other_set: Path, first: str, second: str
) -> None:
    for name in (first, second):
        DAMAGES[name].do(damaged, other_set)
    done = repair(damaged, weights=str(tiny_generator))
    assert snapshot(damaged) == snapshot(tiny_set)
    if second in ("manifest deleted", "manifest of another set"):  # nothing says any more what the sound ones were
        assert {*DAMAGES[first].remade} <= {*done.remade}
    else:
        assert done.remade == DAMAGES[first].remade


def test_a_single_shard_whose_recipe_is_unreadable_is_mended_with_an_edited_manifest(
    tiny_generator: Path, tmp_path: Path
) -> None:
    whole, folder = tmp_path / "whole", tmp_path / "damaged"
    generate(BACKEND, str(tiny_generator), whole, **{**ARGUMENTS, "per_class": 1})
    shutil.copytree(whole, folder)
    data = (folder / SHARDS[0]).read_bytes()
    flip(folder / SHARDS[0], data.index(b'"recipe":"') + 12)
    edit_manifest(folder, lambda value: value["versions"].update(torch="0"), seal=False)
    assert [fault.path for fault in verify(folder).faults] == [MANIFEST, SHARDS[0]]
    repair(folder, weights=str(tiny_generator))
    assert snapshot(folder) == snapshot(whole)


@pytest.mark.parametrize("extra", ["notes.txt", "train-000009.tar", "folder", "train-000002.tar"])
def test_what_is_not_ours_is_refused_not_deleted(
    tiny_generator: Path, damaged: Path, other_set: Path, extra: str
) -> None:
    flip(damaged / SHARDS[1], 700)
    place = damaged / "data" / extra
    if extra == "train-000009.tar":
        shutil.copy(other_set / SHARDS[0], place)
    elif extra == "notes.txt":
        place.write_text("years of work")
    else:
        place.unlink(missing_ok=True)
        place.mkdir()
        (place / "thesis.tex").touch()
    before = snapshot(damaged)
    with pytest.raises(CorruptSetError, match=rf"{extra} is not part of the set, nor a copy .* Move it out"):
        repair(damaged, weights=str(tiny_generator))
    assert snapshot(damaged) == before


def test_a_repair_that_cannot_work_changes_nothing(
    tiny_generator: Path, tmp_path: Path, damaged: Path, other_set: Path
) -> None:
    for name in ("flipped bit", "doubled", "manifest with another recipe", "leftovers"):
        DAMAGES[name].do(damaged, other_set)
    wrong = Path(shutil.copytree(tiny_generator, tmp_path / "wrong"))
    flip(wrong / "unet/diffusion_pytorch_model.safetensors", -5)
    before = snapshot(damaged)
    for options, error, message in (
        ({}, InputError, "was made with …/unet. Say where it is with --weights"),
        ({"weights": str(tmp_path / "nothing")}, InputError, "no such folder"),
        ({"weights": str(wrong)}, SettingsMismatchError, "are not those that the set was begun with"),
        ({"weights": str(tiny_generator), "sampling": {"steps": "2"}}, SettingsMismatchError, "another sampling"),
        ({"weights": str(tiny_generator), "sampling": {"stepz": "2"}}, InputError, "Did you mean 'steps'"),
        ({"weights": str(tiny_generator), "device": "abacus"}, InputError, "abacus"),
    ):
        with pytest.raises(error, match=message):
            repair(damaged, **options)
        assert snapshot(damaged) == before
    (damaged / CARD).unlink()
    (damaged / MANIFEST).write_text("{}")
    before = snapshot(damaged)
    with pytest.raises(CorruptSetError, match="cannot be mended"):
        repair(damaged, weights=str(tiny_generator))
    assert snapshot(damaged) == before


def test_killed_at_every_moment_and_run_again_it_is_the_same_to_the_byte(
    tiny_generator: Path, tiny_set: Path, other_set: Path, damaged: Path, tmp_path: Path
) -> None:
    """The hardest case: only the card knows the recipe, a shard is bad, one is doubled."""
    for name in ("manifest with another recipe", "flipped bit", "doubled"):
        DAMAGES[name].do(damaged, other_set)
    script = Path(__file__).with_name("kill_at_every_moment.py")
    words = [sys.executable, script, tiny_generator, tmp_path, damaged]
    result = subprocess.run([str(word) for word in words], capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    moments = json.loads(result.stdout)
    assert len(moments) >= 20
    expected = snapshot(tiny_set)
    for moment in moments:
        assert moment["killed"]
        assert snapshot(Path(moment["folder"])) == expected, moment
    states = [moment["state"] for moment in moments]
    cards = ["incomplete" if "This set is incomplete" in moment["card"] else "complete" for moment in moments]
    assert [name for name, _ in itertools.groupby(states)] == ["complete", "incomplete", "complete"]
    assert [name for name, _ in itertools.groupby(cards)] == ["complete", "incomplete", "complete"]
    assert cards.index("incomplete") <= states.index("incomplete")


def stop_in(monkeypatch: pytest.MonkeyPatch, index: int) -> None:
    draw = Drawer.draw

    def stop(self: Drawer, shard: ShardPlan) -> Iterator[Batch]:
        if shard.index == index:
            raise KeyboardInterrupt
        yield from draw(self, shard)

    monkeypatch.setattr(Drawer, "draw", stop)


@pytest.mark.parametrize("how", ["repair", "generate"])
def test_interrupted_it_goes_on(
    tiny_generator: Path, tiny_set: Path, damaged: Path, monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    for index in (1, 3):
        flip(damaged / SHARDS[index], 700)
    stop_in(monkeypatch, 3)
    assert main(["repair", str(damaged), "--weights", str(tiny_generator)]) == 130
    with pytest.raises(IncompleteError):
        open_set(damaged)
    with pytest.raises(IncompleteError):
        verify(damaged)
    assert "incomplete" in (damaged / CARD).read_text()
    monkeypatch.undo()
    if how == "repair":
        assert repair(damaged, weights=str(tiny_generator)).remade == (SHARDS[3],)
    else:
        assert generate(BACKEND, str(tiny_generator), damaged, **ARGUMENTS).made == 6
    assert snapshot(damaged) == snapshot(tiny_set)


@pytest.fixture
def unfinished(tiny_generator: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A set whose first two shards are there."""
    stop_in(monkeypatch, 2)
    with pytest.raises(KeyboardInterrupt):
        generate(BACKEND, str(tiny_generator), tmp_path / "unfinished", **ARGUMENTS)
    monkeypatch.undo()
    return tmp_path / "unfinished"


RECORD = ".records/train-000001.json"


@pytest.mark.parametrize(
    ("damage", "remade"),
    [
        (lambda s: None, SHARDS[2:]),
        (lambda s: flip(s / SHARDS[1], 700), SHARDS[1:]),
        (lambda s: (s / SHARDS[0]).unlink(), (SHARDS[0], *SHARDS[2:])),
        (lambda s: (s / RECORD).write_text("{"), SHARDS[1:]),
        (lambda s: (s / RECORD).write_text((s / RECORD).read_text().replace("8", "7")), SHARDS[1:]),
        (lambda s: shutil.copy(s / ".records/train-000000.json", s / RECORD), SHARDS[1:]),
        (lambda s: edit_manifest(s, lambda value: value["recipe"].update(seed=7), seal=False), SHARDS[2:]),
        (lambda s: (s / MANIFEST).unlink(), SHARDS[2:]),
        (lambda s: (s / CARD).unlink(), SHARDS[2:]),
        (lambda s: shutil.rmtree(s / ".records"), SHARDS),
    ],
)  # fmt: skip
def test_an_incomplete_set_is_finished(
    tiny_generator: Path, tiny_set: Path, unfinished: Path, damage: object, remade: tuple[str, ...]
) -> None:
    damage(unfinished)
    assert repair(unfinished, weights=str(tiny_generator)).remade == remade
    assert snapshot(unfinished) == snapshot(tiny_set)


@pytest.mark.parametrize("text", ["{", None])
def test_generate_makes_a_shard_again_whose_record_is_damaged_or_another_ones(
    tiny_generator: Path, tiny_set: Path, unfinished: Path, text: str | None
) -> None:
    (unfinished / RECORD).write_text(text or (unfinished / ".records/train-000000.json").read_text())
    assert generate(BACKEND, str(tiny_generator), unfinished, **ARGUMENTS).made == 22
    assert snapshot(unfinished) == snapshot(tiny_set)


def test_generate_rewrites_a_card_that_does_not_fit(
    tiny_generator: Path, tiny_set: Path, damaged: Path, other_set: Path
) -> None:
    """Killed between the card and the manifest of a reopened set, it must not be taken for whole."""
    DAMAGES["card of another set"].do(damaged, other_set)
    assert generate(BACKEND, str(tiny_generator), damaged, **ARGUMENTS).made == 0
    assert snapshot(damaged) == snapshot(tiny_set)


def test_weights_named_by_a_relative_path_need_not_be_named_again(
    tiny_generator: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tiny_generator.parent)
    folder = tmp_path / "set"
    generate(BACKEND, tiny_generator.name, folder, **ARGUMENTS, classes=["five", "zero"], image_format="jpg")
    before = snapshot(folder)
    flip(folder / SHARDS[0], 700)
    assert repair(folder).remade == (SHARDS[0],)
    assert snapshot(folder) == before


def test_the_command_says_what_it_did(
    tiny_generator: Path, damaged: Path, other_set: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("missing", "doubled"):
        DAMAGES[name].do(damaged, other_set)
    words = ["repair", str(damaged), "--weights", str(tiny_generator)]
    assert main(words) == 0
    assert capsys.readouterr().out.splitlines() == [
        "data/train-000002.tar: is missing",
        "data/train-000009.tar: is not part of the set",
        "data/train-000002.tar: made again.",
        "data/train-000009.tar: deleted, a copy.",
        f"{damaged} is mended and sound.",
    ]
    assert main(words) == 0
    assert capsys.readouterr().out == f"{damaged} is sound. Nothing to do.\n"
