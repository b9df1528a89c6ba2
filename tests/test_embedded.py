import hashlib
import itertools

import pytest
import torch

from sio_data.embedded import EMBEDDED, load_embedded, split_indices

ALL = [(name, split) for name, splits in EMBEDDED.items() for split in splits]


def fingerprints(name: str, split: str) -> set[str]:
    return {hashlib.sha256(image.numpy().tobytes()).hexdigest() for image in load_embedded(name, split).images}


def test_sizes_are_fixed() -> None:
    assert {(name, split): len(load_embedded(name, split)) for name, split in ALL} == {
        ("digits", "train"): 541,
        ("digits", "val"): 109,
        ("digits", "test"): 433,
        ("digits-unknown", "val"): 143,
        ("digits-unknown", "test"): 571,
        ("textures", "val"): 100,
        ("textures", "test"): 400,
    }


def test_no_picture_is_in_two_splits_of_any_source() -> None:
    for one, two in itertools.combinations(ALL, 2):
        assert not fingerprints(*one) & fingerprints(*two), (one, two)


def test_content_of_every_split_is_pinned() -> None:
    digests = {f"{name}/{split}": load_embedded(name, split).digest[:12] for name, split in ALL}
    assert digests == {
        "digits/train": "907bc626fb21",
        "digits/val": "bef1cd22fd31",
        "digits/test": "32df57087c43",
        "digits-unknown/val": "5eb3d0d7e336",
        "digits-unknown/test": "f5a36cc2a73f",
        "textures/val": "672aa817ea78",
        "textures/test": "100cb2680e44",
    }


@pytest.mark.parametrize(("name", "split"), ALL)
def test_images_are_rgb_uint8_of_the_digits_own_size(name: str, split: str) -> None:
    images = load_embedded(name, split).images
    assert images.dtype == torch.uint8
    assert images.shape[1:] == (3, 8, 8)
    assert images.max() > 200


def test_known_and_unknown_digits_share_no_class() -> None:
    known, unknown = load_embedded("digits", "train"), load_embedded("digits-unknown", "test")
    assert known.class_names == ("zero", "one", "two", "three", "four", "five")
    assert unknown.class_names == ("six", "seven", "eight", "nine")
    assert known.labels.unique().tolist() == [0, 1, 2, 3, 4, 5]


def test_splits_hold_every_class_in_proportion() -> None:
    counts = {split: load_embedded("digits", split).labels.bincount() for split in EMBEDDED["digits"]}
    whole = sum(counts.values())
    for split, share in EMBEDDED["digits"].items():
        assert (counts[split] - share * whole).abs().max() <= 1


def test_split_indices_are_disjoint_and_whole() -> None:
    labels = torch.tensor([0, 1] * 25 + [2])
    parts = split_indices(labels, {"a": 0.7, "b": 0.3}, "salt")
    assert sorted(parts["a"] + parts["b"]) == list(range(51))
    assert split_indices(labels, {"a": 0.7, "b": 0.3}, "other") != parts
