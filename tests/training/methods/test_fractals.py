import numpy as np
import pytest

from sio_data.training.methods.fractals import draw_fractals


def test_the_seed_decides() -> None:
    pictures = draw_fractals(4, 9)
    assert pictures.shape == (4, 9, 9, 3)
    assert pictures.dtype == np.uint8
    assert np.array_equal(pictures, draw_fractals(4, 9))
    assert np.array_equal(pictures[:2], draw_fractals(2, 9))
    assert not np.array_equal(pictures, draw_fractals(4, 9, seed=1))


@pytest.mark.parametrize("size", [36, 100])
def test_pictures_are_rich_in_structure_and_all_different(size: int) -> None:
    pictures = draw_fractals(16, size).astype(float)
    grey = pictures.mean(3)
    edges = np.abs(np.diff(grey, axis=1)).mean((1, 2)) + np.abs(np.diff(grey, axis=2)).mean((1, 2))
    assert grey.std((1, 2)).min() > 4
    assert edges.min() > 2
    assert np.median(grey.std((1, 2))) > 20
    flat = grey.reshape(16, -1)
    assert np.abs(np.corrcoef(flat) - np.eye(16)).max() < 0.9


def test_pictures_have_colours() -> None:
    pictures = draw_fractals(16, 36).astype(float)
    assert (pictures.max(3) - pictures.min(3)).mean() > 40
