from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from sio_data.quality import near_copies
from sio_data.quality.duplicates import find_duplicates, pixel_digests
from sio_data.quality.findings import NearCopy
from sio_data.quality.near_copies import FeatureSearch, HashSearch, NearCopyList, Nearest, Pair, choose_ratio
from sio_data.quality.pairs import draw_pairs
from sio_data.quality.perceptual_hash import perceptual_hashes
from sio_data.sources import load_source
from tests.quality.compiled import random_images

CPU = torch.device("cpu")


@pytest.mark.parametrize("block", [50_000, 16])
def test_features_are_compared_by_the_distance_relative_to_the_neighbourhood(
    block: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(near_copies, "_BLOCK", block)
    generator = torch.Generator().manual_seed(0)
    real, images = torch.randn(80, 5, generator=generator) + 9, torch.randn(7, 5, generator=generator) + 9
    found = FeatureSearch(real, CPU)(images)
    distances = np.linalg.norm(images[:, None].double() - real[None].double(), axis=2)
    assert found.index.tolist() == distances.argmin(1).tolist()
    nearest = np.sort(distances, axis=1)[:, :50]
    assert found.distance == pytest.approx(nearest[:, 0] / nearest.mean(1), rel=1e-5)


def test_a_copy_has_distance_zero_however_often_the_real_image_repeats() -> None:
    real = torch.randn(60, 5, generator=torch.Generator().manual_seed(0)) * 1e-3 + 1000
    search = FeatureSearch(real, CPU)
    assert search(real[3:5]).distance.tolist() == [0, 0]
    assert search(real[3:5]).index.tolist() == [3, 4]
    assert FeatureSearch(real[:1].expand(60, 5), CPU)(real[:1]).distance.tolist() == [0]


def test_rounding_makes_no_distance_of_a_copy() -> None:
    real = torch.randn(60, 50, generator=torch.Generator().manual_seed(0)) * 100
    assert FeatureSearch(real, CPU)(real).distance.tolist() == [0] * 60


def test_few_real_images_have_fewer_neighbours() -> None:
    search = FeatureSearch(torch.eye(3), CPU)
    assert search.neighbours == 3
    assert search(torch.eye(3)[:1] * 2).distance == pytest.approx(1 / ((1 + 5**0.5 + 5**0.5) / 3))


@pytest.mark.parametrize("at_once", [1 << 22, 10])
def test_hashes_are_compared_by_differing_bits(at_once: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(near_copies, "_HASHES_AT_ONCE", at_once)
    search = HashSearch(np.array([0, 0b1111, 2**64 - 1], np.uint64))
    found = search(np.array([0b0111, 2**63, 2**64 - 2], np.uint64))
    assert found.index.tolist() == [1, 0, 2]
    assert found.distance.tolist() == [1, 1, 1]


def test_counted_is_what_is_within_the_bound_and_kept_are_the_nearest(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(near_copies, "MOST_LISTED", 3)
    monkeypatch.setattr(near_copies, "MOST_SHOWN", 2)
    distances = np.array([0.5, 0.9, 0.1, 0.3, 0.6, 0.2, 0.5])
    images = torch.arange(7, dtype=torch.uint8)[:, None, None, None].expand(7, 3, 2, 2)
    held_out = np.array([0.1, 0.5, 0.7])
    for cut in (7, 2):
        near = NearCopyList(7)
        for start in range(0, 7, cut):
            part = slice(start, start + cut)
            near.add(start, images[part], Nearest(np.arange(7)[part] + 10, distances[part]))
        found = near.count(0.5, held_out, neighbours=50)
        assert (found.count, found.held_out, found.bound) == (5, 2, 0.5)
        assert [(copy.key, copy.real) for copy in found.listed] == [
            ("000000002", 12), ("000000005", 15), ("000000003", 13),
        ]  # fmt: skip
        assert [copy.distance for copy in found.listed] == pytest.approx([0.1, 0.2, 0.3])
        assert [copy.key for copy in near.count(0.1, held_out, 50).listed] == ["000000002"]
        assert [pair.image[0, 0, 0] for pair in near.nearest] == [2, 5]
        assert all(pair.image.base is None for pair in near.nearest)  # no view, which would keep its whole batch


def test_what_counts_is_closer_than_half_and_than_nearly_all_real_images() -> None:
    assert choose_ratio(np.linspace(0.6, 1, 300)) == 0.5
    assert choose_ratio(np.linspace(0.1, 1, 301)) == pytest.approx(0.109)


def test_an_image_that_the_real_ones_repeat_hides_no_copy_of_it(monkeypatch: pytest.MonkeyPatch) -> None:
    generator = torch.Generator().manual_seed(0)
    real = torch.randn(200, 20, generator=generator)
    copy = real[:1] + 0.1 * torch.randn(1, 20, generator=generator)
    expected = FeatureSearch(real, CPU)(copy).distance
    assert expected < 0.2
    nearly = real[:1] + 1e-4 * torch.randn(70, 20, generator=generator)
    for block in (50_000, 16):
        monkeypatch.setattr(near_copies, "_BLOCK", block)
        for repeats in (real[:1].expand(70, 20), nearly, nearly[:30]):
            found = FeatureSearch(torch.cat((real, repeats)), CPU)(torch.cat((copy, real[1:2])))
            assert found.distance == pytest.approx([expected[0], 0], abs=0.01)
    few = torch.cat((real[:20], nearly))
    assert FeatureSearch(few, CPU)(copy).distance == pytest.approx(
        FeatureSearch(real[:20], CPU)(copy).distance, abs=0.01
    )


def test_many_hashes_are_compared_in_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(near_copies, "_HASHES_AT_ONCE", 37)
    generator = np.random.default_rng(0)
    real, hashes = (generator.integers(0, 2**64, count, np.uint64) for count in (500, 70))
    bits = np.bitwise_count(hashes[:, None] ^ real)
    found = HashSearch(real)(hashes)
    assert found.index.tolist() == bits.argmin(1).tolist()
    assert found.distance.tolist() == bits.min(1).tolist()


def test_the_perceptual_hash_is_that_of_imagehash() -> None:
    """The expected values are those of imagehash 4.3.2, `phash`."""
    digits = perceptual_hashes(load_source("digits", "train").images[:5])
    assert [f"{value:016x}" for value in digits] == [
        "878ccc386d636573", "98613a3ce1c73e3c", "9a1ab24939b3668f", "9bc9c7364c0c3c9b", "9e6c39d3263cc833",
    ]  # fmt: skip
    noise = np.random.RandomState(1).randint(0, 256, (3, 40, 40, 3), dtype=np.uint8)
    larger = perceptual_hashes(torch.from_numpy(noise).permute(0, 3, 1, 2))
    assert [f"{value:016x}" for value in larger] == ["d45f809563b2c877", "91e1f05f04d36676", "996298987ce9cb71"]


def test_duplicates_are_found_to_the_pixel() -> None:
    images = torch.zeros(5, 3, 2, 2, dtype=torch.uint8)
    images[1, 2, 1, 1] = 1
    images[3] = 7
    found = find_duplicates(pixel_digests(images), pixel_digests(images[3:4]))
    assert (found.inside, found.of_real) == (2, 1)
    assert [(repeat.key, repeat.of) for repeat in found.repeats] == [
        ("000000002", "000000000"), ("000000004", "000000000"),
    ]  # fmt: skip


def test_the_picture_shows_the_synthetic_image_beside_the_real_one(tmp_path: Path) -> None:
    real = random_images(3, size=4)
    real.images[2] = torch.tensor([0, 0, 255])[:, None, None]
    red = np.tile(np.array([255, 0, 0], np.uint8), (4, 4, 1))
    pair = Pair(NearCopy("000000007", 2, 0.25), red)
    draw_pairs(tmp_path / "pairs.png", [pair] * 5, [pair], real)
    pixels = np.asarray(Image.open(tmp_path / "pairs.png").convert("RGB"))
    colours = [(pixels == colour).all(2) for colour in ((255, 0, 0), (0, 0, 255))]
    assert [int(shown.sum()) for shown in colours] == [6 * 96 * 96] * 2
    assert colours[0][40, 10]
    assert colours[1][40, 110]


def test_large_images_are_shown_smaller(tmp_path: Path) -> None:
    real = random_images(1, size=600)
    pair = Pair(NearCopy("000000007", 0, 0.25), real.images[0].permute(1, 2, 0).numpy())
    draw_pairs(tmp_path / "pairs.png", [pair], [], real)
    with Image.open(tmp_path / "pairs.png") as picture:
        assert picture.width < 4 * 2 * 270
