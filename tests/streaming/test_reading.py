"""What `StreamedSet.read` promises of order, batches, ranks, memory and threads."""

import gc
import subprocess
import sys
import threading
import weakref
from collections.abc import Callable, Iterator
from pathlib import Path
from threading import Event

import pytest
import torch

from sio_data import MixedBatches, open_set
from sio_data.errors import ClassMapError, InputError
from sio_data.streaming import StreamedSet, kept_shards, open_stream, order
from sio_data.streaming.decoding import decode_samples
from sio_data.streaming.held_shards import HeldShard
from sio_data.streaming.stores import FolderStore
from tests.small_sets import write_imported_set, write_set

SAMPLES = 36
LEFT_OPEN = """
import sys
from threading import Event

import torch

from sio_data.streaming import kept_shards, open_stream, order, reading
from sio_data.streaming.stores import FolderStore

order._WINDOW_SAMPLES, kept_shards._KEPT_BYTES, reading._FETCHED_AT_ONCE = 12, 0, 1
read, calls, begun = FolderStore.read, iter(range(100)), Event()

def hold(self, path, most, stop):
    if next(calls) > 3:  # the manifest and the first window
        begun.set()
        print("stopped", stop.wait(60), flush=True)
    return read(self, path, most, stop)

FolderStore.read = hold
iterator = open_stream(sys.argv[1], workers=1).read(torch.arange(72).split(1), 0)
next(iterator)
begun.wait()
"""
Batches = list[tuple[torch.Tensor, torch.Tensor]]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """36 samples in nine shards of four."""
    return write_set(tmp_path_factory.mktemp("stream") / "set", ("cat", "dog", "owl"), 12)


@pytest.fixture(autouse=True)
def _small_windows(monkeypatch: pytest.MonkeyPatch) -> None:
    """Windows of three shards, of a set that is too large to be kept."""
    monkeypatch.setattr(order, "_WINDOW_SAMPLES", 12)
    monkeypatch.setattr(kept_shards, "_KEPT_BYTES", 0)


