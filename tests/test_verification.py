import random
import shutil
from pathlib import Path

import pytest
import torch

from sio_data import generate, verify
from sio_data.cli import main
from sio_data.errors import CorruptSetError, IncompleteError, InputError
from sio_data.manifest import Manifest
from sio_data.recovery import copy_for_card
from tests.conftest import BACKEND, snapshot
from tests.damage import DAMAGES, MANIFEST, SHARDS, Damage, edit_manifest, flip, replace_text


@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES)
def test_every_damage_is_named_and_nothing_is_changed(damaged: Path, other_set: Path, damage: Damage) -> None:
    damage.do(damaged, other_set)
    before = snapshot(damaged)
    found = verify(damaged)
    assert {fault.path: True for fault in found.faults} == dict.fromkeys(damage.faults, True)
    assert len(found.faults) == len(damage.faults)
    for fault in found.faults:
        assert damage.faults[fault.path] in fault.what
        assert str(damaged) not in fault.what
    assert snapshot(damaged) == before


def test_a_sound_set_has_no_faults(tiny_set: Path) -> None:
    found = verify(str(tiny_set))
    assert (found.faults, found.samples, found.comparison, found.folder) == ((), 30, None, tiny_set)


def test_a_bit_flipped_anywhere_in_a_shard_is_found(damaged: Path) -> None:
    path = damaged / SHARDS[1]
    whole = path.read_bytes()
    places = random.Random(0).sample(range(len(whole)), 40)
    for place in (0, *places, len(whole) - 1):
        flip(path, place, bit=place % 8)
        assert [fault.path for fault in verify(damaged).faults] == [SHARDS[1]], place
        path.write_bytes(whole)
    assert not verify(damaged).faults


def test_all_faults_are_named_at_once(damaged: Path, other_set: Path) -> None:
    names = ("flipped bit", "missing", "doubled", "card with another digest", "preview deleted")
    for name in names:
        DAMAGES[name].do(damaged, other_set)
    expected = {path for name in names for path in DAMAGES[name].faults}
    assert {fault.path for fault in verify(damaged).faults} == expected


def test_notes_in_the_card_and_hidden_files_are_no_faults(damaged: Path) -> None:
    replace_text(damaged / "README.md", "## Limits", "## My own notes\n\nNice set.\n\n## Limits")
    replace_text(damaged / "README.md", "tags:\n", "tags:\n- mine\n")
    (damaged / "data/.DS_Store").touch()
    (damaged / "notes.txt").touch()
    assert not verify(damaged).faults


def test_names_that_are_hard_to_write_are_no_fault(tiny_generator: Path, tmp_path: Path) -> None:
    import json

    weights = Path(shutil.copytree(tiny_generator, tmp_path / "weights"))
    index = json.loads((weights / "model_index.json").read_text())
    hostile = ["no", "1", "---\nlicense: mit", "```\n<b>(x)", "a | `e` \\\\\\f", "ö: 'x' \"y\" #z\u2028\x85"]
    index["id2label"] = {str(label): name for label, name in enumerate(hostile)}
    (weights / "model_index.json").write_text(json.dumps(index))
    done = generate(BACKEND, str(weights), tmp_path / "set", per_class=1, sampling={"steps": "1"})
    assert list(done.recipe.class_names) == hostile
    assert not verify(tmp_path / "set").faults
    assert not {*"`<>&("} & {*copy_for_card(done.set.manifest)}
    (tmp_path / "set/sio.json").unlink()
    assert [fault.path for fault in verify(tmp_path / "set").faults] == [MANIFEST]
    assert generate(BACKEND, str(weights), tmp_path / "other", per_class=1, sampling={"steps": "1"}).made == 6


def test_what_is_no_set_is_refused(tmp_path: Path, tiny_generator: Path) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data/train.csv").touch()
    for folder in (tmp_path, tmp_path / "nothing", tiny_generator, tmp_path / "data/train.csv"):
        with pytest.raises(InputError, match=r"is no synthetic set: it holds no sio\.json"):
            verify(folder)


def test_an_incomplete_set_is_no_set_to_verify(damaged: Path) -> None:
    edit_manifest(damaged, lambda value: value.update(complete=False, shards=[], samples=0))
    with pytest.raises(IncompleteError, match="is incomplete"):
        verify(damaged)


