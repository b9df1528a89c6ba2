import pytest
import torch

from sio_data.training.methods.pair_mixing import draw_beta, draw_partners, paste_box
from tests.training.methods.training_steps import digits_batch


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize(("a", "b"), [(1, 1), (20, 20), (0.2, 0.2), (3, 1), (1, 3)])
def test_draws_have_the_mean_and_variance_of_the_beta_distribution(a: float, b: float) -> None:
    drawn = draw_beta(a, b, 20_000, generator())
    assert 0 <= drawn.min() < drawn.max() <= 1
    assert drawn.mean().item() == pytest.approx(a / (a + b), abs=0.01)
    assert drawn.var().item() == pytest.approx(a * b / ((a + b) ** 2 * (a + b + 1)), rel=0.05)


@pytest.mark.parametrize("alpha", [1e-300, 1e300])
def test_draws_of_extreme_distributions_are_shares_too(alpha: float) -> None:
    drawn = draw_beta(alpha, alpha, 100, generator())
    assert ((drawn >= 0) & (drawn <= 1)).all()


def test_every_image_is_partner_once() -> None:
    partners = draw_partners(digits_batch(), generator())
    assert sorted(partners.tolist()) == list(range(32))
    assert partners.tolist() != list(range(32))


@pytest.mark.parametrize("size", [8, 32, 33])
@pytest.mark.parametrize("share", [0.0, 0.3, 0.7, 0.98, 1.0])
def test_box_is_pasted_and_the_share_is_that_of_the_pixels_which_stay(size: int, share: float) -> None:
    zeros, ones = torch.zeros(2, 3, size, size), torch.ones(2, 3, size, size)
    for seed in range(30):
        mixed, stayed = paste_box(zeros, ones, share, generator(seed))
        inside = mixed[0, 0] > 0
        rows, columns = inside.any(1).nonzero().flatten().tolist(), inside.any(0).nonzero().flatten().tolist()
        assert torch.equal(mixed, inside.float().expand(2, 3, size, size))
        assert stayed == 1 - len(rows) * len(columns) / size**2 == 1 - inside.sum().item() / size**2
        side = int(size * (1 - share) ** 0.5) // 2 * 2
        assert len(rows) <= side
        assert len(columns) <= side
        if rows and rows[0] > 0 and rows[-1] < size - 1:
            assert rows == list(range(rows[0], rows[0] + side))
    assert not zeros.any()


def test_boxes_lie_everywhere() -> None:
    zeros, ones = torch.zeros(1, 3, 8, 8), torch.ones(1, 3, 8, 8)
    pasted = sum(paste_box(zeros, ones, 0.9, generator(seed))[0] for seed in range(300))
    assert (pasted > 0).all()
