"""What holds for every method."""

import math
from dataclasses import replace

import pytest
import torch
from torch import nn

from sio_data.errors import InputError, UnknownNameError
from sio_data.training.checkpoint import Classifier
from sio_data.training.methods import METHODS, make_method
from sio_data.training.methods.base import Method, TrainingBatch
from tests.training.methods.training_steps import (
    CLASSES,
    digits_batch,
    losses_of,
    new_classifier,
    new_state,
    prepared,
    total,
)

# With parameters that make every part of the loss count within a few steps.
TEXTS = {"vos": "vos:queue=3,start=0.2,draws=100", "mcd": "mcd:start=0.5,margin=0.2"}
EVERY = [TEXTS.get(name, name) for name in METHODS]
pytestmark = pytest.mark.parametrize("text", EVERY)


def outliers_of(text: str) -> int:
    return 8 if make_method(text).needs_outliers else 0


def test_training_lowers_the_loss(text: str) -> None:
    history = losses_of(make_method(text), 30, outliers_of(text))
    assert all(map(math.isfinite, history))
    first, last = (sum(part) / 5 for part in (history[:5], history[-5:]))
    assert last < 0.9 * first


@pytest.mark.parametrize("progress", [0.0, 0.95])
def test_every_parameter_gets_a_gradient_at_every_time(text: str, progress: float) -> None:
    method = make_method(text)
    classifier = new_classifier(method)
    state = new_state(method, classifier)
    batch = prepared(method, digits_batch(outliers=outliers_of(text)), state, progress)
    total(method.losses(classifier, batch, state)).backward()
    for module in (classifier, state):
        for name, parameter in module.named_parameters():
            assert parameter.grad is not None, name
            assert parameter.grad.isfinite().all(), name
    assert all(parameter.grad.any() for parameter in classifier.parameters())


@pytest.mark.parametrize("synthetic", [0, 8, 32])
def test_a_batch_of_any_kinds_has_a_finite_loss(text: str, synthetic: int) -> None:
    method = make_method(text)
    classifier = new_classifier(method)
    state = new_state(method, classifier)
    batch = prepared(method, digits_batch(synthetic=synthetic, outliers=outliers_of(text)), state, 0.95)
    losses = method.losses(classifier, batch, state)
    assert losses.each.shape == losses.is_synthetic.shape
    assert losses.each.dtype == torch.float32
    assert total(losses, mix="loss").isfinite()


def test_bf16_gives_about_the_same_loss_in_float32(text: str) -> None:
    method = make_method(text)
    classifier = new_classifier(method)
    state = new_state(method, classifier)
    batch = prepared(method, digits_batch(outliers=outliers_of(text)), state, 0.95)
    exact = total(method.losses(classifier, batch, state)).item()
    state = new_state(method, classifier)
    with torch.autocast("cpu", torch.bfloat16):
        losses = method.losses(classifier, batch, state)
    assert losses.each.dtype == torch.float32
    assert losses.extra is None or losses.extra.dtype == torch.float32
    assert total(losses).item() == pytest.approx(exact, rel=0.05)


def test_labels_are_smoothed_when_asked_for(text: str) -> None:
    method = make_method(text)
    classifier = new_classifier(method)
    state = new_state(method, classifier)
    batch = prepared(method, digits_batch(outliers=outliers_of(text)), state)
    plain = method.losses(classifier, batch, state).each
    assert not torch.allclose(plain, method.losses(classifier, replace(batch, smoothing=0.2), state).each)


def test_draws_hang_on_the_generator_alone(text: str) -> None:
    method = make_method(text)
    state = new_state(method, new_classifier(method))
    batches = []
    for seed in (1, 1, 2):
        torch.manual_seed(len(batches))
        batches.append(prepared(method, digits_batch(outliers=outliers_of(text)), state, 0.95, seed))
    one, same, _ = batches
    assert torch.equal(one.images, same.images)
    assert one.extras.keys() == same.extras.keys()
    assert all(torch.equal(one.extras[name], same.extras[name]) for name in one.extras)


def test_losses_are_one_graph_for_the_compiler(text: str) -> None:
    method = make_method(text)
    classifier = new_classifier(method)
    states = [new_state(method, classifier) for _ in range(2)]
    batch = prepared(method, digits_batch(outliers=outliers_of(text)), states[0], 0.95)
    torch.compiler.reset()
    compiled = torch.compile(compute, backend="aot_eager", fullgraph=True)
    plain, same = (
        function(method, classifier, batch, state) for function, state in zip((compute, compiled), states, strict=True)
    )
    assert same.item() == pytest.approx(plain.item(), rel=1e-4)
    assert all(torch.equal(*pair) for pair in zip(*(state.buffers() for state in states), strict=True))


def compute(method: Method, classifier: Classifier, batch: TrainingBatch, state: nn.Module) -> torch.Tensor:
    return total(method.losses(classifier, batch, state))


def test_side_heads_have_sound_names(text: str) -> None:
    heads = make_method(text).side_heads(CLASSES)
    assert all(name.isidentifier() and outputs > 0 for name, outputs in heads.items())


def test_unknown_parameters_are_refused(text: str) -> None:
    with pytest.raises(UnknownNameError, match="wieght"):
        make_method(f"{text}{',' if ':' in text else ':'}wieght=1")


def test_methods_that_need_outliers_say_so_when_there_are_none(text: str) -> None:
    method = make_method(text)
    if not method.needs_outliers:
        return
    classifier = new_classifier(method)
    state = new_state(method, classifier)
    for batch in (replace(digits_batch(outliers=4), outliers=torch.zeros(0, 3, 8, 8)), digits_batch()):
        with pytest.raises(InputError, match=f"{text.partition(':')[0]} needs outliers"):
            method.losses(classifier, prepared(method, batch, state, 0.95), state)
