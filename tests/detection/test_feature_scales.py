"""Scores hang neither on the units of features, nor on a large part that all features share."""

import numpy as np
import numpy.typing as npt
import pytest
import torch
from torch import nn

from sio_data.detection import Outputs, create
from sio_data.detection.banks import centre, measure, scale
from sio_data.detection.detectors.base import Scores

Array = npt.NDArray[np.float64]
PARAMETERS = {
    "knn": {"k": 7},
    "nnguide": {"k": 5, "alpha": 1.0},
    "cfood": {"alpha": 1.0, "k": 0.05},
    "nci": {"alpha": 0},
}


def make(count: int, seed: int, width: int = 12) -> tuple[Array, npt.NDArray[np.int64]]:
    """Make features around the means of three classes, and labels."""
    generator = np.random.default_rng(seed)
    labels = np.arange(count) % 3
    return np.eye(3, width)[labels] + 0.4 * generator.random((count, width)), labels


def of(features: Array, labels: npt.NDArray[np.int64], dtype: type = np.float64) -> Outputs:
    """Give outputs of features, with logits that know nothing of them."""
    logits = np.random.default_rng(len(labels)).normal(size=(len(labels), 3))
    return Outputs(logits, features.astype(dtype), labels)


def score(name: str, train: Outputs, test: Outputs) -> Scores:
    torch.manual_seed(0)
    head = nn.Linear(train.features.shape[1], 3)
    return create(name, **PARAMETERS.get(name, {})).fit(train=train, head=head).score(test)


def unit(outputs: Outputs) -> Array:
    values = outputs.features.numpy().astype(float)
    return np.asarray(values / np.linalg.norm(values, axis=1, keepdims=True))


def softmax(outputs: Outputs) -> Array:
    return np.asarray(outputs.logits.softmax(1).numpy())


@pytest.mark.parametrize("name", ["mds", "rmds"])
def test_a_feature_counts_as_much_in_another_unit(name: str) -> None:
    (train, labels), (test, test_labels) = make(90, 0), make(20, 1)
    expected = score(name, of(train, labels), of(test, test_labels))
    units = np.ones(12)
    units[:4] = 1e-5, 1e-9, 3e6, 1e12
    assert score(name, of(train * units, labels), of(test * units, test_labels)) == pytest.approx(expected, rel=1e-6)
    # features that are always 0, or 7, say nothing, whatever they are in the test
    padded, strange = (np.pad(values * units, ((0, 0), (0, 2))) for values in (train, test))
    padded[:, -1], strange[:, -2:] = 7, (5, 3)
    assert score(name, of(padded, labels), of(strange, test_labels)) == pytest.approx(expected, rel=1e-6)


def test_with_fewer_images_than_features_mds_takes_the_pseudo_inverse() -> None:
    (train, labels), (test, _) = make(20, 0, width=30), make(9, 1, width=30)
    means = np.stack([train[labels == c].mean(0) for c in range(3)])
    inverse = np.linalg.pinv(np.cov((train - means[labels]).T, bias=True), rcond=1e-10, hermitian=True)
    away = np.stack([np.einsum("nd,de,ne->n", test - mean, inverse, test - mean) for mean in means], 1)
    assert score("mds", of(train, labels), of(test, labels[:9])) == pytest.approx(-away.min(1), rel=1e-6)


@pytest.mark.parametrize("size", [1e-14, 1e-30, 1e22])
@pytest.mark.parametrize("name", ["knn", "relation", "nnguide", "cfood", "nci", "mds", "rmds"])
def test_features_of_any_size_score_the_same(name: str, size: float) -> None:
    (train, labels), (test, test_labels) = make(90, 0), make(20, 1)
    expected = score(name, of(train, labels), of(test, test_labels))
    sized = score(name, of(train * size, labels, np.float32), of(test * size, test_labels, np.float32))
    assert sized == pytest.approx(expected, rel=1e-4)


@pytest.mark.parametrize("size", [1e-14, 1e22])
def test_fdbd_is_in_proportion_to_the_size_of_features(size: float) -> None:
    (train, labels), (test, test_labels) = make(90, 0), make(20, 1)
    expected = score("fdbd", of(train, labels), of(test, test_labels))
    sized = score("fdbd", of(train * size, labels), of(test * size, test_labels))
    assert sized * size == pytest.approx(expected, rel=1e-9)


def test_scaling_to_length_1_leaves_zeros_and_the_features_given() -> None:
    features = torch.tensor([[3e-320, 4e-320], [0.0, 0.0], [3e300, -4e300]], dtype=torch.float64)
    given = features.clone()
    assert scale(features).numpy() == pytest.approx(np.array([[0.6, 0.8], [0, 0], [0.6, -0.8]]), abs=1e-3)
    assert torch.equal(features, given)


def test_distances_of_features_of_zeros() -> None:
    some = centre(torch.tensor([[0.0, 0.0], [3.0, 0.0], [-2.0, 0.0]]), torch.tensor([0.5, 0.25]).double())
    assert measure(some, some).tolist() == [[0, 1, 1], [1, 0, 4], [1, 4, 0]]


@pytest.mark.parametrize("shared", [30.0, 1000.0])
def test_a_large_part_that_all_features_share_hides_nothing(shared: float) -> None:
    (train, labels), (test, test_labels) = make(150, 0), make(20, 1)
    known, judged = of(train + shared, labels, np.float32), of(test + shared, test_labels, np.float32)
    squared = np.square(unit(judged)[:, None] - unit(known)[None]).sum(2)
    relations = unit(judged) @ unit(known).T * (softmax(judged) @ softmax(known).T)
    energies = [np.asarray(one.logits.logsumexp(1).numpy()) for one in (judged, known)]
    guides = np.sort(unit(judged) @ unit(known).T * energies[1])[:, -5:].mean(1)
    expected = {
        "knn": -np.sort(squared)[:, 6],
        "relation": (relations * (relations > 0.03)).sum(1),
        "nnguide": energies[0] * guides,
    }
    for name, scores in expected.items():
        found = score(name, known, judged)
        assert np.abs(found - scores).max() < 1e-6 * scores.std(), name


def test_cfood_finds_the_same_when_all_features_share_a_large_part() -> None:
    (train, labels), (test, _) = make(120, 0), make(30, 1)
    known, judged = of(train + 1000, labels), of(test + 1000, labels[:30])
    between = np.sort(np.square(unit(known)[:, None] - unit(known)[None]).sum(2), axis=1)
    away = np.square(unit(judged)[:, None] - unit(known)[None]).sum(2)
    fractions = np.concatenate([np.linspace(0.001, 0.1, 100), np.linspace(0.105, 0.5, 81), np.linspace(0.51, 0.99, 49)])
    expected = np.full(30, -1.0)
    for fraction in fractions[::-1]:
        reach = between[:, max(0, int(fraction * 120 - 1)) + 1]
        expected[(away <= reach).mean(1) >= 0.05] = -fraction
    assert len(set(expected)) > 5
    assert score("cfood", known, judged) == pytest.approx(expected, abs=1e-12)
