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
