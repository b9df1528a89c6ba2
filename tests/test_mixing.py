import json
import threading
from collections.abc import Iterator, Sequence
from itertools import chain, islice
from pathlib import Path
from typing import Any

import pytest
import torch

from sio_data.errors import ClassMapError, CorruptSetError, InputError
from sio_data.image_set import ImageSet
from sio_data.mixing import Batch, MixedBatches
from sio_data.sources import load_source
from sio_data.streaming import StreamedSet, open_stream

FIELDS = ("images", "labels", "is_synthetic")


def images(count: int, value: int = 0, names: tuple[str, ...] = ("a", "b"), size: int = 4) -> ImageSet:
    """Image i of the set has the pixel value `value + i`."""
    pixels = torch.arange(value, value + count, dtype=torch.uint8)[:, None, None, None].expand(-1, 3, size, size)
    return ImageSet(pixels, torch.arange(count) % len(names), names)


def numbered(count: int) -> ImageSet:
    """Image i of the set is the number i, its first two values the lower and upper byte."""
    pixels = torch.arange(count)[:, None].bitwise_right_shift(torch.tensor([0, 8, 16])).to(torch.uint8)
    return ImageSet(pixels[:, :, None, None], torch.arange(count) % 2, ("a", "b"))


def numbers(batches: list[Batch], synthetic: bool) -> list[int]:
    rows = torch.cat([batch.images[batch.is_synthetic == synthetic, :, 0, 0] for batch in batches]).long()
    return (rows * torch.tensor([1, 256, 65536])).sum(1).tolist()


def same(some: list[Batch], others: list[Batch]) -> bool:
    return len(some) == len(others) and all(
        torch.equal(getattr(one, name), getattr(other, name))
        for one, other in zip(some, others, strict=True)
        for name in FIELDS
    )


def ids(batch: Batch, synthetic: bool) -> list[int]:
    return batch.images[batch.is_synthetic == synthetic, 0, 0, 0].tolist()


def test_batches_hold_the_papers_shares() -> None:
    batches = MixedBatches(images(100), images(50, 100), batch_size=16, alpha=0.8)
    epoch = list(batches.epoch(0))
    assert len(epoch) == len(batches) == 7  # ceil(100 / 16)
    assert all(len(ids(batch, False)) == 12 and len(ids(batch, True)) == 4 for batch in epoch)


@pytest.mark.parametrize(("size", "alpha", "real"), [(128, 0.8, 102), (128, 0.9, 115), (100, 0.29, 29), (10, 0.7, 7)])
def test_share_is_the_floor_whatever_the_rounding_of_floats(size: int, alpha: float, real: int) -> None:
    batch = next(MixedBatches(images(200), images(50, 200), batch_size=size, alpha=alpha).epoch(0))
    assert int((~batch.is_synthetic).sum()) == real


def test_no_image_comes_twice_before_all_have_come() -> None:
    epoch = list(MixedBatches(images(100), images(50, 100), batch_size=16).epoch(3))
    real = [one for batch in epoch for one in ids(batch, False)]
    synthetic = [one for batch in epoch for one in ids(batch, True)]
    assert len(real) == len(set(real)) == 84
    assert len(synthetic) == len(set(synthetic)) == 28


def test_a_small_synthetic_set_starts_over_instead_of_running_out() -> None:
    epoch = list(MixedBatches(images(100), images(5, 100), batch_size=16).epoch(0))
    synthetic = [one for batch in epoch for one in ids(batch, True)]
    assert len(synthetic) == 28
    assert {synthetic.count(one) for one in range(100, 105)} <= {5, 6}


def test_labels_and_flags_stay_with_their_images() -> None:
    for batch in MixedBatches(images(60), images(61, 100), batch_size=10).epoch(1):
        for pixel, label, synthetic in zip(batch.images[:, 0, 0, 0], batch.labels, batch.is_synthetic, strict=True):
            assert synthetic == (pixel >= 100)
            assert label == (pixel - 100 if synthetic else pixel) % 2


def test_same_seed_same_batches_and_each_epoch_its_own() -> None:
    def pixels(seed: int, epoch: int) -> torch.Tensor:
        batches = MixedBatches(images(60), images(30, 100), batch_size=10, seed=seed)
        return torch.cat([batch.images[:, 0, 0, 0] for batch in batches.epoch(epoch)])

    torch.manual_seed(1)
    first = pixels(0, 0)
    torch.manual_seed(2)
    assert torch.equal(first, pixels(0, 0))
    assert not torch.equal(first, pixels(0, 1))
    assert not torch.equal(first, pixels(1, 0))


