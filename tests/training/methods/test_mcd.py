import pytest
import torch
from scipy.stats import entropy

from sio_data.errors import InputError
from sio_data.training.methods import make_method
from sio_data.training.methods.mcd import MCD
from tests.training.methods.training_steps import digits_batch, new_classifier, new_state, prepared


def test_loss_is_the_papers_formula_in_one_joint_pass() -> None:
    method = MCD(margin=0.7, weight=0.5, start=0.0)
    classifier, batch = new_classifier(method), digits_batch(outliers=8)
    losses = method.losses(classifier, batch, new_state(method, classifier))
    features = classifier.features(torch.cat([batch.images, batch.outliers]))
    first = classifier.head(features).double().softmax(1).detach()
    second = classifier.side_heads["second"](features).double().softmax(1).detach()
    for row in range(32):
        label = batch.labels[row]
        assert losses.each[row].item() == pytest.approx(
            -(first[row, label] * second[row, label]).log().item(), rel=1e-4
        )
    gap = (entropy(first[32:], axis=1) - entropy(second[32:], axis=1)).mean()
    assert losses.extra.item() == pytest.approx(0.5 * max(0.7 - gap, 0), rel=1e-4)


def test_discrepancy_beyond_the_margin_costs_nothing() -> None:
    method = MCD(margin=0.5, start=0.0)
    classifier, batch = new_classifier(method), digits_batch(outliers=8)
    with torch.no_grad():
        classifier.head.weight.zero_()
        classifier.head.bias.zero_()
        classifier.side_heads["second"].bias[0] = 50
    losses = method.losses(classifier, batch, new_state(method, classifier))
    assert losses.extra.item() == 0


def test_outliers_are_left_out_before_the_fine_tuning() -> None:
    method = MCD(start=0.5)
    classifier, batch = new_classifier(method), digits_batch(outliers=8)
    state = new_state(method, classifier)
    early = method.losses(classifier, prepared(method, batch, state, 0.49), state)
    assert early.extra is None
    alone = method.losses(classifier, digits_batch(), state)
    assert torch.equal(early.each, alone.each)
    late = method.losses(classifier, prepared(method, batch, state, 0.5), state)
    assert late.extra.item() > 0
    assert not torch.allclose(early.each, late.each)


def test_discrepancy_pulls_the_heads_apart_and_reaches_the_network() -> None:
    method = MCD(start=0.0)
    classifier, batch = new_classifier(method), digits_batch(outliers=8)
    method.losses(classifier, batch, new_state(method, classifier)).extra.backward()
    for module in (classifier.head, classifier.side_heads["second"], classifier.network):
        assert all(parameter.grad.any() for parameter in module.parameters())


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("margin=-1", "mcd: margin must be at least 0"),
        ("weight=NaN", "mcd: weight must be at least 0"),
        ("start=1.5", "mcd: start must be from 0 to 1"),
    ],
)
def test_parameters_out_of_range_are_refused(text: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        make_method(f"mcd:{text}")
