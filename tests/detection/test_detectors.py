import dataclasses
import math

import numpy as np
import pytest
import torch
from torch import nn

from sio_data import Classifier
from sio_data.detection import DETECTORS, Detector, Outputs, compute_outputs, create
from sio_data.detection.detectors.network import NetworkDetector
from sio_data.errors import InputError, UnknownNameError
from sio_data.training.networks import NETWORKS
from tests.detection.tiny_classifiers import TinyNetwork, make_classifier, make_images, make_outputs


@pytest.fixture
def head() -> nn.Linear:
    torch.manual_seed(0)
    return nn.Linear(6, 3)


def outputs(head: nn.Linear, count: int, seed: int, scale: float = 1.0) -> Outputs:
    features = scale * torch.rand(count, 6, generator=torch.Generator().manual_seed(seed))
    with torch.no_grad():
        return Outputs(head(features), features, torch.arange(count) % 3)


PARAMETERS = {
    "scale": {"percentile": 50.0},
    "cfood": {"alpha": 0.5, "k": 0.1},
    "dice": {"percentile": 50},
    "knn": {"k": 3},
    "nnguide": {"k": 3, "alpha": 0.5},
    "residual": {"dim": 3},
    "vim": {"dim": 3},
}
LOGITS = np.array([[1.0, 2.0, 4.0], [0.0, 0.0, 0.0]])


def of_logits(logits: np.ndarray) -> Outputs:
    return Outputs(logits, np.zeros((len(logits), 2)), np.zeros(len(logits), np.int64))


def test_msp_by_hand() -> None:
    expected = [math.exp(4) / (math.exp(1) + math.exp(2) + math.exp(4)), 1 / 3]
    assert create("msp").score(of_logits(LOGITS)) == pytest.approx(expected, abs=1e-12)


def test_mls_by_hand() -> None:
    assert create("mls").score(of_logits(LOGITS)).tolist() == [4, 0]


def test_ebo_by_hand() -> None:
    expected = [math.log(math.exp(1) + math.exp(2) + math.exp(4)), math.log(3)]
    assert create("ebo").score(of_logits(LOGITS)) == pytest.approx(expected, abs=1e-12)
    cooler = [2 * math.log(math.exp(0.5) + math.exp(1) + math.exp(2)), 2 * math.log(3)]
    assert create("ebo", temperature=2.0).score(of_logits(LOGITS)) == pytest.approx(cooler, abs=1e-12)


def test_large_logits_do_not_overflow() -> None:
    huge = of_logits(1e4 * LOGITS)
    assert create("ebo").score(huge)[0] == pytest.approx(4e4)
    assert create("msp").score(huge)[0] == pytest.approx(1.0)


def test_knn_by_hand() -> None:
    train = Outputs(np.zeros((3, 2)), np.array([[2.0, 0.0], [0.0, 5.0], [-1.0, 0.0]]), np.zeros(3, np.int64))
    test = Outputs(np.zeros((2, 2)), np.array([[3.0, 0.0], [0.0, 0.0]]), np.zeros(2, np.int64))
    # squared distances of (1, 0) to (1, 0), (0, 1), (-1, 0) are 0, 2, 4; a feature of zeros is at 1 from each
    for k, expected in ((1, [0, -1]), (2, [-2, -1]), (3, [-4, -1])):
        assert create("knn", k=k).fit(train=train).score(test) == pytest.approx(expected, abs=1e-12)


def test_knn_in_blocks_is_the_same_as_at_once(head: nn.Linear) -> None:
    detector = create("knn", k=5).fit(train=outputs(head, 40, 0))
    whole = detector.score(outputs(head, 30, 1))
    test = outputs(head, 30, 1)
    test.memory = 8 * 80 * 7
    assert detector.score(test) == pytest.approx(whole, abs=1e-12)


def test_vim_against_a_plain_computation(head: nn.Linear) -> None:
    train, test = outputs(head, 50, 0), outputs(head, 20, 1)
    weight, bias = head.weight.detach().numpy().astype(float), head.bias.detach().numpy().astype(float)
    origin = -np.linalg.pinv(weight) @ bias
    x, y = (part.features.numpy().astype(float) - origin for part in (train, test))
    values, vectors = np.linalg.eigh(x.T @ x / len(x))
    null = vectors[:, np.argsort(values)[:4]]  # 6 features less the 2 largest
    alpha = train.logits.numpy().max(1).mean() / np.linalg.norm(x @ null, axis=1).mean()
    energy = np.log(np.exp(test.logits.numpy().astype(float)).sum(1))
    expected = energy - alpha * np.linalg.norm(y @ null, axis=1)
    assert create("vim", dim=2).fit(train=train, head=head).score(test) == pytest.approx(expected, rel=1e-6)


