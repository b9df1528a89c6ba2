import pytest
import torch

from sio_data.errors import InputError
from sio_data.training.methods import make_method
from sio_data.training.methods.t2fnorm import T2FNorm
from tests.training.methods.training_steps import digits_batch, new_classifier, new_state


def test_loss_is_the_papers_formula() -> None:
    method = T2FNorm(temperature=0.25)
    classifier, batch = new_classifier(method), digits_batch()
    losses = method.losses(classifier, batch, new_state(method, classifier))
    weight, bias = classifier.head.weight.double(), classifier.head.bias.double()
    for row, label, loss in zip(classifier.features(batch.images).double(), batch.labels, losses.each, strict=True):
        logits = 4 * (weight @ row) / (row @ row).sqrt() + bias
        assert loss.item() == pytest.approx((logits.exp().sum().log() - logits[label]).item(), rel=1e-4)


def test_length_of_the_features_is_not_trained(monkeypatch: pytest.MonkeyPatch) -> None:
    method = T2FNorm()
    classifier, batch = new_classifier(method), digits_batch()
    features = classifier.features(batch.images).detach().requires_grad_()
    monkeypatch.setattr(classifier, "features", lambda images: features)
    method.losses(classifier, batch, new_state(method, classifier)).each.sum().backward()
    along = (features * features.grad).sum(1) / features.norm(dim=1) / features.grad.norm(dim=1)
    assert along.abs().max() < 1e-4


def test_features_are_used_as_they_are_at_test_time() -> None:
    method = T2FNorm()
    classifier, batch = new_classifier(method).eval(), digits_batch()
    features = classifier.features(batch.images)
    assert torch.allclose(classifier(batch.images), features @ classifier.head.weight.T + classifier.head.bias)


@pytest.mark.parametrize("value", ["0", "-1", "NaN", "Infinity"])
def test_temperature_out_of_range_is_refused(value: str) -> None:
    with pytest.raises(InputError, match="t2fnorm: temperature must be above 0"):
        make_method(f"t2fnorm:temperature={value}")
