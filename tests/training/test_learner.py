"""One update: what each setting of the optimiser does."""

import copy
from typing import Any

import pytest
import torch
import torch.nn.functional as F

from sio_data import sio_loss
from sio_data.embedded import load_embedded
from sio_data.training.accuracy import measure_accuracy
from sio_data.training.beginning import TrainingData, begin
from sio_data.training.checkpoint import Classifier
from sio_data.training.heads import CosineHead
from sio_data.training.learner import Learner
from sio_data.training.loop import train_run
from sio_data.training.methods.base import TrainingBatch
from sio_data.training.ranks import Ranks
from sio_data.training.run import Trained
from sio_data.training.settings import TrainingSettings

CPU = torch.device("cpu")
DATA = TrainingData(load_embedded("digits", "train"), load_embedded("digits", "val"))
RATE = 0.05


def make(**settings: Any) -> tuple[Learner, Classifier]:
    """A learner, and the classifier that it trains."""
    chosen = TrainingSettings(**{"alpha": 0.75, "augmentation": "none"} | settings)
    classifier, method, state = begin(chosen, DATA, 0, CPU)
    return Learner(chosen, classifier, method, state, Ranks()), classifier


def batch(step: int = 0, count: int = 32, smoothing: float = 0.0) -> TrainingBatch:
    part = slice(step * count, (step + 1) * count)
    images = DATA.real.images[part].float() / 255
    return TrainingBatch(images, DATA.real.labels[part], torch.arange(count) % 4 == 0, smoothing=smoothing)


def weights(classifier: Classifier) -> dict[str, torch.Tensor]:
    return {name: value.detach().clone() for name, value in classifier.named_parameters()}


OPTIMISERS: dict[str, dict[str, Any]] = {
    "default": {},
    "plain momentum": {"nesterov": False},
    "little momentum": {"momentum": 0.5},
    "no momentum": {"momentum": 0.0},
    "no decay": {"weight_decay": 0.0},
    "weighted loss": {"mix": "loss", "real_share": 0.5},
}


@pytest.mark.parametrize("settings", OPTIMISERS.values(), ids=OPTIMISERS)
def test_updates_are_those_of_sgd_by_hand(settings: dict[str, Any]) -> None:
    learner, classifier = make(**settings)
    twin = copy.deepcopy(classifier).train()
    momentum = settings.get("momentum", 0.9)
    sgd = torch.optim.SGD(
        twin.parameters(),
        lr=123.0,
        momentum=momentum,
        nesterov=settings.get("nesterov", True) and momentum > 0,
        weight_decay=settings.get("weight_decay", 5e-4),
    )
    for step, rate in enumerate((0.05, 0.02, 0.01)):
        one = batch(step)
        told = learner.update(one, rate)
        each = F.cross_entropy(twin(one.images), one.labels, reduction="none")
        loss = sio_loss(each, one.is_synthetic, 0.75, settings.get("mix", "batch"))
        sgd.param_groups[0]["lr"] = rate
        sgd.zero_grad()
        loss.backward()
        sgd.step()
        assert told.item() == pytest.approx(loss.item(), rel=1e-5)
    for name, value in twin.named_parameters():
        torch.testing.assert_close(classifier.get_parameter(name), value, rtol=1e-5, atol=1e-6)


def test_weight_decay_spares_what_asks_for_it() -> None:
    """With decay and without differ after a step by `rate * decay * weight`, but for the head's directions."""
    learners = [make(method="godin", weight_decay=decay, momentum=0.0) for decay in (0.0, 0.5)]
    before = weights(learners[0][1])
    for learner, _ in learners:
        learner.update(batch(), RATE)
    plain, decayed = (weights(classifier) for _, classifier in learners)
    assert CosineHead.without_decay == ("weight",)
    for name, value in before.items():
        shrunk = 0.0 if name == "head.weight" else RATE * 0.5
        torch.testing.assert_close(plain[name] - decayed[name], shrunk * value, rtol=1e-3, atol=1e-6)


