import dataclasses
import math

import numpy as np
import pytest
import torch
from torch import nn

from sio_data.detection import DETECTORS, Outputs, create
from sio_data.errors import InputError, UnknownNameError


@pytest.fixture
def head() -> nn.Linear:
    torch.manual_seed(0)
    return nn.Linear(6, 3)


def outputs(head: nn.Linear, count: int, seed: int, scale: float = 1.0) -> Outputs:
    features = scale * torch.rand(count, 6, generator=torch.Generator().manual_seed(seed))
    with torch.no_grad():
        return Outputs(head(features), features, torch.arange(count) % 3)


PARAMETERS = {"knn": {"k": 3}, "vim": {"dim": 3}}
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


def test_knn_in_blocks_is_the_same_as_at_once(head: nn.Linear, monkeypatch: pytest.MonkeyPatch) -> None:
    detector = create("knn", k=5).fit(train=outputs(head, 40, 0))
    whole = detector.score(outputs(head, 30, 1))
    monkeypatch.setattr("sio_data.detection.detectors.knn._BLOCK_BYTES", 8 * 40 * 7)
    assert detector.score(outputs(head, 30, 1)) == pytest.approx(whole, abs=1e-12)


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


@pytest.mark.parametrize("name", sorted(DETECTORS))
def test_every_detector_gives_one_finite_float64_an_image(name: str, head: nn.Linear) -> None:
    detector = create(name, **PARAMETERS.get(name, {}))
    fitted = detector.fit(train=outputs(head, 60, 0), val=outputs(head, 30, 1), head=head)
    assert fitted is detector
    scores = fitted.score(outputs(head, 17, 2))
    assert scores.shape == (17,)
    assert scores.dtype == np.float64
    assert np.isfinite(scores).all()


@pytest.mark.parametrize("name", sorted(DETECTORS))
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
def test_score_of_an_image_does_not_depend_on_the_others(name: str, head: nn.Linear) -> None:
    detector = create(name, **PARAMETERS.get(name, {}))
    detector.fit(train=outputs(head, 60, 0), val=outputs(head, 30, 1), head=head)
    whole = outputs(head, 8, 2)
    alone = [
        detector.score(Outputs(whole.logits[i : i + 1], whole.features[i : i + 1], whole.labels[i : i + 1]))[0]
        for i in range(8)
    ]
    assert detector.score(whole) == pytest.approx(alone, rel=1e-6)


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
        ("vim", {"train": train}, "give train= and head="),
    ):
        with pytest.raises(InputError, match=message):
            create(name).fit(**given)
    with pytest.raises(InputError, match="k=50 is more than the 10"):
        create("knn").fit(train=train)
    with pytest.raises(InputError, match="dim=256 leaves nothing of 6 features"):
        create("vim").fit(train=train, head=head)
    with pytest.raises(InputError, match="does not fit 6 features"):
        create("vim", dim=2).fit(train=train, head=nn.Linear(5, 3))
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
    defaults = {name: {f.name: f.default for f in dataclasses.fields(kind)} for name, kind in DETECTORS.items()}
    assert defaults == {"msp": {}, "mls": {}, "ebo": {"temperature": 1.0}, "knn": {"k": 50}, "vim": {"dim": 256}}