# Detectors that look at the network score by more than what the logits and features of a test without images say.
OF_OUTPUTS = sorted(name for name, kind in DETECTORS.items() if "network" not in kind.needs)


def fitted_on_tiny_images(name: str, monkeypatch: pytest.MonkeyPatch) -> tuple[Detector, Classifier]:
    """Fit a detector on a real classifier, which has every head that one may ask for."""
    monkeypatch.setitem(NETWORKS, "tiny", TinyNetwork)
    classifier = make_classifier(0, "cosine" if name == "godin" else "linear", {"second": 3, "rotation": 4})
    detector = create(name, **PARAMETERS.get(name, {}))
    assert detector.misfit(classifier) is None
    train, val = make_outputs(classifier, 60), make_outputs(classifier, 30, 1)
    assert detector.fit(train=train, val=val, network=classifier) is detector
    return detector, classifier


@pytest.mark.parametrize("name", sorted(DETECTORS))
def test_every_detector_gives_one_finite_float64_an_image(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    detector, classifier = fitted_on_tiny_images(name, monkeypatch)
    scores = detector.score(make_outputs(classifier, 17, 2))
    assert scores.shape == (17,)
    assert scores.dtype == np.float64
    assert np.isfinite(scores).all()


@pytest.mark.parametrize(
    "name", sorted({*OF_OUTPUTS} - {"openmax"})
)  # it moves shares of the logits: large ones may lie below small ones
def test_higher_means_more_in_distribution(name: str) -> None:
    """Known features lie along the head's weights, far from its zero; unknown ones are small and in the other axes."""
    generator = torch.Generator().manual_seed(0)
    head = nn.Linear(6, 3)
    with torch.no_grad():
        head.weight.copy_(torch.eye(6)[:3])
        head.bias.zero_()

    def known(count: int) -> Outputs:
        labels = torch.arange(count) % 3
        features = 5 * torch.eye(6)[labels] + 0.1 * torch.rand(count, 6, generator=generator)
        return Outputs(head(features).detach(), features, labels)

    noise = torch.cat([torch.rand(50, 3, generator=generator), 1 + torch.rand(50, 3, generator=generator)], 1)
    unknown = Outputs(head(noise).detach(), noise, torch.full((50,), -1))
    detector = create(name, **PARAMETERS.get(name, {})).fit(train=known(90), val=known(30), head=head)
    assert detector.score(known(50)).min() > detector.score(unknown).max()


@pytest.mark.parametrize("name", sorted(DETECTORS))
def test_score_of_an_image_does_not_depend_on_the_others(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    detector, classifier = fitted_on_tiny_images(name, monkeypatch)
    whole = make_outputs(classifier, 8, 2)
    alone = [detector.score(compute_outputs(classifier, make_images(8, 2).select([i])))[0] for i in range(8)]
    assert detector.score(whole) == pytest.approx(alone, rel=1e-5)


@pytest.mark.parametrize("name", sorted(DETECTORS))
def test_what_was_learned_is_all_that_a_score_takes(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    detector, classifier = fitted_on_tiny_images(name, monkeypatch)
    other = create(name, **PARAMETERS.get(name, {})).load_state(detector.state())
    if isinstance(other, NetworkDetector):
        other.attach(classifier)
    scores = [one.score(make_outputs(classifier, 9, 2)) for one in (detector, other)]
    assert np.array_equal(*scores)


def test_unknown_names_come_with_a_guess() -> None:
    with pytest.raises(UnknownNameError, match="Did you mean 'knn'"):
        create("knnn")
    with pytest.raises(UnknownNameError, match="unknown parameter of knn 'kk'"):
        create("knn", kk=3)


@pytest.mark.parametrize(
    ("name", "parameters"),
    [
        ("knn", {"k": 0}),
        ("knn", {"k": "x"}),
        ("knn", {"k": 1.5}),
        ("vim", {"dim": True}),
        ("vim", {"dim": 0}),
        ("ebo", {"temperature": 0}),
        ("ebo", {"temperature": math.nan}),
    ],
)
def test_parameters_out_of_range_are_refused(name: str, parameters: dict[str, object]) -> None:
    with pytest.raises(InputError):
        create(name, **parameters)


def test_what_cannot_be_fitted_is_refused(head: nn.Linear) -> None:
    train = outputs(head, 10, 0)
    for name, given, message in (
        ("knn", {}, "give train="),
        ("vim", {"train": train}, "give head="),
    ):
        with pytest.raises(InputError, match=message):
            create(name).fit(**given)
    with pytest.raises(InputError, match="k=50 is more than the 10"):
        create("knn").fit(train=train)
    with pytest.raises(InputError, match="dim=256 leaves nothing of 6 features"):
        create("vim").fit(train=train, head=head)
    with pytest.raises(
        InputError, match="a head of 3 logits and 5 features and others of 3 logits and 6 features do not fit"
    ):
        create("vim", dim=2).fit(train=train, head=nn.Linear(5, 3))
    narrow, narrow_head = Outputs(train.logits, train.features[:, :1], train.labels), nn.Linear(1, 3)
    for name in ("vim", "residual"):
        with pytest.raises(InputError, match="features of 1 dimension leave nothing"):
            create(name, dim=1).fit(train=narrow, val=narrow, head=narrow_head)
    few = outputs(head, 2, 0)
    with pytest.raises(InputError, match="the 2 training features lie in 2 dimensions"):
        create("vim", dim=2).fit(train=few, head=head)
    flat = Outputs(train.logits, torch.zeros_like(train.features), train.labels)
    no_bias = nn.Linear(6, 3)
    nn.init.zeros_(no_bias.bias)
    with pytest.raises(InputError, match="give a smaller dim"):
        create("vim", dim=2).fit(train=flat, head=no_bias)


def test_vim_takes_a_head_without_bias() -> None:
    torch.manual_seed(0)
    bare, zero = nn.Linear(6, 3, bias=False), nn.Linear(6, 3)
    with torch.no_grad():
        zero.weight.copy_(bare.weight)
        zero.bias.zero_()
    train, test = outputs(zero, 50, 0), outputs(zero, 20, 1)
    one, two = (create("vim", dim=2).fit(train=train, head=head).score(test) for head in (bare, zero))
    assert np.array_equal(one, two)


def test_outputs_refuse_what_does_not_fit() -> None:
    good = {"logits": np.zeros((2, 3)), "features": np.zeros((2, 4)), "labels": np.zeros(2, np.int64)}
    assert len(Outputs(**good)) == 2
    for change in (
        {"logits": np.zeros((3, 3))},
        {"logits": np.zeros(2)},
        {"labels": np.zeros(3, np.int64)},
        {"features": np.full((2, 4), np.nan)},
        {"logits": np.full((2, 3), np.inf)},
    ):
        with pytest.raises(InputError):
            Outputs(**{**good, **change})


def test_parameters_are_dataclass_fields_with_the_stock_defaults() -> None:
    adascale = {"low": 75.0, "high": 85.0, "k1": 5.0, "k2": 1.0, "weight": 10.0, "o": 0.05}
    odin = {"temperature": 1000.0, "noise": 0.0014}
    stock = {
        "adascale_a": adascale,
        "adascale_l": adascale,
        "ash_b": {"percentile": 90},
        "ash_p": {"percentile": 90},
        "ash_s": {"percentile": 90},
        "cfood": {"alpha": 0.1, "k": 0.01},
        "dice": {"percentile": 90},
        "ebo": {"temperature": 1},
        "fdbd": {"distance_as_normalizer": True},
        "gen": {"gamma": 0.1, "largest": 100},
        "godin": {"noise": 0.0025, "softmax": True},
        "gradnorm": {},
        "gram": {"powers": 5},
        "iodin": odin,
        "klm": {},
        "knn": {"k": 50},
        "mcd": {},
        "mds": {},
        "mds_ensemble": {"noise": 0.0014},
        "mls": {},
        "msp": {},
        "nci": {"alpha": 1e-4},
        "nnguide": {"k": 100, "alpha": 0.01},
        "odin": odin,
        "openmax": {"tail": 20, "alpha": 3},
        "rankfeat": {"temperature": 1},
        "react": {"percentile": 90},
        "relation": {"power": 1},
        "residual": {"dim": 512},
        "rmds": {},
        "rotpred": {},
        "scale": {"percentile": 85},
        "she": {},
        "t2fnorm": {"temperature": 0.1},
        "temp_scaling": {"stop_early": False},
        "vim": {"dim": 256},
        "vra": {"low": 10, "high": 90},
    }
    assert {*stock} == {*DETECTORS}
    for name, expected in stock.items():
        defaults = {field.name: field.default for field in dataclasses.fields(DETECTORS[name])}
        assert expected.items() <= defaults.items(), name
