import numpy as np
import pytest
import torch
from torch import nn

from sio_data.detection import Outputs, create
from sio_data.detection.metrics import ood_metrics
from sio_data.detection.parameter_search import candidates, search
from sio_data.errors import InputError, UnknownNameError
from sio_data.training.networks import NETWORKS
from tests.detection.tiny_classifiers import TinyNetwork, make_classifier, make_outputs


@pytest.fixture
def head() -> nn.Linear:
    torch.manual_seed(0)
    return nn.Linear(6, 3)


def outputs(head: nn.Linear, count: int, seed: int, shift: float = 0.0) -> Outputs:
    features = torch.rand(count, 6, generator=torch.Generator().manual_seed(seed)) + shift
    with torch.no_grad():
        return Outputs(head(features), features, torch.arange(count) % 3)


def test_the_setting_with_the_largest_auroc_on_validation_images_wins(head: nn.Linear) -> None:
    train, val, ood_val = outputs(head, 40, 0), outputs(head, 30, 1), outputs(head, 30, 2, shift=0.3)
    tried = [create("knn", k=k) for k in (1, 5, 20)]
    found = search(tried, train=train, val=val, ood_val=ood_val)
    expected = []
    for k in (1, 5, 20):
        one = create("knn", k=k).fit(train=train)
        expected.append(ood_metrics(one.score(val), one.score(ood_val)).auroc)
    assert [one.auroc for one in found.tried] == expected
    assert len(set(expected)) == 3
    assert found.parameters == {"k": (1, 5, 20)[expected.index(max(expected))]}
    assert found.detector is tried[expected.index(max(expected))]


def test_the_first_of_equals_wins(head: nn.Linear) -> None:
    val, ood_val = outputs(head, 30, 1), outputs(head, 30, 2, shift=0.3)
    found = search([create("ebo", temperature=t) for t in (1.0, 1.0, 1.0)], val=val, ood_val=ood_val)
    assert found.detector is not None
    assert found.tried[0].auroc == found.tried[2].auroc
    one, two = create("msp"), create("msp")
    assert search([one, two], val=val, ood_val=ood_val).detector is one


def test_settings_that_cannot_be_fitted_are_left_out_and_named(head: nn.Linear) -> None:
    train, val, ood_val = outputs(head, 40, 0), outputs(head, 30, 1), outputs(head, 30, 2)
    found = search([create("knn", k=1000), create("knn", k=3)], train=train, val=val, ood_val=ood_val)
    assert found.parameters == {"k": 3}
    assert found.tried[0].auroc is None
    assert "k=1000 is more than the 40 training images" in found.tried[0].reason
    with pytest.raises(InputError, match="k=1000"):
        search([create("knn", k=1000)], train=train, val=val, ood_val=ood_val)


def test_candidates_are_the_grid_with_what_is_given_kept() -> None:
    assert [one.k for one in candidates("knn")] == [50, 100, 200, 500, 1000]
    assert [one.k for one in candidates("knn", k=7)] == [7]
    assert [(one.temperature, one.noise) for one in candidates("odin")][:5] == [
        (1, 0.0014),
        (10, 0.0014),
        (100, 0.0014),
        (1000, 0.0014),
        (1, 0.0028),
    ]
    assert [(one.temperature, one.noise) for one in candidates("odin", temperature=10)] == [(10, 0.0014), (10, 0.0028)]
    assert len(candidates("msp")) == 1
    with pytest.raises(UnknownNameError, match="Did you mean 'knn'"):
        candidates("kn")
    with pytest.raises(UnknownNameError, match="parameter of knn"):
        candidates("knn", neighbours=3)


def test_what_was_fitted_on_other_images_is_fitted_anew(head: nn.Linear) -> None:
    train, val, ood_val = outputs(head, 40, 0), outputs(head, 30, 1), outputs(head, 30, 2)
    stale = create("knn", k=2).fit(train=outputs(head, 40, 5))
    found = search([stale], train=train, val=val, ood_val=ood_val).detector
    assert np.array_equal(found.score(val), create("knn", k=2).fit(train=train).score(val))
    with pytest.raises(InputError, match="give train="):
        search([stale], val=val, ood_val=ood_val)


def test_what_has_watched_the_training_images_is_not_fitted_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(NETWORKS, "tiny", TinyNetwork)
    classifier = make_classifier()
    train, val, ood_val = (make_outputs(classifier, 30, seed) for seed in range(3))
    fitted = create("mds_ensemble").fit(train=train, network=classifier)
    monkeypatch.setattr(type(fitted), "_fit", lambda *_: pytest.fail("it was fitted again"))
    assert search([fitted], train=train, val=val, ood_val=ood_val, network=classifier).detector is fitted
