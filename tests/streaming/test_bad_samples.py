"""Samples that cannot be used are skipped and counted, and nothing else changes."""

import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from sio_data import open_set
from sio_data.errors import CorruptSetError
from sio_data.files import sha256_file
from sio_data.streaming import open_stream
from sio_data.streaming.bad_samples import BadSamples
from tests.damage import SHARDS, edit_manifest, flip

SHARD = SHARDS[1]  # the samples 8 to 15


def members(folder: Path) -> dict[str, tarfile.TarInfo]:
    with tarfile.open(folder / SHARD) as tar:
        return {member.name: member for member in tar}


def place_in(folder: Path, name: str, offset: int = 0) -> int:
    return members(folder)[name].offset_data + offset


def seal(folder: Path) -> None:
    """Let the manifest say that the damaged shard is as it should be."""

    def change(value: dict[str, list[dict[str, object]]]) -> None:
        value["shards"][1] |= {"sha256": sha256_file(folder / SHARD), "bytes": (folder / SHARD).stat().st_size}

    edit_manifest(folder, change)


def found(folder: Path, **options: int) -> tuple[list[int], list[int], int]:
    """The places of the images of one pass in the sound set, with their labels and how many were skipped."""
    stream = open_stream(folder, **options)
    parts = list(stream.read(torch.arange(len(stream)).split(4), 0))
    keys = [image.numpy().tobytes() for images, _ in parts for image in images]
    return [KNOWN[key] for key in keys], [int(label) for _, labels in parts for label in labels], stream.skipped


KNOWN: dict[bytes, int] = {}


@pytest.fixture(autouse=True)
def _known(tiny_set: Path) -> None:
    KNOWN.update((image.numpy().tobytes(), place) for place, image in enumerate(open_set(tiny_set).read().images))


def cut_picture(folder: Path) -> None:
    """Take sample 9 for an image that ends early, in a shard that is what its record says."""
    path = folder / SHARD
    data = path.read_bytes()
    member = members(folder)["000000009.png"]
    start, end = member.offset_data, member.offset_data + member.size
    path.write_bytes(data[: start + 60] + bytes(end - start - 60) + data[end:])


def name_another_class(folder: Path) -> None:
    data = bytearray((folder / SHARD).read_bytes())
    data[place_in(folder, "000000009.cls")] = ord("9")  # of six classes
    (folder / SHARD).write_bytes(data)


DAMAGES: dict[str, Callable[[Path], object]] = {
    "pixels": lambda folder: flip(folder / SHARD, place_in(folder, "000000009.png", 60)),
    "head of the image": lambda folder: flip(folder / SHARD, place_in(folder, "000000009.png", 20)),
    "cut picture": cut_picture,
    "name": lambda folder: flip(folder / SHARD, place_in(folder, "000000009.png", -511)),
    "size": lambda folder: flip(folder / SHARD, place_in(folder, "000000009.png", -512 + 130)),
    "a label outside the class map": name_another_class,
    "a label that is none": lambda folder: flip(folder / SHARD, place_in(folder, "000000009.cls"), 6),
}


@pytest.mark.parametrize("sealed", [False, True])
@pytest.mark.parametrize("damage", DAMAGES)
@pytest.mark.parametrize("workers", [0, 2])
def test_a_bad_sample_is_replaced_by_the_next_one_and_all_others_stay(
    damaged: Path, tiny_set: Path, damage: str, sealed: bool, workers: int
) -> None:
    DAMAGES[damage](damaged)
    if sealed:
        seal(damaged)
    sound, labels, none = found(tiny_set)
    images, found_labels, skipped = found(damaged, workers=workers)
    whole = open_set(tiny_set).read().labels
    assert (none, skipped) == (0, 1)
    assert images == [10 if place == 9 else place for place in sound]
    assert found_labels == [int(whole[place]) for place in images]
    assert labels == [int(whole[place]) for place in sound]


def test_a_label_that_was_changed_in_a_damaged_shard_is_found(damaged: Path, tiny_set: Path) -> None:
    flip(damaged / SHARD, place_in(damaged, "000000009.cls"))  # 3 becomes 2
    images, _, skipped = found(damaged)
    assert skipped == 1
    assert images == [10 if place == 9 else place for place in found(tiny_set)[0]]


def test_after_the_last_sample_of_a_shard_comes_the_first(damaged: Path, tiny_set: Path) -> None:
    (damaged / SHARD).write_bytes((damaged / SHARD).read_bytes()[: place_in(damaged, "000000014.png")])
    images, _, skipped = found(damaged)
    assert skipped == 2
    assert images == [8 if place in (14, 15) else place for place in found(tiny_set)[0]]


def test_bytes_after_the_samples_are_no_harm(damaged: Path, tiny_set: Path) -> None:
    flip(damaged / SHARD, -1)
    assert found(damaged, max_bad=0) == found(tiny_set)


def test_samples_are_counted_once_and_said_once(damaged: Path, capsys: pytest.CaptureFixture[str]) -> None:
    flip(damaged / SHARD, place_in(damaged, "000000009.png", 60))
    flip(damaged / SHARD, place_in(damaged, "000000011.png", 60))
    stream = open_stream(damaged, max_bad=2)
    for _ in range(2):
        list(stream.read([torch.arange(90)], 0))
    assert stream.skipped == stream.with_class_names(stream.class_names).skipped == 2
    said = capsys.readouterr().err
    assert said.count("is bad") == 1
    assert f"{damaged}: sample 000000009 of {SHARD} is bad" in said


@pytest.mark.parametrize("sealed", [False, True])
@pytest.mark.parametrize("workers", [0, 2])
def test_too_many_are_an_error_that_names_them(damaged: Path, sealed: bool, workers: int) -> None:
    for index in (9, 11, 12):
        flip(damaged / SHARD, place_in(damaged, f"{index:09d}.png", 60))
    if sealed:
        seal(damaged)
    each = rf"0000000(09|11|12) of {SHARD} \([^,]+\)"
    with pytest.raises(
        CorruptSetError, match=rf"3 samples are bad, and 2 may be \(max_bad\): {each}, {each}, {each}\."
    ):
        found(damaged, workers=workers, max_bad=2)
    assert found(damaged, workers=workers, max_bad=3)[2] == 3


def test_up_to_twenty_are_named_each_with_its_reason() -> None:
    bad = BadSamples("set", 20)
    for number in range(20):
        bad.add("a.tar", f"{number}", f"reason {number}")
    with pytest.raises(CorruptSetError) as raised:
        bad.add("b.tar", "20", "the last reason")
    listed = ", ".join(f"{number} of a.tar (reason {number})" for number in range(20))
    assert f"21 samples are bad, and 20 may be (max_bad): {listed}, …. Mend" in str(raised.value)


@pytest.mark.parametrize("max_bad", [3, 1000])
def test_a_shard_of_which_nothing_is_left_is_an_error(damaged: Path, max_bad: int) -> None:
    (damaged / SHARD).write_bytes(b"<html>Please log in.</html>")
    with pytest.raises(CorruptSetError, match=SHARD):
        found(damaged, max_bad=max_bad)
