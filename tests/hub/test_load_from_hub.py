"""`load` of sets of ours on the Hub: checked before `load_dataset` reads them, all files of one commit.

That streamed rows are the right ones is in `test_bundle_of_sets.py`: it takes a process of its own.
"""

from pathlib import Path

import numpy as np
import pytest

from sio_data import load, load_source, open_set, splits
from sio_data.errors import InputError, SioDataError, UnknownNameError
from sio_data.source_names import SourceName
from tests.damage import SHARDS
from tests.hub_server import Hub

both = pytest.mark.parametrize("streaming", [False, True])
of_both_kinds = pytest.mark.parametrize(("name", "place"), [("me/set", ""), ("me/sets", "digits/train/")])
END_OF_A_SAMPLE = 6 * 512


@pytest.mark.parametrize(
    ("name", "split", "part"),
    [
        ("hub:me/set@v1", "train", "digits/train"),
        ("hub:me/sets/animals@v1", "train", "animals"),
        ("hub:me/sets/digits", "val", "digits/validation"),
        ("hub:me/sets", "train", "digits/train"),
        ("hub:me/sets#validation", "train", "digits/validation"),
    ],
)
def test_rows_are_those_of_the_folder_and_are_fetched_once(
    hub: Hub, published: Path, name: str, split: str, part: str
) -> None:
    rows, samples = load(name, split), list(open_set(published / part).samples())
    assert np.array_equal([np.asarray(row["image"]) for row in rows], [sample.image for sample in samples])
    assert [row["label"] for row in rows] == [sample.label for sample in samples]
    assert [row["key"] for row in rows] == [sample.key for sample in samples]
    assert hub.count("cdn") == len(open_set(published / part).manifest.shards)
    hub.requests.clear()
    load(name, split)
    assert not hub.count("get", "cdn")


def test_a_part_is_a_source_of_images(published: Path) -> None:
    assert (
        load_source("hub:me/sets/animals@v1", hold_out=False).digest == load_source(str(published / "animals")).digest
    )
    train, val = (load_source("hub:me/sets/digits@v1", split) for split in ("train", "val"))
    assert train.digest == load_source(str(published / "digits/train")).digest
    assert val.digest == load_source(str(published / "digits/validation")).digest


@both
@of_both_kinds
def test_a_shard_that_was_cut_off_after_a_sample_is_refused(
    hub: Hub, published: Path, name: str, place: str, streaming: bool
) -> None:
    path = place + SHARDS[3]
    hub.add(name, "dataset", {path: hub.files(name, "dataset")[path][:END_OF_A_SAMPLE]})
    message = rf"{path} has 3,072 of .*publish it again" if streaming else rf"{SHARDS[3]} did not arrive as sio\.json"
    with pytest.raises(SioDataError, match=message):
        load(f"hub:{name}", streaming=streaming)
    if not streaming:
        with pytest.raises(SioDataError, match="did not arrive"):
            load_source(f"hub:{name}")


@both
@of_both_kinds
def test_a_shard_that_is_missing_is_refused(hub: Hub, published: Path, name: str, place: str, streaming: bool) -> None:
    files = {path: data for path, data in hub.files(name, "dataset").items() if path != place + SHARDS[3]}
    hub.repos.clear()
    hub.add(name, "dataset", files)
    with pytest.raises(InputError, match=rf"{place}{SHARDS[3]}.*(no such file|is missing)"):
        load(f"hub:{name}", streaming=streaming)


@both
@pytest.mark.parametrize(("name", "card"), [("me/set", "README.md"), ("me/sets", "digits/train/README.md")])
def test_a_card_with_other_classes_is_refused(hub: Hub, published: Path, name: str, card: str, streaming: bool) -> None:
    card = "README.md" if streaming else card  # what load_dataset reads
    text = hub.files(name, "dataset")[card].replace(b"'0': zero", b"'0': one")
    hub.add(name, "dataset", {card: text})
    with pytest.raises(SioDataError, match="other rows or class names"):
        load(f"hub:{name}", streaming=streaming)


@both
def test_a_part_without_its_manifest_is_refused(hub: Hub, published: Path, streaming: bool) -> None:
    files = {path: data for path, data in hub.files("me/sets", "dataset").items() if path != "digits/train/sio.json"}
    hub.repos.clear()
    hub.add("me/sets", "dataset", files)
    with pytest.raises(InputError, match=r"digits/train/sio\.json is missing\. Its owner must publish it again"):
        load("hub:me/sets/digits", streaming=streaming)


@both
def test_a_split_that_is_not_there_is_said_so_before_anything_large_is_fetched(
    hub: Hub, published: Path, streaming: bool
) -> None:
    with pytest.raises(UnknownNameError, match="unknown split of hub:me/sets/digits 'test'"):
        load("hub:me/sets/digits@v1", "test", streaming=streaming)
    assert not hub.count("cdn")


@pytest.mark.parametrize(("name", "config"), [("me/set", None), ("me/sets", "digits")])
def test_what_is_streamed_is_of_the_commit_that_was_checked(
    hub: Hub, published: Path, monkeypatch: pytest.MonkeyPatch, name: str, config: str | None
) -> None:
    asked = []

    def open_nothing(source: SourceName, *, streaming: bool) -> None:
        asked.append((source.path, source.config, source.revision, streaming))
        raise InputError("that is enough")

    monkeypatch.setattr(splits, "open_dataset", open_nothing)
    with pytest.raises(InputError, match="that is enough"):
        load(f"hub:{name}{f'/{config}' if config else ''}@v1", streaming=True)
    assert asked == [(name, config, hub.repos["dataset", name].tags["v1"], True)]
