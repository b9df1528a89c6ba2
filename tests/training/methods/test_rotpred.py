import pytest
import torch

from sio_data.errors import InputError
from sio_data.training.methods import make_method
from sio_data.training.methods.rotpred import RotPred
from tests.training.methods.training_steps import digits_batch, new_classifier, new_state, prepared, total


def nats(logits: torch.Tensor, label: int) -> float:
    return (logits.double().exp().sum().log() - logits[label].double()).item()


def turned(image: torch.Tensor, turns: int) -> torch.Tensor:
    """Turn an image counter-clockwise, pixel by pixel."""
    size = image.shape[-1]
    for _ in range(turns):
        rows = [[image[:, column, size - 1 - row] for column in range(size)] for row in range(size)]
        image = torch.stack([torch.stack(row, 1) for row in rows], 1)
    return image


def test_loss_is_the_papers_formula_for_each_image() -> None:
    method = RotPred(weight=0.5)
    classifier, batch = new_classifier(method), digits_batch(8, synthetic=2)
    state = new_state(method, classifier)
    losses = method.losses(classifier, prepared(method, batch, state), state)
    images = torch.stack([turned(image, turns) for turns in range(4) for image in batch.images])
    features = classifier.features(images)
    logits, rotations = classifier.head(features), classifier.side_heads["rotation"](features)
    for row in range(8):
        turns = sum(nats(rotations[8 * turns + row], turns) for turns in range(4)) / 4
        expected = nats(logits[row], int(batch.labels[row])) + 0.5 * turns
        assert losses.each[row].item() == pytest.approx(expected, rel=1e-4)


def test_rotations_count_as_real_or_synthetic_with_their_image() -> None:
    method = RotPred()
    classifier, batch = new_classifier(method), digits_batch(8, synthetic=2)
    state = new_state(method, classifier)
    losses = method.losses(classifier, prepared(method, batch, state), state)
    assert losses.is_synthetic.tolist() == [False] * 6 + [True] * 2
    expected = 0.75 * losses.each[:6].mean() + 0.25 * losses.each[6:].mean()
    assert total(losses, alpha=0.75, mix="loss").item() == pytest.approx(expected.item(), rel=1e-5)


def test_classes_are_learnt_from_upright_images_and_rotations_by_their_own_head() -> None:
    method = RotPred(weight=0.0)
    classifier, batch = new_classifier(method), digits_batch()
    state = new_state(method, classifier)
    method.losses(classifier, prepared(method, batch, state), state).each.sum().backward()
    assert not any(parameter.grad.any() for parameter in classifier.side_heads.parameters())
    assert all(parameter.grad.any() for parameter in classifier.head.parameters())


@pytest.mark.parametrize("value", ["-1", "NaN", "Infinity"])
def test_weight_out_of_range_is_refused(value: str) -> None:
    with pytest.raises(InputError, match="rotpred: weight must be at least 0"):
        make_method(f"rotpred:weight={value}")