def test_weight_decay_spares_what_a_method_trains_beside_the_classifier() -> None:
    learner, _ = make(method="vos")
    spared = [group["params"] for group in learner._optimizer.param_groups if group["weight_decay"] == 0]
    assert sum(len(parameters) for parameters in spared) > 0


def test_clipping_bounds_the_step() -> None:
    steps = []
    for limit in (None, 1e3, 0.01):
        learner, classifier = make(clip_norm=limit, momentum=0.0, weight_decay=0.0)
        before = weights(classifier)
        learner.update(batch(), 1.0)
        after = weights(classifier)
        steps.append(torch.cat([(after[name] - before[name]).flatten() for name in before]))
    assert torch.equal(steps[0], steps[1])
    assert steps[0].norm() > 0.1
    assert steps[2].norm().item() == pytest.approx(0.01, rel=1e-3)
    torch.testing.assert_close(steps[2] / steps[2].norm(), steps[0] / steps[0].norm(), rtol=1e-3, atol=1e-5)


def test_averaged_weights_follow_the_trained_ones() -> None:
    learner, trained = make(ema=0.9)
    expected: dict[str, torch.Tensor] = {}
    for step in range(3):
        learner.update(batch(step), RATE)
        now = {
            name: value.detach().clone() for name, value in trained.state_dict().items() if value.is_floating_point()
        }
        expected = {name: 0.9 * expected[name] + 0.1 * now[name] if expected else now[name] for name in now}
    kept = learner.classifier.state_dict()
    assert learner.classifier is not trained
    assert not torch.equal(kept["head.weight"], trained.head.weight)
    for name, value in expected.items():
        torch.testing.assert_close(kept[name], value, rtol=1e-4, atol=1e-6)


def test_averaged_weights_are_judged_and_saved() -> None:
    averaged, plain = (run(epochs=1, ema=ema) for ema in (0.99, None))
    assert not torch.equal(averaged.classifier.head.weight, plain.classifier.head.weight)
    assert averaged.history[0]["loss"] == plain.history[0]["loss"]  # the training goes on as it would
    assert averaged.accuracy == measure_accuracy(averaged.classifier, DATA.val, CPU) < plain.accuracy
    assert torch.equal(averaged.use("last").head.weight, averaged.weights["last"]["head.weight"])


def test_label_smoothing_spreads_a_share_over_all_classes() -> None:
    one = batch(smoothing=0.2)
    learner, classifier = make(label_smoothing=0.2)
    logs = copy.deepcopy(classifier).train()(one.images).log_softmax(1)
    each = -0.8 * logs[torch.arange(len(one)), one.labels] - 0.2 * logs.mean(1)
    assert learner.update(one, RATE).item() == pytest.approx(each.mean().item(), rel=1e-5)
    assert run(epochs=1, label_smoothing=0.2).history != run(epochs=1).history


@pytest.mark.parametrize(
    "settings",
    [
        {"precision": "bf16"},
        {"precision": "fp16"},
        {"channels_last": True},
        {"precision": "bf16", "channels_last": True},
    ],
    ids=str,
)
def test_lower_precision_and_another_layout_train_to_about_the_same_loss(settings: dict[str, Any]) -> None:
    losses, learners = [], [make(**settings), make()]
    for learner, _ in learners:
        losses.append([learner.update(batch(step), RATE).item() for step in range(6)])
    assert losses[0] == pytest.approx(losses[1], rel=0.05)
    assert losses[0][-1] < losses[0][0]
    assert all(value.dtype == torch.float32 for value in learners[0][1].parameters())


def test_lower_precision_is_used(monkeypatch: pytest.MonkeyPatch) -> None:
    for precision, dtype in (("fp32", torch.float32), ("bf16", torch.bfloat16), ("fp16", torch.float16)):
        learner, classifier = make(precision=precision)
        seen: list[torch.dtype] = []
        classifier.head.register_forward_hook(lambda module, given, made: seen.append(made.dtype))  # noqa: B023
        learner.update(batch(), RATE)
        assert seen == [dtype]


def run(**settings: Any) -> Trained:
    return train_run(TrainingSettings(**{"alpha": 1.0, "batch_size": 250} | settings), DATA, 0, CPU)
