import pytest
import torch

from sio_data.errors import ClassMapError, InputError
from sio_data.image_set import ImageSet
from sio_data.mixing import Batch, MixedBatches


def images(count: int, value: int = 0, names: tuple[str, ...] = ("a", "b"), size: int = 4) -> ImageSet:
    """Image i of the set has the pixel value `value + i`."""
    pixels = torch.arange(value, value + count, dtype=torch.uint8)[:, None, None, None].expand(-1, 3, size, size)
    return ImageSet(pixels, torch.arange(count) % len(names), names)


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
    assert [len(batch) for batch in epoch] == [10, 10, 5]
    assert sorted(one for batch in epoch for one in ids(batch, False)) == list(range(25))
    assert not any(batch.is_synthetic.any() for batch in epoch)


def test_synthetic_classes_are_matched_by_name_not_by_number() -> None:
    synthetic = ImageSet(torch.full((20, 3, 4, 4), 200, dtype=torch.uint8), torch.arange(20) % 2, ("b", "a"))
    synthetic.images[::2] = 201  # label 0, which is "b" here and 1 in the real set
    for batch in MixedBatches(images(60), synthetic, batch_size=10).epoch(0):
        assert (batch.labels[batch.images[:, 0, 0, 0] == 201] == 1).all()
        assert (batch.labels[batch.images[:, 0, 0, 0] == 200] == 0).all()


@pytest.mark.parametrize("alpha", [0, -0.1, 1.1, float("nan")])
def test_alpha_out_of_range_is_refused(alpha: float) -> None:
    with pytest.raises(InputError, match="alpha"):
        MixedBatches(images(10), images(10), alpha=alpha)


@pytest.mark.parametrize(("size", "alpha"), [(1, 0.8), (4, 0.1)])
def test_a_batch_too_small_for_both_kinds_is_refused(size: int, alpha: float) -> None:
    with pytest.raises(InputError, match="cannot hold both"):
        MixedBatches(images(10), images(10), batch_size=size, alpha=alpha)


def test_sets_that_do_not_fit_together_are_refused() -> None:
    with pytest.raises(ClassMapError, match="class\\(es\\) c, which are not among a, b"):
        MixedBatches(images(10), images(10, names=("a", "c")))
    with pytest.raises(InputError, match="8 pixels"):
        MixedBatches(images(10), images(10, size=8))
    unlabelled = ImageSet(images(3).images, torch.tensor([0, 1, -1]), ("a", "b"))
    with pytest.raises(ClassMapError, match="1 of 3 images have no label"):
        MixedBatches(unlabelled)
