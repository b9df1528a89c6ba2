"""CutMix, Mixup and RegMixup: methods that mix two images of the batch."""

import pytest
import torch

from sio_data.errors import InputError
from sio_data.training.methods import make_method
from sio_data.training.methods.base import Losses, TrainingBatch
from tests.training.methods.mixed_rows import cross_entropy, logits_of, weigh
from tests.training.methods.training_steps import digits_batch, new_classifier, new_state, prepared, total

PAIRS = ["cutmix", "mixup", "regmixup:weight=0.7"]


def run(text: str, batch: TrainingBatch, seed: int = 0) -> tuple[TrainingBatch, torch.Tensor, Losses]:
    """Give the mixed batch, its logits and its losses."""
    method = make_method(text)
    classifier = new_classifier(method)
    state = new_state(method, classifier)
    mixed = prepared(method, batch, state, seed=seed)
    return mixed, logits_of(classifier, mixed.images), method.losses(classifier, mixed, state)


def rows_by_hand(text: str, batch: TrainingBatch, mixed: TrainingBatch, logits: torch.Tensor) -> list:
    """(loss, weight, is_synthetic) of each row, from the papers' formulas."""
    labels, flags = batch.labels.tolist(), batch.is_synthetic.tolist()
    partners, share = mixed.extras["partners"].tolist(), mixed.extras["share"][0].item()
    rows, weight = [], 1.0
    if text.startswith("regmixup"):
        rows = [(cross_entropy(logits[place], labels[place]), 1.0, flags[place]) for place in range(32)]
        logits, weight = logits[32:], 0.7
    for place, partner in enumerate(partners):
        rows.append((cross_entropy(logits[place], labels[place]), weight * share, flags[place]))
        rows.append((cross_entropy(logits[place], labels[partner]), weight * (1 - share), flags[partner]))
    return rows


@pytest.mark.parametrize("text", PAIRS)
@pytest.mark.parametrize("synthetic", [0, 8, 31])
def test_loss_is_the_papers_formula_under_both_forms_of_the_objective(text: str, synthetic: int) -> None:
    batch = digits_batch(synthetic=synthetic)
    mixed, logits, losses = run(text, batch)
    rows = rows_by_hand(text, batch, mixed, logits)
    whole = 1.7 if text.startswith("regmixup") else 1.0
    plain = sum(loss * weight for loss, weight, _ in rows) / 32
    assert total(losses).item() == pytest.approx(plain, rel=1e-4)
    if synthetic:
        assert total(losses, 0.6, "loss").item() == pytest.approx(whole * weigh(rows, 0.6), rel=1e-4)
    else:
        assert total(losses, 0.6, "loss").item() == pytest.approx(plain, rel=1e-4)


@pytest.mark.parametrize("text", PAIRS)
def test_rows_weigh_as_much_as_the_images_of_their_kind(text: str) -> None:
    for seed in range(20):
        losses = run(text, digits_batch(synthetic=5), seed)[2]
        assert losses.weights.sum().item() == pytest.approx(32, rel=1e-6)
        assert losses.weights[losses.is_synthetic].sum().item() == pytest.approx(5, rel=1e-5)


def test_cutmix_takes_each_pixel_from_one_of_the_two_and_counts_them() -> None:
    pasted = 0
    for seed in range(20):
        batch = digits_batch()
        batch.images.add_(torch.arange(32)[:, None, None, None] * 1e-4)
        mixed = run("cutmix", batch, seed)[0]
        for image, own, other, share in zip(
            mixed.images, batch.images, batch.images[mixed.extras["partners"]], mixed.extras["share"], strict=True
        ):
            stayed, came = (image == own).all(0), (image == other).all(0)
            assert (stayed | came).all()
            if not torch.equal(own, other):
                assert share.item() == pytest.approx(stayed.sum().item() / 64, abs=1e-7)
                pasted += came.sum().item()
    assert pasted


@pytest.mark.parametrize(("text", "clean"), [("mixup", 0), ("regmixup", 32)])
def test_mixup_blends_pixels_by_lambda(text: str, clean: int) -> None:
    batch = digits_batch()
    mixed = run(text, batch)[0]
    share, partners = mixed.extras["share"][0].item(), mixed.extras["partners"].tolist()
    assert 0 < share < 1
    assert torch.equal(mixed.images[:clean], batch.images[:clean])
    for place, partner in enumerate(partners):
        expected = share * batch.images[place].double() + (1 - share) * batch.images[partner].double()
        torch.testing.assert_close(mixed.images[clean + place].double(), expected, atol=1e-6, rtol=0)


def test_lambda_of_regmixup_is_near_a_half_and_that_of_mixup_anything() -> None:
    shares = {
        text: torch.tensor([run(text, digits_batch(), seed)[0].extras["share"][0] for seed in range(40)])
        for text in ("mixup", "regmixup")
    }
    assert shares["mixup"].min() < 0.1 < 0.9 < shares["mixup"].max()
    assert 0.2 < shares["regmixup"].min() < shares["regmixup"].max() < 0.8


def test_regmixup_without_weight_is_cross_entropy_on_the_clean_images() -> None:
    batch = digits_batch()
    _, logits, losses = run("regmixup:weight=0", batch)
    plain = [cross_entropy(row, label) for row, label in zip(logits, batch.labels.tolist(), strict=False)]
    assert total(losses).item() == pytest.approx(sum(plain) / 32, rel=1e-5)


@pytest.mark.parametrize("text", PAIRS)
def test_the_images_handed_in_stay_as_they_are(text: str) -> None:
    batch = digits_batch()
    before = batch.images.clone()
    run(text, batch)
    assert torch.equal(batch.images, before)


@pytest.mark.parametrize("name", ["cutmix", "mixup", "regmixup"])
@pytest.mark.parametrize("value", ["0", "-1", "NaN", "Infinity"])
def test_alpha_out_of_range_is_refused(name: str, value: str) -> None:
    with pytest.raises(InputError, match=f"{name}: alpha must be above 0"):
        make_method(f"{name}:alpha={value}")


def test_a_negative_weight_is_refused() -> None:
    with pytest.raises(InputError, match="regmixup: weight must be at least 0"):
        make_method("regmixup:weight=-1")
