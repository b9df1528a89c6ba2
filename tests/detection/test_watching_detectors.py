from copy import deepcopy

import numpy as np
import pytest
import torch

from sio_data import Classifier
from sio_data.detection import Outputs, compute_outputs, create
from sio_data.detection.output_cache import OutputCache
from sio_data.errors import InputError
from sio_data.image_set import ImageSet
from sio_data.training.networks import NETWORKS
from tests.detection.tiny_classifiers import CLASSES, TinyNetwork, make_classifier, make_images, make_outputs

WATCHERS = ("gram", "mds_ensemble")


@pytest.fixture(autouse=True)
def _tiny_network(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(NETWORKS, "tiny", TinyNetwork)


@pytest.mark.parametrize("name", WATCHERS)
def test_what_was_observed_with_another_learned_state_is_not_taken(name: str) -> None:
    classifier = make_classifier()
    one, two = (make_outputs(classifier, 60, seed) for seed in (1, 2))
    shared = make_outputs(classifier, 12, 3)
    detector = create(name).fit(train=one, network=classifier)
    first = detector.score(shared)
    expected = create(name).fit(train=two, network=classifier).score(make_outputs(classifier, 12, 3))
    assert (first != expected).any()
    assert np.array_equal(create(name).fit(train=two, network=classifier).score(shared), expected)
    assert np.array_equal(detector.fit(train=two, network=classifier).score(shared), expected)
    old = create(name).fit(train=one, network=classifier).state()
    assert np.array_equal(detector.load_state(old).score(shared), first)


@pytest.mark.parametrize("name", WATCHERS)
def test_the_same_learned_state_observes_once(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    classifier = make_classifier()
    detector = create(name).fit(train=make_outputs(classifier, 60, 1), network=classifier)
    again = create(name).load_state(deepcopy(detector.state())).attach(classifier)
    assert again.observation == detector.observation
    shared = make_outputs(classifier, 12, 3)
    expected = detector.score(shared)
    monkeypatch.setattr(Classifier, "normalise", None)
    assert np.array_equal(again.score(shared), expected)


@pytest.mark.parametrize("name", WATCHERS)
def test_the_cache_knows_learned_states_apart(name: str) -> None:
    classifier = make_classifier()
    test = make_images(12, 3)
    cache = OutputCache(classifier, "weights", make_images(60, 1), torch.device("cpu"))
    watched = create(name)
    cache.train_outputs([watched])
    other = create(name).fit(train=make_outputs(classifier, 60, 2), network=classifier)
    expected = [one.score(compute_outputs(classifier, test)) for one in (watched, other)]
    assert (expected[0] != expected[1]).any()
    for one, scores in zip((watched, other), expected, strict=True):
        assert np.array_equal(one.score(cache.outputs(test, [one])), scores)


@pytest.mark.parametrize("name", WATCHERS)
def test_a_detector_learns_from_the_images_it_is_given_whatever_it_watched(name: str) -> None:
    classifier = make_classifier()
    detector = create(name)
    compute_outputs(classifier, make_images(60, 1), watchers=[detector])
    two = make_outputs(classifier, 60, 2)
    expected = create(name).fit(train=two, network=classifier).state()
    found = detector.fit(train=two, network=classifier).state()
    assert all(torch.equal(found[key], value) for key, value in expected.items())


@pytest.mark.parametrize("name", WATCHERS)
def test_labels_that_are_not_those_of_the_images_are_refused(name: str) -> None:
    classifier = make_classifier()
    outputs = make_outputs(classifier, 60)
    turned = Outputs(outputs.logits, outputs.features, (outputs.labels + 1) % 3, images=outputs.images)
    with pytest.raises(InputError, match=f"{name} learns from the labels of the training images, and their outputs"):
        create(name).fit(train=turned, network=classifier)


def test_a_detector_that_could_not_be_fitted_again_does_not_score() -> None:
    classifier = make_classifier()
    detector = create("gram").fit(train=make_outputs(classifier, 30), network=classifier)
    with pytest.raises(InputError, match="a class of two training images"):
        detector.fit(train=make_outputs(classifier, 3), network=classifier)
    with pytest.raises(InputError, match="gram is not fitted"):
        detector.score(make_outputs(classifier, 12, 3))


def channel_means(classifier: Classifier, images: ImageSet) -> torch.Tensor:
    with torch.no_grad():
        return classifier.network.stages()[0](classifier.normalise(images.images)).double().mean((2, 3))


@pytest.mark.parametrize("shift", [0.0, 1000.0])
def test_mds_ensemble_of_fewer_images_than_channels(shift: float) -> None:
    """Six images of three classes leave a covariance of rank three, of four channels."""
    classifier = make_classifier()
    classifier.network.layers[0][1].bias.data += shift
    images = make_images(6, 1)
    detector = create("mds_ensemble", noise=0.0).fit(train=compute_outputs(classifier, images), network=classifier)
    known = channel_means(classifier, images)
    centres = torch.stack([known[images.labels == label].mean(0) for label in range(3)])
    offsets = known - centres[images.labels]
    precision = torch.linalg.pinv(offsets.T @ offsets / 6, rtol=1e-9, hermitian=True)
    assert torch.linalg.matrix_rank(precision, rtol=1e-9) == 3
    test = make_images(9, 3)
    apart = channel_means(classifier, test)[:, None] - centres
    expected = -((apart @ precision) * apart).sum(2).amin(1) / 2
    assert detector.score(compute_outputs(classifier, test)) == pytest.approx(expected.numpy(), rel=1e-4)


@pytest.mark.parametrize("shift", [0.0, 1000.0])
def test_mds_ensemble_refuses_classes_of_images_all_the_same(shift: float) -> None:
    classifier = make_classifier()
    classifier.network.layers[0][1].bias.data += shift
    images = make_images(3, 1).images.repeat(15, 1, 1, 1)
    train = compute_outputs(classifier, ImageSet(images, torch.arange(45) % 3, CLASSES))
    with pytest.raises(InputError, match="mds_ensemble: the first maps of the training images of each class are all"):
        create("mds_ensemble").fit(train=train, network=classifier)


def test_mds_ensemble_gives_no_score_above_zero() -> None:
    classifier = make_classifier()
    train = make_outputs(classifier, 7, 1)
    detector = create("mds_ensemble").fit(train=train, network=classifier)
    assert (detector.score(train) <= 0).all()
    assert (detector.score(make_outputs(classifier, 60, 2)) <= 0).all()
