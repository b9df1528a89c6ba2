"""`filter` on a set whose answers are known: a classifier reads the label off an image's colour."""

import csv
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

import sio_data
from sio_data import ImageSet, filter_set, open_set, repair, verify
from sio_data.cli import main
from sio_data.compilation import Compilation, SourceFile
from sio_data.engines.job import ShardJob
from sio_data.errors import InputError
from sio_data.filtering import networks
from sio_data.filtering.judging import Evidence
from sio_data.filtering.rules import Rules
from sio_data.filtering.selection import Selection
from sio_data.layout import Layout
from sio_data.making import begin, finish
from sio_data.manifest import Manifest, Origin
from sio_data.quality.comparison import RealSplits
from sio_data.shards import Batch
from tests.conftest import snapshot

NAMES = ("red", "green", "blue")
SIDE = 8


class Colours(nn.Module):
    """Knows a class by its colour channel, and is the surer the brighter it is; its classes stand in another order."""

    class_names = ("blue", "red", "green")
    image_size = SIDE

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(1))

    def features(self, images: torch.Tensor) -> torch.Tensor:
        return images.flatten(1).float()

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return images.float().mean((2, 3))[:, [2, 0, 1]] / 25


def paint(channel: int, brightness: int, noise: int) -> np.ndarray:
    image = np.random.RandomState(noise).randint(0, 20, (SIDE, SIDE, 3), dtype=np.uint8)
    image[..., channel] += np.uint8(brightness)
    return image


@pytest.fixture
def painted(tmp_path: Path) -> Path:
    """Twelve images, four a class: sample 5 shows another class, sample 9 repeats sample 3, brightness rises."""
    labels = np.arange(12) % 3
    images = np.stack([paint(label, 60 + 10 * place, place) for place, label in enumerate(labels.tolist())])
    images[5], images[9] = paint(0, 200, 5), images[3]
    counts = (4, 4, 4)
    compilation = Compilation("import", (SourceFile("x", "0" * 64),), {}, "1" * 64, NAMES, counts, SIDE, shard_size=5)
    layout = Layout(compilation)

    def draw(index: int) -> list[Batch]:
        cut = slice(layout.start(index), layout.start(index) + layout.size(index))
        details = [{"source": {"row": row}} for row in range(cut.start, cut.stop)]
        return [Batch(images[cut], labels[cut], details, layout.size(index))]

    folder = tmp_path / "painted"
    manifest = begin(folder, Manifest(compilation, Origin("x", "mit", "Painter 2026", "sio-data import x")))
    finish(folder, manifest, ShardJob(folder, layout, draw).make, "importing")
    return folder


