from collections import deque
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from scipy.stats import ks_2samp

from sio_data import train
from sio_data.errors import InputError
from sio_data.training.checkpoint import Classifier
from sio_data.training.learner import _parameter_groups
from sio_data.training.methods import make_method
from sio_data.training.methods.base import Losses, TrainingBatch
from sio_data.training.methods.vos import VOS, FeatureQueues, compute_uncertainty, draw_least_likely
from tests.training.methods.training_steps import digits_batch, new_classifier, new_state, prepared

SMALL = VOS(queue=3, start=0.4, draws=100, kept=2, weight=0.5)


def full_state(method: VOS, classifier: Classifier) -> FeatureQueues:
    """Make a state whose queues have been filled with features of the digits."""
    state = new_state(method, classifier)
    assert isinstance(state, FeatureQueues)
    batch = digits_batch(128)
    state.push(classifier.features(batch.images).detach(), batch.labels)
    assert state.are_full()
    return state


def run(method: VOS, state: FeatureQueues, classifier: Classifier, progress: float) -> tuple[TrainingBatch, Losses]:
    batch = prepared(method, digits_batch(), state, progress)
    return batch, method.losses(classifier, batch, state)


def test_draws_are_as_the_least_likely_of_many_real_ones() -> None:
    generator = torch.Generator().manual_seed(0)
    mean, mixed = torch.tensor([1.0, -2.0, 0.5]), torch.randn(3, 3, generator=generator)
    covariance = mixed @ mixed.T + 0.1 * torch.eye(3)
    factor = torch.linalg.cholesky(covariance)
    repeats, draws, kept = 4000, 40, 3

    every = mean + torch.randn(repeats, draws, 3, generator=generator) @ factor.T
    density = torch.distributions.MultivariateNormal(mean, covariance).log_prob(every)
    order = density.argsort(1)[:, :kept, None].expand(-1, -1, 3)
    brute = every.gather(1, order)
    quick = mean + draw_least_likely(draws, kept, repeats, 3, generator) @ factor.T

    for rank in range(kept):
        for column in range(3):
            assert ks_2samp(brute[:, rank, column], quick[:, rank, column]).pvalue > 1e-3, (rank, column)
        for total in (torch.sum, lambda rows, _: (rows[:, 0] - rows[:, 2]).abs()):
            assert ks_2samp(total(brute[:, rank], 1), total(quick[:, rank], 1)).pvalue > 1e-3, rank
    gaps = [(rows[:, 0] - rows[:, 1]).norm(dim=1) for rows in (brute, quick)]
    assert ks_2samp(*gaps).pvalue > 1e-3


def test_draws_come_least_likely_first_and_lie_far_out() -> None:
    draws = draw_least_likely(10_000, 4, 7, 512, torch.Generator().manual_seed(0))
    lengths = draws.norm(dim=2)
    assert draws.shape == (7, 4, 512)
    assert draws.dtype == torch.float32
    assert (lengths.diff(dim=1) < 0).all()
    assert lengths.min() > 512**0.5 + 1.5  # the mean, and about three of its standard deviations, 1 / sqrt(2)
    assert lengths.max() < 512**0.5 + 5


def test_all_draws_can_be_kept() -> None:
    draws = draw_least_likely(20_000, 20_000, 1, 2, torch.Generator().manual_seed(0))[0]
    reference = torch.randn(20_000, 2, generator=torch.Generator().manual_seed(1))
    assert ks_2samp(draws.norm(dim=1), reference.norm(dim=1)).pvalue > 1e-3


def test_queues_keep_the_last_features_of_each_class() -> None:
    generator = torch.Generator().manual_seed(0)
    state, expected = FeatureQueues(4, 2, 3), [deque(maxlen=3) for _ in range(4)]
    for size in (1, 2, 20, 5, 7):  # 20: more than the queues hold
        features = torch.randn(size, 2, generator=generator)
        labels = torch.randint(3, (size,), generator=generator)  # never the last class
        state.push(features, labels)
        for row, label in zip(features, labels, strict=True):
            expected[label].append(row.tolist())
        for label in range(3):
            kept = state.queued[label, : state.seen[label]].tolist()
            assert sorted(kept) == sorted(list(row) for row in expected[label])
        assert not state.are_full()
    assert state.seen.tolist()[3] == 0
    assert not state.queued[3].any()
    state.push(torch.ones(3, 2), torch.full((3,), 3))
    assert state.are_full()


