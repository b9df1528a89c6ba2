import pytest
import torch

from sio_data.errors import InputError
from sio_data.training.methods import make_method
from sio_data.training.methods.pixmix import PixMix, add, multiply
from sio_data.training.methods.pixmix_operations import OPERATIONS
from tests.training.methods.mixed_rows import cross_entropy, logits_of
from tests.training.methods.training_steps import digits_batch, new_classifier, new_state, prepared

IMAGES = torch.randint(256, (24, 3, 16, 16), generator=torch.Generator().manual_seed(1)) / 255
PICTURES = torch.randint(256, (24, 3, 16, 16), generator=torch.Generator().manual_seed(2)) / 255


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_mixings_are_the_papers_formulas() -> None:
    for x, p, a, b in [(0.2, 0.9, 0.75, 0.25), (0.7, 0.4, 1.3, -0.4), (1.0, 1.0, 1.5, -0.5)]:
        x_, p_, a_, b_ = (torch.tensor([value], dtype=torch.float64) for value in (x, p, a, b))
        assert add(x_, p_, a_, b_).item() == pytest.approx((a * (2 * x - 1) + b * (2 * p - 1) + 1) / 2)
        assert multiply(x_, p_, a_, b_).item() == pytest.approx((2 * x) ** a * (2 * p) ** b / 2)


def test_black_has_a_negative_power() -> None:
    black, a, b = torch.zeros(1), torch.tensor([1.9]), torch.tensor([-1.0])
    assert multiply(torch.ones(1), black, a, b).isfinite()
    assert multiply(black, black, a, b) == 0


def test_powers_are_drawn_towards_or_away_from_the_picture() -> None:
    a, b = PixMix(beta=3.0)._draw_powers(20_000, generator())
    towards = b > 0
    assert towards.double().mean().item() == pytest.approx(0.5, abs=0.02)
    assert a[towards].max() <= 1 <= a[~towards].min()
    for values, mean in [(a[towards], 0.75), (b[towards], 0.25), (a[~towards], 1.25), (b[~towards], -0.25)]:
        assert values.mean().item() == pytest.approx(mean, abs=0.01)


@pytest.mark.parametrize("seed", range(3))
def test_every_image_is_mixed_by_its_own_draws(seed: int) -> None:
    """One image after another, from the same draws."""
    method, draws = PixMix(), generator(seed)
    times = torch.randint(5, (24,), generator=draws)
    alters = torch.rand(5, 24, generator=draws) < 0.5
    operations = torch.randint(13, (5, 24), generator=draws)
    level = torch.empty(5, 24).uniform_(0.1, 3, generator=draws)
    sign = 1 - 2 * torch.randint(2, (5, 24), generator=draws).float()
    mixings = [(*method._draw_powers(24, draws), torch.rand(24, generator=draws) < 0.5) for _ in range(4)]

    def altered(place: int, step: int) -> torch.Tensor:
        one, here = slice(place, place + 1), (step, slice(place, place + 1))
        return OPERATIONS[operations[step, place]]((IMAGES[one] * 255).round(), level[here], sign[here])[0] / 255

    mixed = method.mix(IMAGES, PICTURES, generator(seed))
    for place in range(24):
        image = altered(place, 0) if alters[0, place] else IMAGES[place]
        for step in range(1, int(times[place]) + 1):
            partner = altered(place, step) if alters[step, place] else PICTURES[place]
            a, b, multiplies = (values[place] for values in mixings[step - 1])
            image = (multiply if multiplies else add)(image, partner, a.float(), b.float()).clamp(0, 1)
        torch.testing.assert_close(mixed[place], image, atol=1e-5, rtol=0)


def test_mixed_images_are_images_and_pictures_are_seen_in_them() -> None:
    white, black = torch.ones_like(PICTURES), torch.zeros_like(PICTURES)
    one, other = (PixMix().mix(IMAGES, pictures, generator(4)) for pictures in (white, black))
    for mixed in (one, other):
        assert mixed.shape == IMAGES.shape
        assert ((mixed >= 0) & (mixed <= 1)).all()
    changed = (one != other).flatten(1).any(1)
    assert 8 <= changed.sum() < 24


def test_without_mixings_about_half_of_the_images_are_altered() -> None:
    many = IMAGES.repeat(20, 1, 1, 1)
    mixed = PixMix(k=0).mix(many, PICTURES.repeat(20, 1, 1, 1), generator())
    changed = (mixed != many).flatten(1).any(1).float().mean().item()
    assert 0.35 < changed < 0.55


def test_loss_is_cross_entropy_on_the_mixed_images_real_and_synthetic_alike() -> None:
    method = PixMix()
    classifier, batch = new_classifier(method), digits_batch()
    mixed = prepared(method, batch, new_state(method, classifier))
    losses = method.losses(classifier, mixed, new_state(method, classifier))
    logits = logits_of(classifier, mixed.images)
    expected = [cross_entropy(row, label) for row, label in zip(logits, batch.labels.tolist(), strict=True)]
    assert losses.each.tolist() == pytest.approx(expected, rel=1e-4)
    assert torch.equal(losses.is_synthetic, batch.is_synthetic)
    changed = (mixed.images != batch.images).flatten(1).any(1)
    assert changed[batch.is_synthetic].any()
    assert changed[~batch.is_synthetic].any()


@pytest.mark.parametrize(
    ("parameter", "message"),
    [
        ("k=-1", "k must be from 0 to 100"),
        ("k=101", "k must be from 0 to 100"),
        ("beta=0", "beta must be above 0"),
        ("severity=0", "severity must be from 0.1 to 10"),
        ("severity=NaN", "severity must be from 0.1 to 10"),
        ("pictures=/nowhere", "pictures: '/nowhere' is no folder"),
    ],
)
def test_parameters_out_of_range_are_refused(parameter: str, message: str) -> None:
    with pytest.raises(InputError, match=f"pixmix: {message}"):
        make_method(f"pixmix:{parameter}")
