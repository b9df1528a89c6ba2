from dataclasses import replace

import pytest
import torch

from sio_data.errors import InputError
from sio_data.training.methods import make_method
from tests.training.methods.mixed_rows import cross_entropy, logits_of, weigh
from tests.training.methods.training_steps import digits_batch, new_classifier, new_state, prepared, total


@pytest.mark.parametrize("operation", ["mixup", "cutmix"])
def test_loss_is_the_papers_formula(operation: str) -> None:
    method = make_method(f"mixoe:operation={operation},weight=2.5")
    classifier = new_classifier(method)
    batch = prepared(method, digits_batch(outliers=32), new_state(method, classifier))
    losses = method.losses(classifier, batch, new_state(method, classifier))
    clean, mixed = logits_of(classifier, batch.images), logits_of(classifier, batch.extras["mixed"])
    rows = []
    for place, label in enumerate(batch.labels.tolist()):
        share = batch.extras["share"][place].item()
        target = [(1 - share) / 6 + share * (label == other) for other in range(6)]
        soft = sum(part * cross_entropy(mixed[place], other) for other, part in enumerate(target))
        rows.append((cross_entropy(clean[place], label) + 2.5 * soft, 1.0, batch.is_synthetic[place].item()))
    assert losses.each.tolist() == pytest.approx([loss for loss, _, _ in rows], rel=1e-4)
    assert total(losses, 0.7, "loss").item() == pytest.approx(weigh(rows, 0.7), rel=1e-4)


def test_mixup_blends_each_image_with_an_outlier_going_round_if_there_are_fewer() -> None:
    method = make_method("mixoe")
    batch = digits_batch(outliers=5)
    mixed = prepared(method, batch, new_state(method, new_classifier(method)))
    assert torch.equal(mixed.images, batch.images)
    share = mixed.extras["share"][0].item()
    for place in range(32):
        expected = share * batch.images[place] + (1 - share) * batch.outliers[place % 5]
        torch.testing.assert_close(mixed.extras["mixed"][place], expected)


def test_cutmix_pastes_a_box_of_the_outlier_into_the_image() -> None:
    method = make_method("mixoe:operation=cutmix,alpha=2")
    for seed in range(10):
        batch = replace(digits_batch(outliers=40), outliers=torch.full((40, 3, 8, 8), 2.0))
        mixed = prepared(method, batch, new_state(method, new_classifier(method)), seed=seed)
        came = (mixed.extras["mixed"] == 2).all(1)
        assert mixed.extras["share"].tolist() == pytest.approx((1 - came.flatten(1).float().mean(1)).tolist())
        stayed = ~came[:, None].expand(-1, 3, -1, -1)
        assert torch.equal(mixed.extras["mixed"][stayed], batch.images[stayed])


def test_it_makes_predictions_on_outliers_unsure() -> None:
    method = make_method("mixoe")
    classifier, batch = new_classifier(method), digits_batch(outliers=32)
    optimizer = torch.optim.SGD(classifier.parameters(), 0.1)
    for step in range(60):
        mixed = prepared(method, batch, new_state(method, classifier), seed=step)
        optimizer.zero_grad()
        total(method.losses(classifier, mixed, new_state(method, classifier))).backward()
        optimizer.step()
    classifier.eval()
    known, unknown = (classifier(images).softmax(1).amax(1).mean() for images in (batch.images, batch.outliers))
    assert unknown < known - 0.2


@pytest.mark.parametrize(
    ("parameter", "message"),
    [("operation=blend", "operation must be one of mixup, cutmix"), ("alpha=0", "alpha"), ("weight=-1", "weight")],
)
def test_parameters_out_of_range_are_refused(parameter: str, message: str) -> None:
    with pytest.raises(InputError, match=f"mixoe: {message}"):
        make_method(f"mixoe:{parameter}")
