import numpy as np
import pytest
import scipy.linalg
import torch
from torchmetrics.image.fid import FrechetInceptionDistance

from sio_data.errors import InputError
from sio_data.quality import distances
from sio_data.quality.distances import DistanceMeter, compare_manifolds, kernel_distance

CPU = torch.device("cpu")


def features(count: int, seed: int, shift: float = 0.0, dimensions: int = 6) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(count, dimensions, generator=generator) * torch.arange(1, dimensions + 1) + shift


def measured(real: torch.Tensor, synthetic: torch.Tensor, seed: int = 0, batch: int = 32) -> distances.Distances:
    meter = DistanceMeter(real, len(synthetic), seed, CPU)
    for part in synthetic.split(batch):
        meter.add(part)
    return meter.measure()


def test_fid_is_the_distance_of_two_gaussians() -> None:
    real, synthetic = features(90, 0), features(70, 1, shift=0.5)
    a, b = real.double().numpy(), synthetic.double().numpy()
    first, second = np.cov(a, rowvar=False), np.cov(b, rowvar=False)
    root = scipy.linalg.sqrtm(first @ second).real
    expected = ((a.mean(0) - b.mean(0)) ** 2).sum() + np.trace(first + second - 2 * root)
    assert measured(real, synthetic).fid == pytest.approx(expected, rel=1e-9)


def test_fid_is_there_for_fewer_images_than_dimensions_and_for_constant_features() -> None:
    real, synthetic = features(12, 0, dimensions=40), features(12, 1, dimensions=40)
    assert measured(real, real).fid == pytest.approx(0, abs=1e-3)
    assert measured(real, synthetic).fid > 1
    constant = torch.ones(12, 40)
    expected = (real.double().mean(0) - 1).square().sum() + real.double().var(0).sum()
    assert measured(real, constant).fid == pytest.approx(float(expected))


def test_kid_is_the_unbiased_mmd() -> None:
    real, synthetic = features(40, 0).double(), features(40, 1, shift=0.5).double()

    def kernel(x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        return (x @ y.T / 6 + 1) ** 3

    def others(k: torch.Tensor) -> float:
        return float(k.sum() - k.trace()) / (40 * 39)

    expected = others(kernel(real, real)) + others(kernel(synthetic, synthetic))
    expected -= 2 * float(kernel(real, synthetic).mean())
    found = kernel_distance(real, synthetic, seed=0)
    assert found.mean == pytest.approx(expected)
    assert (found.subsets, found.subset_size) == (1, 40)


def test_kid_of_more_images_is_a_mean_over_subsets_that_the_seed_chooses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(distances, "_KID_SUBSET_SIZE", 20)
    real, synthetic = features(40, 0).double(), features(40, 1).double()
    state = torch.get_rng_state()
    found = kernel_distance(real, synthetic, seed=0)
    assert torch.equal(torch.get_rng_state(), state)
    assert (found.subsets, found.subset_size) == (100, 20)
    assert found.std > 0
    assert found == kernel_distance(real, synthetic, seed=0) != kernel_distance(real, synthetic, seed=1)


def naive(real: torch.Tensor, synthetic: torch.Tensor, k: int) -> tuple[float, float, float, float]:
    """The formulas of the papers, pair by pair."""

    def radius(images: torch.Tensor, place: int) -> float:
        return sorted(float((images[place] - other).norm()) for other in images)[k]

    real_radii = [radius(real, place) for place in range(len(real))]
    synthetic_radii = [radius(synthetic, place) for place in range(len(synthetic))]
    within = [[float((x - y).norm()) <= r for x, r in zip(real, real_radii, strict=True)] for y in synthetic]
    precision = np.mean([any(row) for row in within])
    recall = np.mean([
        any(float((x - y).norm()) <= r for y, r in zip(synthetic, synthetic_radii, strict=True)) for x in real
    ])  # fmt: skip
    density = np.sum(within) / (k * len(synthetic))
    coverage = np.mean([any(row[place] for row in within) for place in range(len(real))])
    return float(precision), float(recall), float(density), float(coverage)


@pytest.mark.parametrize("shift", [0.0, 1.5, 100.0])
def test_manifolds_agree_with_the_formulas_whatever_the_blocks(shift: float, monkeypatch: pytest.MonkeyPatch) -> None:
    real, synthetic = features(30, 0).double(), features(25, 1, shift).double()
    expected = naive(real, synthetic, 3)
    for block in (1000, 7):
        monkeypatch.setattr(distances, "_BLOCK", block)
        found = compare_manifolds(real, synthetic, 3)
        assert (found.precision, found.recall, found.density, found.coverage) == pytest.approx(expected)


def test_images_are_drawn_at_random_where_there_are_many(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(distances, "_MOST_SAMPLED", 20)
    real, synthetic = features(50, 0), features(60, 1)
    found = measured(real, synthetic)
    assert found.images == found.kid_subset_size == 20
    assert found == measured(real, synthetic)
    again = measured(real, synthetic, seed=1)
    assert again.kid != found.kid
    assert again.fid == found.fid


def test_the_cut_in_batches_changes_nothing_but_last_digits() -> None:
    real, synthetic = features(50, 0), features(60, 1)
    one, other = measured(real, synthetic, batch=60), measured(real, synthetic, batch=7)
    assert one.fid == pytest.approx(other.fid, rel=1e-9)
    assert (one.kid, one.precision, one.coverage) == (other.kid, other.precision, other.coverage)


def test_too_few_images_and_features_that_say_nothing_are_refused() -> None:
    with pytest.raises(InputError, match="5 real images are too few"):
        DistanceMeter(features(5, 0), 50, 0, CPU)
    with pytest.raises(InputError, match="5 synthetic images are too few"):
        DistanceMeter(features(50, 0), 5, 0, CPU)
    with pytest.raises(InputError, match="same features for every real image"):
        DistanceMeter(torch.ones(50, 6), 50, 0, CPU)


def test_distances_that_are_no_numbers_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(FrechetInceptionDistance, "compute", lambda self: torch.tensor(torch.nan))
    with pytest.raises(InputError, match="FID or KID is NaN or infinite"):
        measured(features(50, 0), features(50, 1))
    monkeypatch.undo()
    monkeypatch.setattr(distances, "_KID_SUBSET_SIZE", 20)
    with pytest.raises(InputError, match="FID or KID is NaN or infinite"):
        measured(features(50, 0), features(50, 1) * 1e36)
