import pytest
import torch

from sio_data.errors import InputError
from sio_data.training.methods import make_method
from sio_data.training.methods.oe import OE
from tests.training.methods.training_steps import digits_batch, new_classifier, new_state


def test_loss_is_the_papers_formula_in_one_joint_pass() -> None:
    method = OE(weight=0.25)
    classifier, batch = new_classifier(method), digits_batch(outliers=8)
    losses = method.losses(classifier, batch, new_state(method, classifier))
    logits = classifier(torch.cat([batch.images, batch.outliers])).double()
    for row, label, loss in zip(logits, batch.labels, losses.each, strict=False):
        assert loss.item() == pytest.approx((row.exp().sum().log() - row[label]).item(), rel=1e-4)
    uniform = [(row.exp().sum().log() - sum(row) / 6).item() for row in logits[32:]]
    assert losses.extra.item() == pytest.approx(0.25 * sum(uniform) / 8, rel=1e-4)
    assert len(losses.each) == 32


def test_loss_on_outliers_makes_their_predictions_uniform_and_reaches_the_network() -> None:
    method = OE()
    classifier, batch = new_classifier(method), digits_batch(outliers=8)
    optimizer = torch.optim.SGD(classifier.parameters(), 0.1)
    for _ in range(20):
        optimizer.zero_grad()
        method.losses(classifier, batch, new_state(method, classifier)).extra.backward()
        assert all(parameter.grad.any() for parameter in classifier.network.parameters())
        optimizer.step()
    logits = classifier(torch.cat([batch.images, batch.outliers]))[32:]
    assert logits.softmax(1).max() < 0.2


@pytest.mark.parametrize("value", ["-1", "NaN", "Infinity"])
def test_weight_out_of_range_is_refused(value: str) -> None:
    with pytest.raises(InputError, match="oe: weight must be at least 0"):
        make_method(f"oe:weight={value}")
