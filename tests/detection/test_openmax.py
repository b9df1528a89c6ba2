import numpy as np
import pytest
from scipy.stats import weibull_min

from sio_data.detection import Outputs, create
from sio_data.detection.detectors.base import Scores
from sio_data.errors import InputError

RANDOM = np.random.default_rng(0)
LABELS = np.arange(90) % 3
LOGITS = 6 * np.eye(3)[LABELS] + RANDOM.normal(size=(90, 3)) * 2
TEST = RANDOM.normal(scale=4, size=(25, 3))


def of_logits(logits: np.ndarray, labels: np.ndarray | None = None, memory: int = 1 << 20) -> Outputs:
    labels = np.zeros(len(logits), np.int64) if labels is None else labels
    return Outputs(logits, np.ones((len(logits), 2)), labels, memory=memory)


def openmax(train: np.ndarray, labels: np.ndarray, test: np.ndarray, tail: int, alpha: int) -> Scores:
    """Score image by image, as the paper says. SciPy's fit is good to 1e-4."""
    right = train.argmax(1) == labels
    models = []
    for c in range(train.shape[1]):
        own = train[right & (labels == c)]
        distances = np.sort(np.linalg.norm(own - own.mean(0), axis=1))[-tail:]
        shape, _, scale = weibull_min.fit(distances - distances[0] + 1, floc=0)
        models.append((own.mean(0), distances[0], shape, scale))
    scores = []
    for z in test:
        kept, unknown = z.copy(), 0.0
        for rank, c in enumerate(np.argsort(-z)[:alpha]):
            mean, smallest, shape, scale = models[c]
            share = weibull_min.cdf(np.linalg.norm(z - mean) - smallest + 1, shape, scale=scale)
            moved = z[c] * share * (alpha - rank) / alpha
            kept[c] -= moved
            unknown += moved
        scores.append(-np.exp(unknown) / (np.exp(unknown) + np.exp(kept).sum()))
    return np.array(scores)


@pytest.mark.parametrize(("tail", "alpha"), [(20, 3), (5, 2), (500, 1), (10**12, 3)])
def test_openmax_against_a_plain_computation(tail: int, alpha: int) -> None:
    """A tail of 500 or more is that of all right images."""
    detector = create("openmax", tail=tail, alpha=alpha).fit(train=of_logits(LOGITS, LABELS))
    assert detector.score(of_logits(TEST)) == pytest.approx(openmax(LOGITS, LABELS, TEST, tail, alpha), abs=1e-4)


def test_far_images_are_unknown_and_near_ones_are_not() -> None:
    detector = create("openmax").fit(train=of_logits(LOGITS, LABELS))
    near, far = detector.score(of_logits(np.array([[6.0, 0.0, 0.0], [60.0, 0.0, 0.0]])))
    assert near > -0.1
    assert far < -0.99


def test_huge_logits_do_not_overflow() -> None:
    detector = create("openmax").fit(train=of_logits(1e4 * LOGITS, LABELS))
    scores = detector.score(of_logits(1e4 * np.vstack([TEST, LOGITS])))
    assert ((scores >= -1) & (scores <= 0)).all()


def test_a_class_without_right_images_keeps_its_logits() -> None:
    labels = np.where(LABELS == 2, 0, LABELS)  # class 2 is predicted, never rightly
    detector = create("openmax", alpha=1).fit(train=of_logits(LOGITS, labels))
    image = np.array([[0.0, 1.0, 50.0]])
    # nothing is moved from logit 50, so the unknown class has logit 0
    assert detector.score(of_logits(image)) == pytest.approx([-1 / (2 + np.exp(1) + np.exp(50))], rel=1e-9)


def test_a_class_with_a_single_right_image_keeps_its_logits() -> None:
    logits = np.vstack([LOGITS[LABELS != 2], [[0.0, 0.0, 9.0]]])
    labels = np.append(LABELS[LABELS != 2], 2)
    detector = create("openmax", alpha=1).fit(train=of_logits(logits, labels))
    assert detector.score(of_logits(np.array([[0.0, 1.0, 50.0]]))) == pytest.approx([0.0], abs=1e-12)


def test_equal_distances_give_a_step() -> None:
    """Two right images of class 0 lie at distance 1 from their mean (5, 0)."""
    logits = np.vstack([[[5.0, 1.0], [5.0, -1.0]], [[0.0, 5.0], [0.0, 6.0], [1.0, 5.0], [0.0, 8.0]]])
    detector = create("openmax", alpha=1).fit(train=of_logits(logits, np.array([0, 0, 1, 1, 1, 1])))
    within, beyond = detector.score(of_logits(np.array([[5.0, 0.5], [5.0, 1.5]])))
    assert within == pytest.approx(-1 / (1 + np.exp(5) + np.exp(0.5)))  # u = 0
    assert beyond == pytest.approx(-np.exp(5) / (np.exp(5) + 1 + np.exp(1.5)))  # all of 5 is moved


def test_train_images_that_are_all_wrong_leave_all_logits_as_they_are() -> None:
    detector = create("openmax").fit(train=of_logits(LOGITS, (LOGITS.argmax(1) + 1) % 3))
    assert detector.score(of_logits(np.zeros((1, 3)))) == pytest.approx([-0.25])


def test_fewer_classes_than_alpha_use_the_first_weights() -> None:
    train = LOGITS[LABELS < 2, :2]
    detector = create("openmax", alpha=3).fit(train=of_logits(train, LABELS[LABELS < 2]))
    expected = openmax(train, LABELS[LABELS < 2], TEST[:, :2], 20, 3)
    assert detector.score(of_logits(TEST[:, :2])) == pytest.approx(expected, abs=1e-4)


def test_blocks_do_not_change_a_score() -> None:
    at_once = create("openmax").fit(train=of_logits(LOGITS, LABELS)).score(of_logits(TEST))
    one_by_one = create("openmax").fit(train=of_logits(LOGITS, LABELS, memory=1)).score(of_logits(TEST, memory=1))
    assert one_by_one == pytest.approx(at_once, rel=1e-9)


def test_half_precision_is_computed_in_float64() -> None:
    half, test = LOGITS.astype(np.float16), TEST.astype(np.float16)
    scores = create("openmax").fit(train=of_logits(half, LABELS)).score(of_logits(test))
    exact = create("openmax").fit(train=of_logits(half.astype(float), LABELS)).score(of_logits(test.astype(float)))
    assert scores == pytest.approx(exact, abs=1e-12)


def test_what_was_learned_is_all_that_a_score_needs() -> None:
    fitted = create("openmax").fit(train=of_logits(LOGITS, LABELS))
    other = create("openmax").load_state(fitted.state())
    assert np.array_equal(other.score(of_logits(TEST)), fitted.score(of_logits(TEST)))


@pytest.mark.parametrize("parameters", [{"tail": 1}, {"alpha": 0}])
def test_parameters_out_of_range_are_refused(parameters: dict[str, int]) -> None:
    with pytest.raises(InputError, match="tail must be at least 2 and alpha at least 1"):
        create("openmax", **parameters)