@pytest.mark.parametrize("arguments", [{"synthetic": None}, {"synthetic": images(9, 100), "alpha": 1.0}])
def test_without_synthetic_images_an_epoch_is_every_real_one_once(arguments: dict[str, object]) -> None:
    epoch = list(MixedBatches(images(25), batch_size=10, **arguments).epoch(0))
    assert [len(batch) for batch in epoch] == [9, 8, 8]  # as equal as can be
    assert sorted(one for batch in epoch for one in ids(batch, False)) == list(range(25))
    assert not any(batch.is_synthetic.any() for batch in epoch)


def readers() -> list[str]:
    return [thread.name for thread in threading.enumerate() if thread.name.startswith("sio-data-")]


@pytest.mark.parametrize("failing", [0, 1])
def test_reading_ends_on_both_sides_when_one_fails(
    tiny_set: Path, failing: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    read, calls = StreamedSet.read, iter(range(2))

    def fail_later(self: StreamedSet, places: Sequence[torch.Tensor], seed: int) -> Iterator[tuple[torch.Tensor, ...]]:
        fails = next(calls) == failing
        yield from islice(read(self, places, seed), 1 if fails else None)
        if fails:
            raise CorruptSetError("damaged.")

    monkeypatch.setattr(StreamedSet, "read", fail_later)
    stream = open_stream(tiny_set)
    epoch = MixedBatches(stream, stream, batch_size=4, alpha=0.5).epoch(0)
    next(epoch)
    assert readers()
    with pytest.raises(CorruptSetError) as raised:
        list(epoch)
    assert readers() == []
    assert raised.traceback  # which holds all frames


@pytest.mark.parametrize("mixed", [False, True])
def test_reading_ends_when_the_consumer_stops(tiny_set: Path, mixed: bool) -> None:
    stream = open_stream(tiny_set)
    batches = iter(MixedBatches(stream, stream if mixed else None, batch_size=4, alpha=0.5))
    next(batches)
    frames = [batches.gi_frame, batches.gi_frame.f_locals]  # type: ignore[attr-defined]
    batches.close()  # type: ignore[attr-defined]
    assert readers() == []
    assert frames


def test_a_side_may_be_streamed(tiny_set: Path) -> None:
    """What is streamed is cut and arranged like what is in memory, for any process and first batch."""
    real = load_source("digits")

    def make(rank: int = 0, world: int = 1) -> MixedBatches:
        return MixedBatches(real, open_stream(str(tiny_set)), batch_size=64, seed=1, rank=rank, world=world)

    epoch = list(make().epoch(2))
    assert same(epoch[3:], list(make().epoch(2, 3)))
    for rank in range(2):
        cut = [Batch(*(getattr(batch, name)[rank::2] for name in FIELDS)) for batch in epoch]
        assert same(list(make(rank, 2).epoch(2)), cut)
    in_memory = list(MixedBatches(real, load_source(str(tiny_set)), batch_size=64, seed=1).epoch(2))
    for streamed, held in zip(epoch, in_memory, strict=True):  # the order of the synthetic images is another one
        assert torch.equal(streamed.is_synthetic, held.is_synthetic)
        assert torch.equal(streamed.images[~held.is_synthetic], held.images[~held.is_synthetic])


def test_synthetic_classes_are_matched_by_name_not_by_number() -> None:
    synthetic = ImageSet(torch.full((20, 3, 4, 4), 200, dtype=torch.uint8), torch.arange(20) % 2, ("b", "a"))
    synthetic.images[::2] = 201  # label 0, which is "b" here and 1 in the real set
    for batch in MixedBatches(images(60), synthetic, batch_size=10).epoch(0):
        assert (batch.labels[batch.images[:, 0, 0, 0] == 201] == 1).all()
        assert (batch.labels[batch.images[:, 0, 0, 0] == 200] == 0).all()


def test_the_papers_counts() -> None:
    """Of 50,000 real images: 391 batches of 102 real and 26 synthetic ones."""
    batches = MixedBatches(numbered(50_000), numbered(20_000), batch_size=128, alpha=0.8)
    epoch = list(batches.epoch(0))
    assert len(epoch) == len(batches) == 391
    assert {(int((~batch.is_synthetic).sum()), int(batch.is_synthetic.sum())) for batch in epoch} == {(102, 26)}
    for synthetic, count in ((False, 39_882), (True, 10_166)):
        seen = numbers(epoch, synthetic)
        assert len(seen) == len(set(seen)) == count


def test_every_real_image_can_be_seen_once_an_epoch() -> None:
    batches = MixedBatches(numbered(1000), numbered(700), batch_size=64, every_real=True)  # 51 real ones a batch
    epoch = list(batches.epoch(2))
    assert len(epoch) == len(batches) == 20
    assert {len(batch) for batch in epoch} == {64}
    assert {int((~batch.is_synthetic).sum()) for batch in epoch} == {50}
    assert sorted(numbers(epoch, False)) == list(range(1000))
    assert len(set(numbers(epoch, True))) == 280


def test_the_share_need_not_be_alpha() -> None:
    batch = next(MixedBatches(images(100), images(50, 100), batch_size=16, alpha=0.8, real_share=0.5).epoch(0))
    assert len(ids(batch, False)) == len(ids(batch, True)) == 8


@pytest.mark.parametrize("start", [0, 1, 5, 15, 16])
@pytest.mark.parametrize("arguments", [{}, {"every_real": True}, {"synthetic": None}, {"world": 3, "rank": 1}])
def test_an_epoch_can_begin_at_any_batch(arguments: dict[str, Any], start: int) -> None:
    batches = MixedBatches(numbered(256), **{"synthetic": numbered(7)} | arguments, batch_size=16)
    assert same(list(batches.epoch(1))[start:], list(batches.epoch(1, start)))


@pytest.mark.parametrize("world", [1, 2, 3, 16])
@pytest.mark.parametrize("arguments", [{}, {"every_real": True}, {"synthetic": None}, {"real_share": 0.3}])
def test_processes_share_each_batch(arguments: dict[str, Any], world: int) -> None:
    """What rank r of w gets is each w-th image of the batch that one process would get, from the r-th on."""
    options = {"synthetic": numbered(31)} | arguments
    whole = list(MixedBatches(numbered(256), **options, batch_size=16).epoch(3))
    for rank in range(world):
        mine = MixedBatches(numbered(256), **options, batch_size=16, rank=rank, world=world).epoch(3)
        cut = [Batch(*(getattr(batch, name)[rank::world] for name in FIELDS)) for batch in whole]
        assert same(list(mine), cut)


def test_iterating_gives_one_epoch_after_another() -> None:
    batches = MixedBatches(numbered(100), numbered(50), batch_size=16)
    assert same([*batches, *batches], [*batches.epoch(0), *batches.epoch(1)])
    batches.set_epoch(7)
    assert same([*batches, *batches], [*batches.epoch(7), *batches.epoch(8)])


def test_an_epoch_that_was_left_early_is_over() -> None:
    batches = MixedBatches(numbered(100), numbered(50), batch_size=16)
    assert same([next(iter(batches)), next(iter(batches))], [next(batches.epoch(0)), next(batches.epoch(1))])
    batches.set_epoch(1)
    assert same([next(iter(batches))], [next(batches.epoch(1))])


@pytest.mark.parametrize("given", [0, 1, 6, 7, 10])
def test_resuming_gives_exactly_what_was_to_come(given: int) -> None:
    def make(rank: int = 0, world: int = 1) -> MixedBatches:
        return MixedBatches(numbered(100), numbered(9), batch_size=16, seed=5, rank=rank, world=world)

    first, second = make(), make()
    state, seen = first.state_dict(), 0
    for batch in chain(first, first):
        if seen == given:
            break
        seen, state, last = seen + 1, json.loads(json.dumps(first.state_dict())), batch
    assert given == 0 or same([last], [[*first.epoch(0), *first.epoch(1)][given - 1]])
    second.load_state_dict(state)
    assert second.state_dict() == state
    second.set_epoch(state["epoch"])  # as loops do that set each epoch: it changes nothing
    rest = [*first.epoch(0), *first.epoch(1)][given:]
    assert same(list(islice(chain(second, second), len(rest))), rest)
    for _ in range(2):  # the second time it is in the midst of an epoch
        second.load_state_dict(state)
        assert same([next(iter(second))], rest[:1])
    shared = make(rank=1, world=2)  # another number of processes
    shared.load_state_dict(state)
    assert torch.equal(next(iter(shared)).images, rest[0].images[1::2])


def test_a_state_of_other_batches_is_refused() -> None:
    batches = MixedBatches(numbered(100), numbered(50), batch_size=16)
    state = batches.state_dict()
    for change in ({"seed": 1}, {"batches": 8}, {"epoch": -1}, {"batch": 7}, {"more": 1}, {"epoch": "1"}):
        with pytest.raises(InputError):
            batches.load_state_dict(state | change)
    with pytest.raises(InputError, match="not one of these"):
        batches.load_state_dict({})
    assert batches.state_dict() == state


def test_no_two_orders_follow_each_other() -> None:
    """One stream of random numbers for two things would give both sides, or two epochs, the same order."""
    batches = MixedBatches(numbered(640), numbered(640), batch_size=32, real_share=0.5)
    orders = [numbers([batch], side) for epoch in (0, 1) for side in (False, True) for batch in batches.epoch(epoch)]
    assert len({frozenset(order) for order in orders}) == len(orders)


def test_each_batch_of_each_epoch_is_arranged_anew() -> None:
    batches = MixedBatches(numbered(256), numbered(256), batch_size=32)
    flags = [tuple(batch.is_synthetic.tolist()) for epoch in (0, 1) for batch in batches.epoch(epoch)]
    assert len(set(flags)) == len(flags) == 16


def test_global_random_numbers_are_left_alone() -> None:
    torch.manual_seed(3)
    expected = torch.rand(3)
    torch.manual_seed(3)
    list(MixedBatches(numbered(50), numbered(50), batch_size=16).epoch(0))
    assert torch.equal(torch.rand(3), expected)


def test_a_batch_goes_to_a_device_as_a_whole() -> None:
    batch = next(MixedBatches(images(20), images(20), batch_size=10).epoch(0)).to("meta")
    assert {getattr(batch, name).device.type for name in FIELDS} == {"meta"}


@pytest.mark.parametrize("alpha", [0, -0.1, 1.1, float("nan")])
def test_alpha_out_of_range_is_refused(alpha: float) -> None:
    with pytest.raises(InputError, match="alpha"):
        MixedBatches(images(10), images(10), alpha=alpha)


@pytest.mark.parametrize(("size", "alpha"), [(1, 0.8), (4, 0.1)])
def test_a_batch_too_small_for_both_kinds_is_refused(size: int, alpha: float) -> None:
    with pytest.raises(InputError, match="cannot hold both"):
        MixedBatches(images(10), images(10), batch_size=size, alpha=alpha)


@pytest.mark.parametrize(
    "arguments",
    [
        {"batch_size": 0},
        {"seed": -1},
        {"rank": -1},
        {"rank": 2, "world": 2},
        {"world": 0},
        {"world": 11},
        {"synthetic": None, "batch_size": 4, "world": 4},  # the smallest batch holds 3
        {"real_share": 0},
        {"real_share": 1.5},
        {"real_share": float("nan")},
    ],
)
def test_bad_arguments_are_refused(arguments: dict[str, Any]) -> None:
    with pytest.raises(InputError):
        MixedBatches(images(10), **{"synthetic": images(10), "batch_size": 10} | arguments)


@pytest.mark.parametrize(("number", "start"), [(-1, 0), (0, -1), (0, 8)])
def test_places_that_are_not_there_are_refused_at_once(number: int, start: int) -> None:
    batches = MixedBatches(images(100), images(10), batch_size=16)
    with pytest.raises(InputError, match=r"there is none of number -1|an epoch has 7 batches"):
        batches.epoch(number, start)


def test_sets_that_do_not_fit_together_are_refused() -> None:
    with pytest.raises(ClassMapError, match="class\\(es\\) c, which are not among a, b"):
        MixedBatches(images(10), images(10, names=("a", "c")))
    with pytest.raises(InputError, match="8 pixels"):
        MixedBatches(images(10), images(10, size=8))
    unlabelled = ImageSet(images(3).images, torch.tensor([0, 1, -1]), ("a", "b"))
    with pytest.raises(ClassMapError, match="1 of 3 images have no label"):
        MixedBatches(unlabelled)