def test_outliers_have_the_means_of_the_classes_and_the_shared_covariance() -> None:
    state = FeatureQueues(2, 3, 50)
    state.queued = torch.randn(2, 50, 3, generator=torch.Generator().manual_seed(0)) * torch.tensor([1.0, 2.0, 0.1])
    state.queued[1] += 5
    rows = state.queued.double().numpy()
    centred = np.concatenate([part - part.mean(0) for part in rows])
    covariance = sum(np.outer(row, row) for row in centred) / 100 + 1e-4 * np.eye(3)
    means = np.repeat(rows.mean(1), 3, axis=0)
    columns = state.outliers(torch.eye(3).expand(2, 3, 3)).double().numpy() - means
    for part in (columns[:3], columns[3:]):
        assert part.T @ part == pytest.approx(covariance, rel=1e-4, abs=1e-5)


def test_a_covariance_without_a_factor_leaves_the_variances() -> None:
    state = FeatureQueues(1, 64, 50)
    generator = torch.Generator().manual_seed(0)
    state.queued = 1e4 * (torch.randn(50, 2, generator=generator) @ torch.randn(2, 64, generator=generator))[None]
    centred = state.queued[0] - state.queued[0].mean(0)
    covariance = centred.T @ centred / 50 + 1e-4 * torch.eye(64)
    assert torch.linalg.cholesky_ex(covariance).info > 0
    columns = state.outliers(torch.eye(64)[None]) - state.queued.mean(1)
    assert torch.allclose(columns, covariance.diagonal().sqrt().diag(), rtol=1e-3, atol=1e-1)


def test_loss_is_the_formula() -> None:
    classifier = new_classifier(SMALL)
    state = full_state(SMALL, classifier)
    with torch.no_grad():
        state.log_weights.copy_(torch.linspace(-1, 1, 6))
        state.slope.fill_(0.3)
        state.bias.fill_(-0.5)
    batch, losses = run(SMALL, state, classifier, 0.4)
    virtual = state.outliers(batch.extras["draws"])
    assert virtual.shape == (12, 512)
    logits = torch.cat([classifier(batch.images), classifier.head(virtual)]).detach().double().numpy()
    terms = []
    for row, scores in enumerate(logits):
        energy = np.log(
            sum(np.exp(weight) * np.exp(z) for weight, z in zip(np.linspace(-1, 1, 6), scores, strict=True))
        )
        sign = 1 if row < 32 else -1
        terms.append(np.log1p(np.exp(-sign * (0.3 * energy - 0.5))))
    assert losses.extra.item() == pytest.approx(0.5 * sum(terms) / 44, rel=1e-3)
    expected = [-np.log(np.exp(z[y]) / np.exp(z).sum()) for z, y in zip(logits, batch.labels, strict=False)]
    assert losses.each.tolist() == pytest.approx(expected, rel=1e-3)


def test_gradient_reaches_the_network_the_head_and_the_energy_but_no_queue() -> None:
    classifier = new_classifier(SMALL)
    state = full_state(SMALL, classifier)
    run(SMALL, state, classifier, 0.4)[1].extra.backward()
    for module in (classifier.network, classifier.head, state):
        assert all(parameter.grad.any() for parameter in module.parameters())
    assert not state.queued.requires_grad


def test_weight_decides_how_the_network_is_trained() -> None:
    trained = []
    for weight in (0.0, 10.0):
        method = replace(SMALL, weight=weight)
        classifier = new_classifier(method)
        state = full_state(method, classifier)
        _, losses = run(method, state, classifier, 0.4)
        (losses.each.mean() + losses.extra).backward()
        trained.append(torch.cat([parameter.grad.flatten() for parameter in classifier.network.parameters()]))
    assert (trained[0] - trained[1]).norm() > 0.1 * trained[0].norm()


def test_weight_decides_what_train_gives(tmp_path: Path) -> None:
    for weight in (0, 5):
        method = f"vos:queue=5,start=0,weight={weight}"
        train("digits", tmp_path / str(weight), method=method, epochs=1, batch_size=100, seeds=[0])
    one, other = (load_file(tmp_path / str(weight) / "seed-0/model.safetensors") for weight in (0, 5))
    assert not torch.allclose(one["network.layers.0.weight"], other["network.layers.0.weight"], atol=1e-3)


