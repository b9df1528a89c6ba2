from pathlib import Path

import numpy as np
import pytest
import torch

from sio_data.errors import ClassMapError, InputError
from sio_data.image_set import ImageSet

PIXELS = torch.zeros(2, 3, 4, 4, dtype=torch.uint8)
LABELS = torch.tensor([0, 1])


@pytest.mark.parametrize(
    ("images", "labels", "error"),
    [
        (PIXELS.float(), LABELS, InputError),
        (PIXELS[:, :1], LABELS, InputError),
        (PIXELS[..., :2], LABELS, InputError),
        (PIXELS[0], LABELS, InputError),
        (PIXELS, LABELS.int(), InputError),
        (PIXELS, LABELS[:1], InputError),
        (PIXELS[:0], LABELS[:0], InputError),
        (PIXELS, LABELS + 1, ClassMapError),
        (PIXELS, LABELS - 2, ClassMapError),
    ],
)
def test_what_is_no_image_set_is_refused(images: torch.Tensor, labels: torch.Tensor, error: type[Exception]) -> None:
    with pytest.raises(error):
        ImageSet(images, labels, ("a", "b"))


def test_classes_are_matched_by_name() -> None:
    renamed = ImageSet(PIXELS, LABELS, ("dog", "cat")).with_class_names(("cat", "cow", "dog"))
    assert renamed.labels.tolist() == [2, 0]
    assert renamed.class_names == ("cat", "cow", "dog")


def test_images_without_label_stay_without() -> None:
    assert ImageSet(PIXELS, torch.tensor([-1, 0]), ("a",)).with_class_names(("b", "a")).labels.tolist() == [-1, 1]


def test_digest_notices_every_part() -> None:
    base = ImageSet(PIXELS, LABELS, ("a", "b"))
    others = [ImageSet(PIXELS + 1, LABELS, ("a", "b")), base.select([1, 0]), ImageSet(PIXELS, LABELS, ("a", "c"))]
    assert len({base.digest, *(other.digest for other in others)}) == 4


def read(images: ImageSet, places: list[list[int]], seed: int = 0) -> list[list[int]]:
    """Give the labels of the batches, which are the numbers of the images."""
    batches = list(images.read([torch.tensor(part, dtype=torch.int64) for part in places], seed))
    assert all(torch.equal(pixels[:, 0, 0, 0].long(), labels) for pixels, labels in batches)
    return [labels.tolist() for _, labels in batches]


def numbered(count: int) -> ImageSet:
    pixels = torch.arange(count, dtype=torch.uint8)[:, None, None, None].expand(-1, 3, 2, 2)
    return ImageSet(pixels, torch.arange(count), [str(number) for number in range(count)])


def test_reading_follows_one_permutation_after_another() -> None:
    (order,) = read(numbered(10), [list(range(40))])
    rounds = [order[start : start + 10] for start in range(0, 40, 10)]
    assert all(sorted(part) == list(range(10)) for part in rounds)
    assert len({tuple(part) for part in rounds}) == 4
    assert read(numbered(10), [list(range(40))], seed=1) != [order]


def test_what_is_at_a_place_depends_on_the_seed_alone() -> None:
    (order,) = read(numbered(10), [list(range(40))])
    assert read(numbered(10), [[3, 9, 10], [], [25], [31, 39]]) == [
        [order[place] for place in part] for part in ([3, 9, 10], [], [25], [31, 39])
    ]
    assert read(numbered(10), []) == []


def test_reading_makes_only_the_permutations_it_needs(monkeypatch: pytest.MonkeyPatch) -> None:
    made = []
    shuffle = torch.randperm
    monkeypatch.setattr(torch, "randperm", lambda *args, **kwargs: made.append(args) or shuffle(*args, **kwargs))
    read(numbered(10), [[10**6, 10**6 + 1], [10**9]])
    assert len(made) == 2


def test_a_mapped_file_is_never_copied_whole(tmp_path: Path) -> None:
    pixels = np.lib.format.open_memmap(tmp_path / "images.npy", "w+", np.uint8, (3000, 3, 4, 4))
    pixels[:] = np.arange(3000)[:, None, None, None] % 250
    mapped = ImageSet(torch.from_numpy(pixels), torch.arange(3000) % 2, ("a", "b"))
    copied = ImageSet(mapped.images.clone(), mapped.labels, mapped.class_names)
    same_storage = [mapped.require_labels(), mapped.without_labels(), mapped.with_class_names(("b", "a"))]
    assert all(images.images.data_ptr() == mapped.images.data_ptr() for images in same_storage)
    assert mapped.to("cpu").images.data_ptr() == mapped.images.data_ptr()
    assert mapped.digest == copied.digest
    places = torch.arange(100).split(10)
    for (some, _), (others, _) in zip(mapped.read(places, 3), copied.read(places, 3), strict=True):
        assert torch.equal(some, others)


def test_the_digest_is_the_same_wherever_and_however_the_pixels_lie() -> None:
    pixels = torch.arange(2500 * 12, dtype=torch.int64).remainder(251).to(torch.uint8).view(2500, 2, 2, 3)
    turned = ImageSet(pixels.permute(0, 3, 1, 2), torch.zeros(2500, dtype=torch.int64), ("a",))
    straight = ImageSet(turned.images.contiguous(), turned.labels, ("a",))
    assert turned.digest == straight.digest
    assert straight.digest == "c2ec898fefcb9985e1f93924e88a59ffa687c48dcf0be575843ecb172f78c17a"
