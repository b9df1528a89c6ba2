import pytest

from sio_data.training.heads import CosineHead
from sio_data.training.methods.godin import GODIN
from tests.training.methods.training_steps import digits_batch, new_classifier, new_state


def test_loss_is_the_cross_entropy_of_the_fractions() -> None:
    method = GODIN()
    classifier, batch = new_classifier(method), digits_batch()
    assert isinstance(classifier.head, CosineHead)
    losses = method.losses(classifier, batch, new_state(method, classifier))
    features = classifier.features(batch.images)
    logits = classifier.head.numerator(features).double() / classifier.head.confidence(features).double().sigmoid()
    for row, label, loss in zip(logits, batch.labels, losses.each, strict=True):
        assert loss.item() == pytest.approx((row.exp().sum().log() - row[label]).item(), rel=1e-4)