@pytest.fixture(autouse=True)
def _colours(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(networks.Classifier, "from_pretrained", lambda name: Colours().eval())


def kept_of(folder: Path) -> list[int]:
    return [int(sample.metadata["source"]["key"]) for sample in open_set(folder).samples()]


def reasons(folder: Path) -> dict[int, str]:
    with (folder / "dropped.csv").open() as file:
        return {int(row["key"]): row["reason"] for row in csv.DictReader(file)}


def test_disagreeing_images_are_dropped_and_the_classes_are_matched_by_name(painted: Path, tmp_path: Path) -> None:
    done = filter_set(painted, tmp_path / "new", classifier="colours", drop=["disagreeing"])
    assert (done.kept, done.dropped) == (11, {"disagreeing": 1})
    assert reasons(tmp_path / "new") == {5: "disagreeing"}
    assert kept_of(tmp_path / "new") == [0, 1, 2, 3, 4, 6, 7, 8, 9, 10, 11]


def test_the_surest_share_of_each_class_is_kept(painted: Path, tmp_path: Path) -> None:
    done = filter_set(painted, tmp_path / "new", classifier="colours", keep=0.3)
    by_class = np.bincount([sample.label for sample in open_set(tmp_path / "new").samples()])
    assert by_class.tolist() == [2, 2, 2]
    assert done.dropped == {"unsure": 6}
    assert 6 in kept_of(tmp_path / "new")
    assert 0 not in kept_of(tmp_path / "new")
    assert 5 not in kept_of(tmp_path / "new")


def test_repeats_are_dropped_but_for_the_first(painted: Path, tmp_path: Path) -> None:
    filter_set(painted, tmp_path / "new", drop=["repeats"])
    assert reasons(tmp_path / "new") == {9: "repeats"}
    assert "the pixels of 000000003" in (tmp_path / "new/dropped.csv").read_text()


@pytest.fixture
def copied(painted: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Real training images are noise, and a copy of sample 7; held-out ones are copies of samples 0 to 3 in noise."""
    images = open_set(painted).read().images
    noise = torch.randint(0, 256, (60, 3, SIDE, SIDE), dtype=torch.uint8, generator=torch.manual_seed(0))
    train = ImageSet(torch.cat((noise, images[7:8])), torch.zeros(61, dtype=torch.int64), ("red",))
    held_out = ImageSet(images[:4], torch.zeros(4, dtype=torch.int64), ("red",))
    monkeypatch.setattr(networks.RealSplits, "load", lambda *names, **options: RealSplits(train, held_out, "val"))


@pytest.mark.usefixtures("copied")
def test_near_copies_of_real_images_are_dropped(painted: Path, tmp_path: Path) -> None:
    rules = {"classifier": "colours", "drop": ["near-copies"], "real": "x", "bits": 0}
    filter_set(painted, tmp_path / "new", ratio=0.1, **rules)
    assert reasons(tmp_path / "new") == {7: "near-copies"}


@pytest.mark.usefixtures("copied")
def test_held_out_images_set_the_bound_where_none_is_given(painted: Path, tmp_path: Path) -> None:
    filter_set(painted, tmp_path / "new", classifier="colours", drop=["near-copies"], real="x", bits=0)
    recipe = open_set(tmp_path / "new").manifest.recipe
    assert isinstance(recipe, Compilation)
    nearest_held_out = recipe.rule["ratio"]
    assert 0 < nearest_held_out < 0.5
    assert 7 in reasons(tmp_path / "new")
    assert any(
        f"ratio {nearest_held_out:g}," in line for line in (tmp_path / "new/dropped.csv").read_text().split("\n")
    )


def test_the_new_set_is_sound_keeps_pixels_and_provenance_and_says_what_was_dropped(
    painted: Path, tmp_path: Path
) -> None:
    new = tmp_path / "new"
    filter_set(painted, new, classifier="colours", drop=["disagreeing", "repeats"])
    assert not verify(new).faults
    old, chosen = open_set(painted).read(), open_set(new)
    assert torch.equal(chosen.read().images, old.images[kept_of(new)])
    last = list(chosen.samples())[-1].metadata["source"]
    assert last["key"] == "000000011"
    assert last["source"] == {"row": 11}
    assert 0.5 < last["confidence"] <= 1
    recipe = chosen.manifest.recipe
    assert isinstance(recipe, Compilation)
    assert recipe.parent == open_set(painted).manifest.recipe
    assert recipe.counts == (3, 4, 3)
    assert chosen.manifest.origin.licence == "mit"
    card = (new / "README.md").read_text()
    assert "| dropped disagreeing | 1 |" in card
    assert "| dropped repeats | 1 |" in card


def test_interrupted_and_called_again_it_ends_in_the_same_bytes(
    painted: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    arguments = {"classifier": "colours", "drop": ["disagreeing"]}
    filter_set(painted, tmp_path / "whole", **arguments)
    write = ShardJob.write

    def stop_in_second(self: ShardJob, index: int, batches: object) -> None:
        if index == 1:
            raise KeyboardInterrupt
        write(self, index, batches)

    with monkeypatch.context() as patch:
        patch.setattr(ShardJob, "write", stop_in_second)
        with pytest.raises(KeyboardInterrupt):
            filter_set(painted, tmp_path / "broken", **arguments)
    filter_set(painted, tmp_path / "broken", **arguments)
    assert snapshot(tmp_path / "broken") == snapshot(tmp_path / "whole")
    before = snapshot(tmp_path / "whole")
    filter_set(painted, tmp_path / "whole", **arguments)
    assert snapshot(tmp_path / "whole") == before


def test_an_edited_list_of_the_dropped_is_found(painted: Path, tmp_path: Path) -> None:
    filter_set(painted, tmp_path / "new", drop=["repeats"])
    (tmp_path / "new/dropped.csv").write_text("nothing was dropped\n")
    assert [fault.path for fault in verify(tmp_path / "new").faults] == ["dropped.csv"]
    before = snapshot(tmp_path)
    with pytest.raises(InputError, match=r"dropped\.csv.* run this again .*sio-data filter"):
        repair(tmp_path / "new")
    assert snapshot(tmp_path) == before
    filter_set(painted, tmp_path / "new", drop=["repeats"])
    assert not verify(tmp_path / "new").faults


def choose(tiny_set: Path, out: Path, kept: list[int]) -> None:
    """Choose samples of a generated set by hand."""
    synthetic = open_set(tiny_set)
    nothing = np.empty(0)
    verdicts = np.full(30, "repeats")
    verdicts[kept] = "kept"
    labels = synthetic.read().labels.numpy()
    evidence = Evidence(labels, nothing, nothing, nothing, nothing, nothing, np.arange(30))
    selection = Selection(synthetic, evidence, verdicts)
    compilation = selection.compile({})
    manifest = begin(out, Manifest(compilation, synthetic.manifest.origin))
    (out / "dropped.csv").write_text(selection.listing)
    finish(out, manifest, ShardJob(out, Layout(compilation), selection.draw).make, "copying")


def test_samples_of_a_filtered_set_are_made_again(tiny_set: Path, tiny_generator: Path, tmp_path: Path) -> None:
    choose(tiny_set, tmp_path / "new", [4, 11, 23])
    assert not verify(tmp_path / "new").faults
    made = sio_data.regenerate(tmp_path / "new", 1, weights=str(tiny_generator))
    assert made.sample.metadata["source"]["key"] == "000000011"
    assert not made.difference.any()


@pytest.mark.parametrize(
    ("lie", "message"),
    [
        ({"key": "000000005"}, "not those that the recipe plans"),
        ({"key": "-00000005"}, "not those that the recipe plans"),
        ({"key": "1" * 30}, "not those that the recipe plans"),
        ({"key": "100000000"}, "not those that the recipe plans"),
        ({"key": None}, "do not say where it comes from"), ({"seed": -1}, "not those that the recipe plans"),
        ({"seed": 10**30}, "not those that the recipe plans"), ({"seed": "1"}, "not those that the recipe plans"),
        ({"recipe": "0" * 64}, "no sample of the set"),
    ],
)  # fmt: skip
def test_an_invented_origin_is_found(
    lie: dict[str, object], message: str, tiny_set: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tell = Selection._source
    monkeypatch.setattr(Selection, "_source", lambda self, sample: {**tell(self, sample), **lie})
    monkeypatch.setattr(
        "sio_data.completion.SyntheticSet.write_preview", lambda self: (self.folder / "preview.png").touch()
    )
    choose(tiny_set, tmp_path / "new", [4])
    assert message in verify(tmp_path / "new").faults[0].what


@pytest.mark.parametrize(("keep", "count", "kept"), [(0.07, 100, 7), (0.28, 25, 7), (0.55, 100, 55), (0.1, 3, 1)])
def test_a_share_is_what_it_says(keep: float, count: int, kept: int) -> None:
    nothing, labels = np.empty(0), np.zeros(count, np.int64)
    evidence = Evidence(labels, np.arange(count) / 7, np.ones(count), labels, nothing, nothing, np.arange(count))
    verdicts = Rules((), keep, None, 4).sort(evidence, ["red"], ["red"])
    assert np.flatnonzero(verdicts == "kept").tolist() == list(range(count - kept, count))


def test_nothing_of_this_machine_is_recorded(painted: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(painted)
    filter_set(".", tmp_path / "new", classifier=str(tmp_path / "colours"), drop=["disagreeing"])
    recorded = (tmp_path / "new/sio.json").read_text()
    assert str(tmp_path) not in recorded
    assert '"name": "painted"' in recorded


def test_a_classifier_of_nothing_is_refused(painted: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Colours, "forward", lambda self, images: torch.full((len(images), 3), torch.nan))
    with pytest.raises(InputError, match="NaN or infinite"):
        filter_set(painted, tmp_path / "new", classifier="colours", keep=0.5)
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({}, "nothing to filter by"),
        ({"drop": ["ugly"]}, "unknown thing to drop 'ugly'"),
        ({"keep": 0.0, "classifier": "colours"}, "keep must be a share"),
        ({"keep": float("nan"), "classifier": "colours"}, "keep must be a share"),
        ({"keep": 0.5}, "give --classifier"),
        ({"drop": ["disagreeing"]}, "give --classifier"),
        ({"drop": ["near-copies"], "classifier": "colours"}, "give --real"),
        ({"drop": ["near-copies"], "real": "digits"}, "give --features or --classifier"),
        ({"drop": ["repeats"], "real": "digits"}, "no rule has a use for --real"),
        ({"drop": ["repeats"], "classifier": "colours"}, "no rule has a use for --classifier"),
        ({"drop": ["repeats"], "features": "colours"}, "no rule has a use for --features"),
        ({"drop": ["near-copies"], "real": "digits", "classifier": "colours", "bits": 65}, "bits from 0 to 64"),
        ({"drop": ["near-copies"], "real": "digits", "classifier": "colours", "bits": 64}, "no image of"),
    ],
)
def test_what_makes_no_sense_is_refused_and_nothing_is_written(
    painted: Path, tmp_path: Path, arguments: dict[str, object], message: str
) -> None:
    before = snapshot(tmp_path)
    with pytest.raises(InputError, match=message):
        filter_set(painted, tmp_path / "new", **arguments)
    assert snapshot(tmp_path) == before


def test_the_command_says_what_it_dropped(
    painted: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], refuse: Callable[..., str]
) -> None:
    assert main(["filter", str(painted), "--out", str(tmp_path / "new"), "--drop", "repeats"]) == 0
    printed = capsys.readouterr().out
    assert "dropped, repeats: 1" in printed
    assert "11 images" in printed
    for inside in (painted, painted / "best"):
        said = refuse("filter", painted, "--out", inside, "--drop", "repeats", unchanged=tmp_path)
        assert "lies in the set itself" in said
