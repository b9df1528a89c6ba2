"""What detectors take, and what they refuse: arrays, heads, states, parameters."""

import numpy as np
import pytest
import torch
from torch import nn

from sio_data.detection import DETECTORS, Outputs, create
from sio_data.errors import InputError

OF_OUTPUTS = [name for name, kind in DETECTORS.items() if "network" not in kind.needs]
PARAMETERS = {
    "cfood": {"alpha": 0.5, "k": 0.1},
    "knn": {"k": 3},
    "nnguide": {"k": 3, "alpha": 0.5},
    "residual": {"dim": 3},
    "vim": {"dim": 3},
}


@pytest.fixture
def head() -> nn.Linear:
    torch.manual_seed(0)
    return nn.Linear(6, 4)


def draw(head: nn.Linear, count: int, seed: int, classes: int = 4, width: int = 6) -> Outputs:
    generator = torch.Generator().manual_seed(seed)
    features = torch.rand(count, width, generator=generator)
    if (classes, width) == tuple(head.weight.shape):
        return Outputs(head(features), features, torch.arange(count) % classes)
    return Outputs(torch.randn(count, classes, generator=generator), features, torch.arange(count) % classes)


def fit(name: str, head: nn.Linear) -> object:
    return create(name, **PARAMETERS.get(name, {})).fit(train=draw(head, 60, 0), val=draw(head, 40, 1), head=head)


@pytest.mark.parametrize("name", OF_OUTPUTS)
def test_outputs_of_another_network_are_refused(name: str, head: nn.Linear) -> None:
    detector = fit(name, head)
    others = [draw(head, 8, 2, width=1), draw(head, 8, 2, width=9), draw(head, 8, 2, classes=1), draw(head, 8, 2, 7)]
    if detector._fitted_shape is None:  # it learns nothing of outputs or head
        assert not detector.learned
        return
    for outputs in others:
        with pytest.raises(InputError, match="was fitted on 4 logits and 6 features; these outputs have"):
            detector.score(outputs)


@pytest.mark.parametrize("name", OF_OUTPUTS)
def test_a_state_gives_the_same_scores_and_knows_its_shape(name: str, head: nn.Linear) -> None:
    detector, test = fit(name, head), draw(head, 9, 3)
    loaded = create(name, **PARAMETERS.get(name, {})).load_state(detector.state())
    assert loaded.is_fitted
    assert (loaded.score(test) == detector.score(test)).all()
    if detector._fitted_shape:
        with pytest.raises(InputError, match="these outputs have 4 logits and 9 features"):
            loaded.score(draw(head, 8, 2, width=9))


def test_a_state_that_is_none_is_refused() -> None:
    state = {"shape": torch.tensor([4, 6]), "_bank": torch.zeros(3, 6)}
    for change in (
        {"_bank": None, "shape": None},
        {"_bank": np.zeros((3, 6))},
        {"shape": torch.tensor(3)},
        {"more": torch.zeros(1)},
    ):
        broken = {name: value for name, value in {**state, **change}.items() if value is not None}
        with pytest.raises(InputError):
            create("knn", k=1).load_state(broken)


def test_a_refused_fit_leaves_nothing_behind(head: nn.Linear) -> None:
    fresh, test = create("vim", dim=3), draw(head, 9, 3)
    fitted = create("vim", dim=3).fit(train=draw(head, 60, 0), head=head)
    flat = Outputs(head(torch.zeros(60, 6)), torch.zeros(60, 6))
    for detector in (fresh, fitted):
        with pytest.raises(InputError):
            detector.fit(train=flat, head=head)
        assert not detector.is_fitted
        with pytest.raises(InputError, match="vim is not fitted"):
            detector.score(test)


def test_all_that_is_given_must_fit_together(head: nn.Linear) -> None:
    with pytest.raises(InputError, match="react: a head of 4 logits and 6 features and others of 4 logits and 9"):
        create("react").fit(val=draw(head, 40, 1, width=9), head=head)
    create("react").fit(train=draw(head, 40, 1, width=9), val=draw(head, 40, 1), head=head)  # it needs no train
    for layer, message in (
        (nn.Sequential(head), "head must be a torch.nn.Linear, not Sequential"),
        ((head.weight, head.bias), "head must be a torch.nn.Linear, not tuple"),
    ):
        with pytest.raises(InputError, match=message):
            create("ash_p").fit(head=layer)
    with torch.no_grad():
        head.bias[0] = float("nan")
    with pytest.raises(InputError, match="the head holds NaN or infinite weights"):
        create("ash_p").fit(head=head)
    with pytest.raises(InputError, match="network must be a Classifier of this package, not Linear"):
        create("odin").fit(network=head)


