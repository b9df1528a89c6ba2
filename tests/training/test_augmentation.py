import pytest
import torch
import torch.nn.functional as F
from PIL import Image

from sio_data.errors import UnknownNameError
from sio_data.training.augmentation import AUGMENTATIONS, augment, centre, cut_by_index, cut_in_bulk
from sio_data.training.resampling import resample


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


@pytest.mark.parametrize("name", AUGMENTATIONS[1:])
def test_the_seed_decides(name: str) -> None:
    torch.manual_seed(0)
    first = augment(IMAGES, name, generator(5))
    torch.manual_seed(1)
    assert torch.equal(first, augment(IMAGES, name, generator(5)))
    assert not torch.equal(first, augment(IMAGES, name, generator(6)))
    assert first.dtype == torch.uint8
    assert first.is_contiguous()


def test_crop_flip_is_crop_with_some_images_mirrored() -> None:
    cropped, both = augment(IMAGES, "crop", generator()), augment(IMAGES, "crop-flip", generator())
    mirrored = [not torch.equal(one, other) for one, other in zip(cropped, both, strict=True)]
    assert 16 < sum(mirrored) < 48
    for one, other, turned in zip(cropped, both, mirrored, strict=True):
        assert torch.equal(one.flip(-1) if turned else one, other)


@pytest.mark.parametrize("mirror", [False, True])
@pytest.mark.parametrize("size", [1, 5, 16])
def test_both_ways_to_cut_give_the_same_bytes(size: int, mirror: bool) -> None:
    padded = F.pad(IMAGES, (3,) * 4)
    corners = torch.randint(0, 22 - size + 1, (2, 64), generator=generator(2))
    corners[:, 0], corners[:, 1] = 0, 22 - size
    mirrored = torch.rand(64, generator=generator(3)) < 0.5 if mirror else None
    assert torch.equal(cut_in_bulk(padded, corners, size, mirrored), cut_by_index(padded, corners, size, mirrored))


@pytest.mark.parametrize("name", AUGMENTATIONS)
def test_how_the_pixels_lie_in_memory_changes_nothing(name: str) -> None:
    turned = IMAGES.permute(0, 2, 3, 1).contiguous().permute(0, 3, 1, 2)
    before = turned.clone()
    assert torch.equal(augment(turned, name, generator()), augment(IMAGES, name, generator()))
    assert torch.equal(turned, before)


@pytest.mark.parametrize("name", AUGMENTATIONS)
def test_a_batch_is_brought_to_the_size_wanted(name: str) -> None:
    assert augment(IMAGES, name, generator(), size=14).shape == (64, 3, 14, 14)
    assert augment(IMAGES, name, generator(), size=20).shape == (64, 3, 20, 20)


def test_resized_crops_show_parts_as_the_recipe_asks() -> None:
    """Rows and columns that hold their own number tell what part of the image is seen, and how it is turned."""
    stored, count = 64, 4000
    line = torch.arange(stored, dtype=torch.uint8).mul(4)
    images = torch.stack([line[:, None].expand(-1, stored), line.expand(stored, -1), line.expand(stored, -1)])
    seen = augment(images.expand(count, -1, -1, -1), "resized-crop-flip", generator()).double() / 4
    height = (seen[:, 0, -1, 0] - seen[:, 0, 0, 0]).abs() + 1
    across = seen[:, 1, 0, -1] - seen[:, 1, 0, 0]
    width = across.abs() + 1
    assert 0.45 < (across < 0).double().mean() < 0.55
    area, aspect = height * width / stored**2, (width / height).log()
    assert area.min() > 0.06
    assert area.max() > 0.95
    assert 0.45 < area.mean() < 0.52  # large parts that do not fit are drawn again
    assert aspect.abs().max() < torch.tensor(4 / 3).log() + 0.15  # whole pixels, and 9 of them at least
    assert aspect.mean().abs() < 0.02
    top = seen[:, 0, 0, 0]
    room = stored - height
    assert 0.45 < (top[room > 8] / room[room > 8]).mean() < 0.55


def test_resampling_is_the_fields() -> None:
    boxes = torch.tensor([[0, 0, 16, 16], [3, 0, 9, 5], [15, 15, 1, 1], [2, 4, 14, 12]])
    mirrored = torch.tensor([False, True, False, True])
    for size in (1, 7, 16, 40):
        resampled = resample(IMAGES[:4], boxes, size, mirrored)
        for image, (top, left, height, width), turned, ours in zip(IMAGES, boxes, mirrored, resampled, strict=False):
            part = image[:, top : top + height, left : left + width].float()[None]
            theirs = F.interpolate(part, (size, size), mode="bilinear", antialias=True)[0]
            assert (ours - (theirs.flip(-1) if turned else theirs)).abs().max() <= 0.51
            pillow = Image.fromarray(part[0].byte().permute(1, 2, 0).contiguous().numpy()).resize((size, size), 2)
            theirs = torch.tensor(list(pillow.tobytes())).view(size, size, 3).permute(2, 0, 1)
            assert (ours.int() - (theirs.flip(-1) if turned else theirs)).abs().max() <= 1


def test_centre_is_what_the_field_evaluates_on() -> None:
    images = torch.randint(0, 256, (2, 3, 256, 256), dtype=torch.uint8, generator=generator())
    assert torch.equal(centre(images, 224), images[..., 16:240, 16:240])
    assert torch.equal(centre(images, 256), images)
    middle = F.interpolate(images[..., 16:240, 16:240].float(), (112, 112), mode="bilinear", antialias=True)
    assert (centre(images, 112) - middle).abs().max() <= 0.51
    enlarged = F.interpolate(images.float(), (300, 300), mode="bilinear", antialias=True)
    assert (centre(images, 300) - enlarged).abs().max() <= 0.51


def test_an_unknown_augmentation_is_refused_with_the_known_ones() -> None:
    with pytest.raises(UnknownNameError, match="Known: none, crop, crop-flip, resized-crop-flip"):
        augment(IMAGES, "cropflip", generator())