def test_a_directory_in_place_of_a_shard_is_named(damaged: Path) -> None:
    (damaged / SHARDS[0]).unlink()
    (damaged / SHARDS[0]).mkdir()
    (damaged / "data/more").mkdir()
    assert [(fault.path, fault.what) for fault in verify(damaged).faults] == [
        (SHARDS[0], "is missing"), ("data/more", "is not part of the set"), (SHARDS[0], "is not part of the set"),
    ]  # fmt: skip


@pytest.mark.parametrize(("count", "made"), [(1, 1), (7, 7), (100, 30)])
def test_samples_made_again_are_the_same(tiny_set: Path, tiny_generator: Path, count: int, made: int) -> None:
    found = verify(tiny_set, regenerate=count, weights=str(tiny_generator))
    assert not found.faults
    assert found.comparison
    assert found.comparison.samples == made
    assert found.comparison.largest <= 1
    assert found.comparison.identical >= made - 1


def test_samples_made_again_are_spread_over_the_set(
    tiny_set: Path, tiny_generator: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from sio_data.engines.drawing import Drawer

    seeds: list[int] = []
    sample = Drawer.sample

    def watch(self: Drawer, own_labels: object, drawn: object) -> torch.Tensor:
        seeds.extend(drawn.tolist())
        return sample(self, own_labels, drawn)

    monkeypatch.setattr(Drawer, "sample", watch)
    verify(tiny_set, regenerate=3, weights=str(tiny_generator))
    from sio_data.plan import Plan

    plan = Plan(Manifest.read(tiny_set).recipe)
    assert seeds == [plan.seeds(index) for index in (0, 10, 20)]


def test_another_picture_is_noticed_and_the_command_says_that_no_repair_helps(
    tiny_set: Path, tiny_generator: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from sio_data.engines.drawing import Drawer

    own_labels = Drawer.own_labels
    monkeypatch.setattr(Drawer, "own_labels", lambda self, samples: (own_labels(self, samples) + 3) % 6)
    found = verify(tiny_set, regenerate=2, weights=str(tiny_generator))
    assert found.comparison
    assert found.comparison.largest > 1
    monkeypatch.setattr("sio_data.regeneration._LARGEST_MEAN_DIFFERENCE", 0.0)
    words = ["verify", str(tiny_set), "--regenerate", "2", "--weights", str(tiny_generator)]
    assert main(words) == 1
    shown = capsys.readouterr()
    assert "000000000: made again, it is another picture" in shown.out
    assert "000000015: made again, it is another picture" in shown.out
    assert "2 samples made again: 0 identical" in shown.out
    assert "here its generator draws other pictures" in " ".join(shown.err.split())
    assert "sio-data repair" not in shown.err


def test_a_damaged_set_is_not_made_again(damaged: Path, tiny_generator: Path) -> None:
    flip(damaged / SHARDS[0], 700)
    assert verify(damaged, regenerate=5, weights=str(tiny_generator)).comparison is None


def test_bad_arguments_are_refused(tiny_set: Path, tmp_path: Path) -> None:
    for options, message in (
        ({"regenerate": -1}, "regenerate must be 0 or more samples, not -1"),
        ({"regenerate": 1}, "was made with …/unet. Say where it is with --weights"),
        ({"regenerate": 1, "weights": str(tmp_path)}, "no generator folder"),
    ):
        with pytest.raises(InputError, match=message):
            verify(tiny_set, **options)


def test_the_command_ends_with_1_and_names_every_fault(
    damaged: Path, other_set: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["verify", str(damaged)]) == 0
    assert capsys.readouterr().out == f"{damaged} is sound: 30 images, all checked.\n"
    DAMAGES["missing"].do(damaged, other_set)
    assert main(["verify", str(damaged)]) == 1
    shown = capsys.readouterr()
    assert shown.out == "data/train-000002.tar: is missing\n"
    assert f"1 fault. Mend it with: sio-data repair {damaged}" in " ".join(shown.err.split())
    DAMAGES["doubled"].do(damaged, other_set)
    assert main(["verify", str(damaged)]) == 1
    assert "2 faults." in capsys.readouterr().err


def test_a_recipe_that_is_lost_is_said_so(damaged: Path, other_set: Path) -> None:
    for name in ("manifest with another recipe", "card deleted"):
        DAMAGES[name].do(damaged, other_set)
    with pytest.raises(CorruptSetError, match=r"cannot be mended: no two of sio\.json, README\.md and the shards"):
        verify(damaged)