@pytest.mark.parametrize("kind", [np.float16, np.float32, np.float64, ">f4", np.longdouble])
def test_floating_arrays_of_any_kind_and_layout_are_taken(kind: str) -> None:
    logits = np.array([[1.0, 2.0], [4.0, 3.0], [0.0, 7.0]], kind)
    expected = create("mls").score(Outputs(logits.astype(np.float64), np.ones((3, 2))))
    if kind is np.longdouble:
        with pytest.raises(InputError, match="the logits make no tensor"):
            Outputs(logits, logits)
        return
    assert create("mls").score(Outputs(logits, np.ones((3, 2), kind))).tolist() == expected.tolist() == [2, 4, 7]
    assert create("mls").score(Outputs(logits[::-1], np.ones((3, 2)))).tolist() == [7, 4, 2]
    assert create("mls").score(Outputs(np.asfortranarray(logits), np.ones((3, 2)))).tolist() == [2, 4, 7]


def test_labels_of_any_whole_numbers_are_taken_and_may_be_left_out(head: nn.Linear) -> None:
    train = draw(head, 40, 0)
    expected = create("mds").fit(train=train).score(draw(head, 5, 1))
    for kind in (np.uint8, np.int16, np.int64, ">i4"):
        typed = Outputs(train.logits, train.features, train.labels.numpy().astype(kind))
        assert typed.labels.dtype == torch.int64
        assert (create("mds").fit(train=typed).score(draw(head, 5, 1)) == expected).all()
    assert Outputs(train.logits, train.features).labels.tolist() == [-1] * 40
    with pytest.raises(InputError, match="train labels, which must be from 0 to 3"):
        create("mds").fit(train=Outputs(train.logits, train.features))


def test_what_is_no_outputs_is_refused() -> None:
    good = np.ones((3, 2))
    for arguments, message in (
        ((good.astype(int), good), "logits must be floating, not torch.int64"),
        ((good, good, [0.0, 1.0, 1.5]), "labels must be whole numbers, not"),
        ((good, good, [True, False, True]), "labels must be whole numbers, not torch.bool"),
        ((good, np.ones((3, 0))), "are empty"),
        ((np.ones((3, 0)), good), "are empty"),
        ((np.float64(1), good), r"outputs are logits \[N, C\]"),
        ((np.array([["a"]]), good), "the logits make no tensor"),
        ((np.where(good, np.nan, 0), good), "the logits hold NaN"),
    ):
        with pytest.raises(InputError, match=message):
            Outputs(*arguments)
    for memory in (0, 1e9, True):
        with pytest.raises(InputError, match="memory must be a whole number of bytes"):
            Outputs(good, good, memory=memory)


def test_parameters_may_be_numpys() -> None:
    assert create("knn", k=np.int64(5)) == create("knn", k=5)
    assert create("ebo", temperature=np.float32(2)) == create("ebo", temperature=2.0)
    assert create("fdbd", distance_as_normalizer=np.bool_(False)) == create("fdbd", distance_as_normalizer=False)
    with pytest.raises(InputError, match="k must be a whole number"):
        create("knn", k=np.float64(5))
    with pytest.raises(InputError, match="temperature is too large"):
        create("ebo", temperature=10**400)


def test_scores_take_no_more_memory_than_allowed_beside_the_result(head: nn.Linear) -> None:
    test = draw(head, 1000, 4)
    test.memory = 8 * 4 * 10 * 16  # 16 images at a time
    seen: list[int] = []
    detector = create("mls")
    score = type(detector)._score

    class Watched(type(detector)):
        def _score(self, outputs: Outputs) -> torch.Tensor:
            seen.append(len(outputs))
            return score(self, outputs)

    assert (Watched().score(test) == detector.score(draw(head, 1000, 4))).all()
    assert max(seen) == 16
    assert sum(seen) == 1000
