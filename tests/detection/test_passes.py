from collections.abc import Callable

import numpy as np
import pytest
import torch

from sio_data import Classifier
from sio_data.detection import Outputs, compute_outputs, create
from sio_data.detection.passes import run_pass
from sio_data.errors import InputError
from sio_data.training.networks import NETWORKS
from tests.detection.tiny_classifiers import TinyNetwork, make_classifier, make_images, make_outputs

GRADIENT = ("odin", "iodin", "adascale_a", "adascale_l", "mds_ensemble")


@pytest.fixture(autouse=True)
def _tiny_network(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(NETWORKS, "tiny", TinyNetwork)


def state_of(classifier: Classifier) -> list[object]:
    modules = [(module.training, "forward" in vars(module)) for module in classifier.modules()]
    return [*modules, *(parameter.requires_grad for parameter in classifier.parameters())]


@pytest.mark.parametrize("name", [*GRADIENT, "gram", "rankfeat"])
def test_inference_mode_changes_nothing(name: str) -> None:
    classifier = make_classifier()

    def score() -> np.ndarray:
        fitted = create(name).fit(
            train=make_outputs(classifier, 60), val=make_outputs(classifier, 30, 1), network=classifier
        )
        state = {key: value.clone() for key, value in fitted.state().items()}
        other = create(name).load_state(state).attach(classifier)
        test = make_outputs(classifier, 12, 3)
        scores = fitted.score(test)
        assert np.array_equal(other.score(Outputs(test.logits, test.features, test.labels, images=test.images)), scores)
        return scores

    expected = score()
    with torch.inference_mode():
        found = score()
    assert np.array_equal(found, expected)


@pytest.mark.parametrize("name", GRADIENT)
def test_gradients_refuse_a_classifier_made_under_inference_mode(name: str) -> None:
    with torch.inference_mode():
        classifier = make_classifier()
        train = make_outputs(classifier, 30)
        assert np.isfinite(create("gram").fit(train=train, network=classifier).score(train)).all()
        with pytest.raises(InputError, match=r"a classifier that was made under torch\.inference_mode"):
            create(name).fit(train=train, val=train, network=classifier).score(train)


@pytest.mark.parametrize("order", [(0, 1), (1, 0)])
def test_passes_over_one_classifier_at_a_time_leave_it_as_it_was(
    order: tuple[int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sio_data.detection.passes._BATCH", 4)
    classifier = make_classifier().train()
    before = state_of(classifier)
    images = make_images(12)
    expected = compute_outputs(classifier, images)
    passes = [run_pass(classifier, images) for _ in order]
    firsts = [next(one) for one in passes]
    assert state_of(classifier) == before
    rests = {number: list(passes[number]) for number in order}
    assert state_of(classifier) == before
    for number, first in enumerate(firsts):
        found = torch.cat([seen.logits for seen in (first, *rests[number])])
        assert torch.equal(found, expected.logits)


@pytest.mark.parametrize("convert", [Classifier.half, Classifier.bfloat16])
def test_half_precision_is_refused(convert: Callable[[Classifier], Classifier]) -> None:
    classifier = convert(make_classifier())
    with pytest.raises(InputError, match=r"is b?float16, too coarse .* call float\(\) of the classifier first"):
        make_outputs(classifier, 3)
    assert make_outputs(classifier.float(), 3).logits.dtype == torch.float32


def test_double_precision_is_taken() -> None:
    classifier = make_classifier()
    expected = create("odin").fit(network=classifier).score(make_outputs(classifier, 9))
    classifier.double()
    assert create("odin").fit(network=classifier).score(make_outputs(classifier, 9)) == pytest.approx(expected)
