import pytest
import torch

from sio_data.training.augmentation import augment


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


IMAGES = torch.randint(1, 256, (64, 3, 16, 16), dtype=torch.uint8, generator=generator(1))


def test_none_changes_nothing() -> None:
    assert torch.equal(augment(IMAGES, "none", generator()), IMAGES)


def test_crop_shifts_each_image_by_at_most_an_eighth_and_fills_with_black() -> None:
    shifts = set()
    for before, after in zip(IMAGES, augment(IMAGES, "crop", generator()), strict=True):
        padded = torch.nn.functional.pad(before, (2,) * 4)
        matches = [
            (row, column)
            for row in range(5)
            for column in range(5)
            if torch.equal(padded[:, row : row + 16, column : column + 16], after)
        ]
        assert len(matches) == 1
        shifts.update(matches)
    assert {row for row, _ in shifts} == {column for _, column in shifts} == set(range(5))


def test_flip_mirrors_about_half() -> None:
    asymmetric = torch.zeros(400, 3, 16, 16, dtype=torch.uint8)
    asymmetric[..., :8] = 255
    after = augment(asymmetric, "crop-flip", generator())
    mirrored = (after[:, 0, 8, 2] < after[:, 0, 8, 13]).float().mean()
    assert 0.4 < mirrored < 0.6


@pytest.mark.parametrize("name", ["crop", "crop-flip"])
def test_the_seed_decides(name: str) -> None:
    torch.manual_seed(0)
    first = augment(IMAGES, name, generator(5))
    torch.manual_seed(1)
    assert torch.equal(first, augment(IMAGES, name, generator(5)))
    assert not torch.equal(first, augment(IMAGES, name, generator(6)))