@pytest.fixture
def fetched(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The shards that are read, in this order."""
    paths: list[str] = []
    read = FolderStore.read

    def note(self: FolderStore, path: str, most: int, stop: Event) -> bytes:
        paths.append(path)
        return read(self, path, most, stop)

    monkeypatch.setattr(FolderStore, "read", note)
    return paths


def batches(stream: StreamedSet, start: int, end: int, size: int = 5, seed: int = 0) -> Batches:
    return list(stream.read(torch.arange(start, end).split(size), seed))


def indices(folder: Path, read: Batches) -> list[int]:
    """The place in the set of each image; all are different."""
    places = {image.numpy().tobytes(): place for place, image in enumerate(open_set(folder).read().images)}
    return [places[image.numpy().tobytes()] for images, _ in read for image in images]


def same(one: Batches, other: Batches) -> bool:
    pairs = list(zip(one, other, strict=True))
    return all(torch.equal(a, b) for pair in pairs for a, b in zip(*pair, strict=True))


def test_each_pass_holds_every_sample_once_in_an_order_of_its_own(folder: Path) -> None:
    whole = open_set(folder).read()
    read = batches(open_stream(folder), 0, 3 * SAMPLES)
    found = indices(folder, read)
    passes = [found[start : start + SAMPLES] for start in range(0, 3 * SAMPLES, SAMPLES)]
    assert all(sorted(one) == list(range(SAMPLES)) for one in passes)
    assert len({*map(tuple, passes), tuple(range(SAMPLES))}) == 4
    assert torch.cat([labels for _, labels in read]).tolist() == whole.labels[found].tolist()
    assert {(images.dtype, images.shape[1:], labels.dtype) for images, labels in read} == {
        (torch.uint8, (3, 4, 4), torch.int64)
    }


def test_samples_of_several_shards_are_mixed_and_shards_come_in_another_order(folder: Path) -> None:
    found = indices(folder, batches(open_stream(folder), 0, SAMPLES))
    windows = [{index // 4 for index in found[start : start + 12]} for start in (0, 12, 24)]
    assert [len(shards) for shards in windows] == [3, 3, 3]
    assert windows != [{0, 1, 2}, {3, 4, 5}, {6, 7, 8}]
    assert any(len({index // 4 for index in found[start : start + 4]}) > 1 for start in range(0, 12, 4))


def test_the_order_is_that_of_the_seed_and_stays_so(folder: Path) -> None:
    stream = open_stream(folder)
    assert same(batches(stream, 0, SAMPLES, seed=1), batches(open_stream(folder), 0, SAMPLES, seed=1))
    assert not same(batches(stream, 0, SAMPLES, seed=1), batches(stream, 0, SAMPLES, seed=2))
    assert indices(folder, batches(stream, 0, 6)) == [5, 23, 6, 21, 0, 4]


@pytest.mark.parametrize("size", [1, 5, 12, 36, 100])
@pytest.mark.parametrize("workers", [1, 3])
def test_workers_change_nothing(folder: Path, workers: int, size: int) -> None:
    alone = batches(open_stream(folder, workers=0), 7, 107, size)
    assert [len(labels) for _, labels in alone] == [len(part) for part in torch.arange(100).split(size)]
    assert same(batches(open_stream(folder, workers=workers), 7, 107, size), alone)


@pytest.mark.parametrize("world", [2, 3])
def test_ranks_share_the_batches_without_loss_or_repetition(folder: Path, world: int) -> None:
    places = torch.arange(2 * SAMPLES).split(7)
    together = list(open_stream(folder).read(places, 0))
    ranks = [list(open_stream(folder).read([batch[rank::world] for batch in places], 0)) for rank in range(world)]
    for number, (images, labels) in enumerate(together):
        for rank in range(world):
            assert torch.equal(ranks[rank][number][0], images[rank::world])
            assert torch.equal(ranks[rank][number][1], labels[rank::world])


@pytest.mark.parametrize("workers", [0, 2])
def test_a_start_in_the_middle_gives_the_same_batches_and_reads_nothing_before(
    folder: Path, workers: int, fetched: list[str]
) -> None:
    stream = open_stream(folder, workers=workers)
    fetched.clear()
    whole = batches(stream, 0, 2 * SAMPLES, size=6)
    assert len(fetched) == 18
    fetched.clear()
    assert same(batches(stream, 60, 2 * SAMPLES, size=6), whole[10:])
    assert len(fetched) == 3  # of the last window
    fetched.clear()
    assert indices(folder, list(stream.read([torch.tensor([5, 50])], 0))) == [
        indices(folder, whole)[5],
        indices(folder, whole)[50],
    ]
    assert len(fetched) == 2  # of one sample each


@pytest.mark.parametrize("workers", [1, 3])
def test_no_more_than_two_windows_are_in_memory(folder: Path, workers: int, monkeypatch: pytest.MonkeyPatch) -> None:
    held: list[weakref.ref[HeldShard]] = []
    most = 0

    def note(self: HeldShard, *arguments: object) -> None:
        nonlocal most
        start(self, *arguments)
        held.append(weakref.ref(self))
        most = max(most, sum(one() is not None for one in held))

    start = HeldShard.__init__
    monkeypatch.setattr(HeldShard, "__init__", note)
    for _ in open_stream(folder, workers=workers).read(torch.arange(3 * SAMPLES).split(5), 0):
        pass
    assert len(held) == 27
    assert most <= 6


@pytest.mark.parametrize("workers", [0, 3])
def test_the_shards_of_a_small_set_are_fetched_once(
    folder: Path, workers: int, fetched: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    large = open_stream(folder, workers=workers)
    size = sum(shard.bytes for shard in large.manifest.shards)
    monkeypatch.setattr(kept_shards, "_KEPT_BYTES", size)
    small = open_stream(folder, workers=workers)
    fetched.clear()
    passes = batches(small, 0, 3 * SAMPLES)
    again = batches(small.with_class_names(("cat", "dog", "owl", "yak")), 0, SAMPLES, seed=1)
    assert len(fetched) == len({*fetched}) == 9
    assert same(passes, batches(large, 0, 3 * SAMPLES))
    assert same(again, batches(large, 0, SAMPLES, seed=1))


def test_empty_batches_and_no_batches(folder: Path) -> None:
    stream = open_stream(folder)
    assert list(stream.read([], 0)) == []
    empty, full = stream.read([torch.arange(0), torch.arange(3)], 0)
    assert (empty[0].shape, empty[1].shape, len(full[1])) == ((0, 3, 4, 4), (0,), 3)


@pytest.mark.parametrize("places", [[-1, 0], [3, 2]])
def test_places_that_do_not_ascend_are_refused(folder: Path, places: list[int]) -> None:
    with pytest.raises(InputError, match="ascend"):
        open_stream(folder).read([torch.tensor([place]) for place in places], 0)


def test_images_are_resized_as_elsewhere(folder: Path) -> None:
    from sio_data import load_source

    stream = open_stream(folder, image_size=6)
    images, _ = next(stream.read([torch.arange(SAMPLES)], 0))
    expected = load_source(folder, image_size=6).images
    assert stream.image_size == 6
    assert stream.digest != open_stream(folder).digest == open_set(folder).manifest.digest
    assert {image.numpy().tobytes() for image in images} == {image.numpy().tobytes() for image in expected}


def test_classes_are_matched_by_name(folder: Path) -> None:
    stream = open_stream(folder)
    other = stream.with_class_names(("ape", "owl", "dog", "cat"))
    assert (stream.class_names, other.class_names) == (("cat", "dog", "owl"), ("ape", "owl", "dog", "cat"))
    lookup = torch.tensor([3, 2, 1])
    pairs = zip(batches(stream, 0, 10), batches(other, 0, 10), strict=True)
    assert all(torch.equal(lookup[before], after) for (_, before), (_, after) in pairs)
    assert other.require_labels() is other
    with pytest.raises(ClassMapError, match="owl"):
        stream.with_class_names(("cat", "dog"))


def test_an_imported_set_is_streamed(tmp_path: Path) -> None:
    folder = write_imported_set(tmp_path / "set")
    stream = open_stream(folder)
    assert (len(stream), stream.name, stream.class_names) == (7, str(folder), ("cat", "dog", "owl"))
    assert sorted(indices(folder, batches(stream, 0, 7))) == list(range(7))


def test_a_stream_is_a_side_of_mixed_batches(folder: Path, tmp_path: Path) -> None:
    other = write_set(tmp_path / "other", ("owl", "cat"), 9)
    real, synthetic = open_stream(folder), open_stream(other)
    epoch = list(MixedBatches(real, synthetic, batch_size=8, alpha=0.5).epoch(0))
    whole = torch.cat([batch.images[batch.is_synthetic] for batch in epoch])
    labels = torch.cat([batch.labels[batch.is_synthetic] for batch in epoch])
    known = open_set(other).read()
    places = {image.numpy().tobytes(): place for place, image in enumerate(known.images)}
    found = [int(known.labels[places[image.numpy().tobytes()]]) for image in whole]
    assert [("owl", "cat")[label] for label in found] == [real.class_names[label] for label in labels.tolist()]
    assert len(set(places) & {image.numpy().tobytes() for image in whole}) == 18


def of_streams() -> list[str]:
    return [thread.name for thread in threading.enumerate() if thread.name.startswith("sio-data-")]


def _finish(stream: Iterator[object]) -> None:
    assert len(list(stream)) == 8


def _close(stream: Iterator[object]) -> None:
    next(stream)
    assert of_streams()
    stream.close()  # type: ignore[attr-defined]


def _drop(stream: Iterator[object]) -> None:
    for _ in stream:
        break


def _never_start(stream: Iterator[object]) -> None:
    pass


@pytest.mark.parametrize("end", [_finish, _close, _drop, _never_start])
def test_threads_end_with_the_iterator(folder: Path, end: Callable[[Iterator[object]], None]) -> None:
    end(open_stream(folder, workers=3).read(torch.arange(40).split(5), 0))
    gc.collect()
    assert of_streams() == []


def test_threads_end_with_python(folder: Path) -> None:
    done = subprocess.run([sys.executable, "-c", LEFT_OPEN, str(folder)], capture_output=True, text=True)
    assert (done.stdout, done.stderr, done.returncode) == ("stopped True\n", "", 0)


@pytest.mark.parametrize("workers", [0, 2])
def test_an_error_reaches_the_caller_as_it_is_and_ends_the_threads(
    folder: Path, workers: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = iter(range(100))

    class StrangeError(Exception):
        pass

    def fail_later(*_: object) -> None:
        if next(calls) == 3:
            raise StrangeError

    monkeypatch.setattr("sio_data.streaming.streamed_set.decode_samples", lambda *a: fail_later() or decode_samples(*a))
    stream = open_stream(folder, workers=workers).read(torch.arange(100).split(5), 0)
    with pytest.raises(StrangeError):
        list(stream)
    assert of_streams() == []