def test_loss_counts_from_its_start_on() -> None:
    classifier = new_classifier(SMALL)
    state = full_state(SMALL, classifier)
    batch, early = run(SMALL, state, classifier, 0.39)
    assert "draws" not in batch.extras
    assert early.extra.item() == 0
    assert run(SMALL, state, classifier, 0.4)[1].extra.item() > 0


def test_loss_counts_once_every_queue_is_full() -> None:
    classifier = new_classifier(SMALL)
    state = new_state(SMALL, classifier)
    batch = digits_batch()
    unknown = batch.labels == 5
    filling = replace(batch, labels=torch.where(unknown, 0, batch.labels))
    for _ in range(4):
        losses = SMALL.losses(classifier, prepared(SMALL, filling, state, 0.9), state)
        assert losses.extra.item() == 0
    losses.extra.backward()
    for parameter in [*classifier.parameters(), *state.parameters()]:
        assert parameter.grad is None or not parameter.grad.any()
    assert all(parameter.grad is not None for parameter in state.parameters())
    state.push(torch.ones(3, 512), torch.full((3,), 5))
    assert SMALL.losses(classifier, prepared(SMALL, batch, state, 0.9), state).extra.item() > 0


def test_queues_stay_float32_under_autocast_and_hold_synthetic_images_too() -> None:
    classifier, method = new_classifier(SMALL), replace(SMALL, queue=40)
    state = new_state(method, classifier)
    with torch.autocast("cpu", torch.bfloat16):
        method.losses(classifier, digits_batch(synthetic=16), state)
    assert state.queued.dtype == torch.float32
    assert torch.equal(state.seen, digits_batch().labels.bincount(minlength=6))
    assert (state.queued.abs().sum(2) > 0).sum() == 32


def test_outliers_and_their_loss_are_as_exact_under_autocast() -> None:
    classifier = new_classifier(SMALL)
    state = full_state(SMALL, classifier)
    draws = SMALL.draw(state, torch.Generator().manual_seed(0), 0.4)["draws"]
    logits = torch.randn(4, 6, generator=torch.Generator().manual_seed(0))
    exact = compute_uncertainty(classifier, logits, draws, state)
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(compute_uncertainty(classifier, logits, draws, state), exact)


def test_draws_come_to_the_device_of_the_images() -> None:
    batch = digits_batch()
    batch = replace(batch, images=batch.images.to("meta"))
    assert prepared(SMALL, batch, SMALL.state(6, 512), 0.4).extras["draws"].device.type == "meta"


def test_energy_is_that_of_the_detectors_at_first() -> None:
    logits = torch.randn(4, 6, generator=torch.Generator().manual_seed(0))
    assert torch.allclose(FeatureQueues(6, 2, 1).likelihoods(logits), logits.logsumexp(1))


def test_energy_is_trained_without_weight_decay() -> None:
    classifier = new_classifier(SMALL)
    decayed, exempt = _parameter_groups(classifier, new_state(SMALL, classifier), 0.1)
    assert len(decayed["params"]) == len([*classifier.parameters()])
    assert len(exempt["params"]) == 3
    assert exempt["weight_decay"] == 0


def test_parameters_without_decay_are_parameters() -> None:
    assert {*FeatureQueues.without_decay} == {*dict(FeatureQueues(6, 2, 1).named_parameters())}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("weight=-0.1", "vos: weight must be at least 0"),
        ("weight=Infinity", "vos: weight must be at least 0 and finite"),
        ("start=-0.1", "vos: start must be from 0 to 1"),
        ("start=NaN", "vos: start must be from 0 to 1"),
        ("queue=0", "vos: queue must be from 1 to 100000"),
        ("queue=1000000000", "vos: queue must be from 1 to 100000"),
        ("draws=0", "vos: draws must be from 1"),
        ("draws=10,kept=11", "vos: kept must be from 1 to 10"),
        ("kept=0", "vos: kept must be from 1"),
        ("queue=2.5", "vos: queue must be a whole number"),
    ],
)
def test_parameters_out_of_range_are_refused(text: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        make_method(f"vos:{text}")
