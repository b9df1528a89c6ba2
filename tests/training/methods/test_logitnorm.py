import math

import pytest
import torch

from sio_data.errors import InputError
from sio_data.training.methods import make_method
from sio_data.training.methods.logitnorm import LogitNorm
from tests.training.methods.training_steps import digits_batch, new_classifier, new_state


def test_loss_is_the_papers_formula() -> None:
    method = LogitNorm(temperature=0.5)
    classifier, batch = new_classifier(method), digits_batch()
    losses = method.losses(classifier, batch, new_state(method, classifier))
    for row, label, loss in zip(classifier(batch.images).tolist(), batch.labels.tolist(), losses.each, strict=True):
        length = math.sqrt(sum(value**2 for value in row)) + 1e-7
        scaled = [value / (0.5 * length) for value in row]
        expected = math.log(sum(math.exp(value) for value in scaled)) - scaled[label]
        assert loss.item() == pytest.approx(expected, rel=1e-5)


def test_length_of_the_logits_does_not_matter() -> None:
    method = LogitNorm()
    classifier, batch = new_classifier(method), digits_batch()
    before = method.losses(classifier, batch, new_state(method, classifier)).each
    with torch.no_grad():
        classifier.head.weight.mul_(3)
        classifier.head.bias.mul_(3)
    assert torch.allclose(before, method.losses(classifier, batch, new_state(method, classifier)).each, atol=1e-4)


def test_logits_of_zero_do_no_harm() -> None:
    method = LogitNorm()
    classifier = new_classifier(method)
    for parameter in classifier.head.parameters():
        torch.nn.init.zeros_(parameter)
    losses = method.losses(classifier, digits_batch(), new_state(method, classifier))
    assert losses.each.tolist() == pytest.approx([math.log(6)] * 32)
    losses.each.sum().backward()
    assert all(parameter.grad.isfinite().all() for parameter in classifier.parameters())


@pytest.mark.parametrize("value", ["0", "-1", "NaN", "Infinity"])
def test_temperature_out_of_range_is_refused(value: str) -> None:
    with pytest.raises(InputError, match="logitnorm: temperature must be above 0"):
        make_method(f"logitnorm:temperature={value}")
