"""GEN, temperature scaling, KL matching and GradNorm."""

import math

import numpy as np
import pytest
import torch
from scipy.optimize import minimize_scalar
from scipy.special import log_softmax, softmax
from scipy.stats import entropy

from sio_data.detection import Outputs, create
from sio_data.errors import InputError

RANDOM = np.random.default_rng(0)
LOGITS = RANDOM.normal(scale=3, size=(60, 5))
LABELS = np.where(RANDOM.random(60) < 0.7, LOGITS.argmax(1), RANDOM.integers(0, 5, 60))


def of_logits(logits: np.ndarray, labels: np.ndarray | None = None, memory: int = 1 << 20) -> Outputs:
    labels = np.zeros(len(logits), np.int64) if labels is None else labels
    return Outputs(logits, np.ones((len(logits), 2)), labels, memory=memory)


def temperature(val: Outputs, **parameters: bool) -> float:
    return float(create("temp_scaling", **parameters).fit(val=val).state()["_temperature"])


def test_gen_by_hand() -> None:
    probabilities = np.array([[0.5, 0.3, 0.2]])
    every = sum((p * (1 - p)) ** 0.1 for p in (0.5, 0.3, 0.2))
    assert create("gen").score(of_logits(np.log(probabilities))) == pytest.approx([-every], abs=1e-12)
    two = 0.25**2 + 0.21**2
    assert create("gen", gamma=2.0, largest=2).score(of_logits(np.log(probabilities))) == pytest.approx([-two])


def test_gen_tells_sure_images_apart() -> None:
    """The largest probability is 1 - 2 exp(-gap), which rounds to 1 here."""
    logits = np.array([[40.0, 0, 0], [60.0, 0, 0], [1e4, 0, 0]])
    expected = [-((2 * math.exp(-gap)) ** 0.1) - 2 * math.exp(-gap * 0.1) for gap in (40, 60, 1e4)]
    assert create("gen").score(of_logits(logits)) == pytest.approx(expected, abs=1e-14)


def test_gen_of_a_single_class_is_zero() -> None:
    assert create("gen").score(of_logits(np.array([[3.0]]))).tolist() == [0.0]


def test_temperature_is_the_best_one() -> None:
    def loss(log_temperature: float) -> float:
        chosen = log_softmax(LOGITS / math.exp(log_temperature), axis=1)[np.arange(60), LABELS]
        return -float(chosen.mean())

    best = math.exp(minimize_scalar(loss, bounds=(-3, 4), method="bounded", options={"xatol": 1e-10}).x)
    assert best == pytest.approx(2.5, abs=1.5)  # well inside
    assert temperature(of_logits(LOGITS, LABELS)) == pytest.approx(best, rel=1e-5)
    scores = create("temp_scaling").fit(val=of_logits(LOGITS, LABELS)).score(of_logits(LOGITS))
    assert scores == pytest.approx(softmax(LOGITS / best, axis=1).max(1), rel=1e-5)


def test_temperature_grows_with_the_logits() -> None:
    once, scaled = (temperature(of_logits(factor * LOGITS, LABELS)) for factor in (1, 100))
    assert scaled == pytest.approx(100 * once, rel=1e-8)


def test_temperature_of_an_early_stop_is_that_of_torch_optimising_plainly() -> None:
    plain = torch.nn.Parameter(torch.tensor([1.5], dtype=torch.float64))
    optimiser = torch.optim.LBFGS([plain], lr=0.01, max_iter=50)

    def close() -> torch.Tensor:
        optimiser.zero_grad()
        loss = torch.nn.functional.cross_entropy(torch.from_numpy(LOGITS) / plain, torch.from_numpy(LABELS))
        loss.backward()
        return loss

    optimiser.step(close)
    early = temperature(of_logits(LOGITS, LABELS), stop_early=True)
    assert early == pytest.approx(plain.item(), rel=1e-9)
    assert abs(early - 1.5) > 0.05


def test_temperature_stays_one_where_none_is_best() -> None:
    always_right = of_logits(LOGITS, LOGITS.argmax(1))
    always_wrong = of_logits(LOGITS, LOGITS.argmin(1))
    flat = of_logits(np.ones((5, 3)))
    for val in (always_right, always_wrong, flat):
        assert temperature(val) == 1.0
        assert 0.01 <= temperature(val, stop_early=True) <= 1000


def test_temperature_of_an_early_stop_stays_above_zero() -> None:
    """The plain optimiser steps across 0, to -5.6."""
    logits = np.array([[3.0, 0.0]] * 30 + [[1.0, 0.0]])
    assert temperature(of_logits(logits, np.array([0] * 30 + [1])), stop_early=True) == 0.01


def test_temperature_needs_validation_labels() -> None:
    with pytest.raises(InputError, match="fitted on the val labels"):
        create("temp_scaling").fit(val=of_logits(LOGITS, np.full(60, -1)))


def test_klm_against_a_plain_computation() -> None:
    val, test = LOGITS[:40], LOGITS[40:]
    probabilities = softmax(val, axis=1)
    templates = np.stack([probabilities[val.argmax(1) == c].mean(0) for c in range(5)])
    expected = [-min(entropy(p, template) for template in templates) for p in softmax(test, axis=1)]
    assert create("klm").fit(val=of_logits(val)).score(of_logits(test)) == pytest.approx(expected, rel=1e-9)


def test_klm_of_a_class_never_predicted_is_a_one_hot() -> None:
    detector = create("klm").fit(val=of_logits(np.log([[0.6, 0.3, 0.1]])))
    sure = np.array([[0.0, 0.0, 1e4]])  # all its probability, in float64, is on class 2
    assert detector.score(of_logits(sure)).tolist() == [0.0]
    half = np.log([[0.2, 0.5, 0.3]])  # infinitely far from the one-hots of classes 1 and 2
    assert detector.score(of_logits(half)) == pytest.approx([-entropy([0.2, 0.5, 0.3], [0.6, 0.3, 0.1])])


def test_klm_is_finite_where_every_divergence_is_infinite() -> None:
    detector = create("klm").fit(val=of_logits(1e4 * np.eye(3)))
    flat, sure = detector.score(of_logits(np.array([[0.0, 0.0, 0.0], [1e4, 0.0, 0.0]])))
    assert flat == pytest.approx(-744.44, abs=0.01)
    assert sure == 0.0


def test_gradnorm_is_the_norm_of_the_gradient() -> None:
    torch.manual_seed(0)
    head = torch.nn.Linear(4, 3).double()
    features = torch.randn(5, 4, dtype=torch.float64)
    expected = []
    for feature in features:
        head.zero_grad()
        (-head(feature).log_softmax(0).sum()).backward()
        expected.append(float(head.weight.grad.abs().sum()))
    outputs = Outputs(head(features).detach(), features, torch.zeros(5).long())
    assert create("gradnorm").score(outputs) == pytest.approx(expected, rel=1e-10)


@pytest.mark.parametrize("name", ["gen", "temp_scaling", "klm", "gradnorm"])
def test_blocks_do_not_change_a_score(name: str) -> None:
    at_once = create(name).fit(val=of_logits(LOGITS, LABELS)).score(of_logits(LOGITS))
    one_by_one = create(name).fit(val=of_logits(LOGITS, LABELS, memory=1)).score(of_logits(LOGITS, memory=1))
    assert one_by_one == pytest.approx(at_once, rel=1e-9)


@pytest.mark.parametrize("name", ["gen", "temp_scaling", "klm", "gradnorm"])
def test_half_precision_is_computed_in_float64(name: str) -> None:
    half = LOGITS.astype(np.float16)
    scores = create(name).fit(val=of_logits(half, LABELS)).score(of_logits(half))
    double = half.astype(np.float64)
    assert np.array_equal(scores, create(name).fit(val=of_logits(double, LABELS)).score(of_logits(double)))


@pytest.mark.parametrize(
    ("parameters", "message"),
    [({"gamma": 0.0}, "gamma must be above 0"), ({"gamma": math.inf}, "gamma"), ({"largest": 0}, "largest at least 1")],
)
def test_gen_refuses_parameters_out_of_range(parameters: dict[str, float], message: str) -> None:
    with pytest.raises(InputError, match=message):
        create("gen", **parameters)


def test_the_search_tries_the_settings_of_openood_in_its_order() -> None:
    grid = create("gen").grid
    assert len(grid) == 42
    assert grid[:8] == (
        *({"gamma": gamma, "largest": 10} for gamma in (0.01, 0.1, 0.5, 1, 2, 5, 10)),
        {"gamma": 0.01, "largest": 50},
    )
    assert grid[-1] == {"gamma": 10, "largest": 1000}
    assert create("ebo").grid == ({"temperature": 1},)
