"""Detectors that look at features through means, principal spaces or the head: ViM, Residual, SHE, fDBD, NCI, DICE."""

from dataclasses import asdict

import numpy as np
import pytest
import torch
from torch import nn

from sio_data.detection import DETECTORS, Outputs, create
from sio_data.detection.moments import compute_means, compute_scatters
from sio_data.errors import InputError

NAMES = ("vim", "residual", "she", "fdbd", "nci", "dice")
PARAMETERS = {"vim": {"dim": 2}, "residual": {"dim": 2}, "dice": {"percentile": 40}}


@pytest.fixture
def head() -> nn.Linear:
    torch.manual_seed(0)
    return nn.Linear(6, 3)


def make(head: nn.Linear, count: int, seed: int, dtype: torch.dtype = torch.float32) -> Outputs:
    generator = torch.Generator().manual_seed(seed)
    features = torch.rand(count, 6, generator=generator).half()
    labels = torch.randint(3, (count,), generator=generator)
    with torch.no_grad():
        return Outputs(head(features.float()).half().to(dtype), features.to(dtype), labels)


def make_head(weight: list[list[float]], bias: list[float]) -> nn.Linear:
    head = nn.Linear(len(weight[0]), len(weight))
    with torch.no_grad():
        head.weight.copy_(torch.tensor(weight))
        head.bias.copy_(torch.tensor(bias))
    return head


def of(logits: list[list[float]], features: list[list[float]], labels: list[int] | None = None) -> Outputs:
    return Outputs(torch.tensor(logits), torch.tensor(features), torch.tensor(labels or [-1] * len(logits)))


def test_stock_defaults_and_grids() -> None:
    assert {name: asdict(create(name)) for name in NAMES} == {
        "vim": {"dim": 256},
        "residual": {"dim": 512, "split": "val"},
        "she": {},
        "fdbd": {"distance_as_normalizer": True},
        "nci": {"alpha": 1e-4},
        "dice": {"percentile": 90},
    }
    grids = {name: [*DETECTORS[name].grid] for name in NAMES if DETECTORS[name].grid}
    assert grids == {
        "vim": [{"dim": 256}, {"dim": 1000}],
        "fdbd": [{"distance_as_normalizer": True}, {"distance_as_normalizer": False}],
        "nci": [{"alpha": alpha} for alpha in (1e-4, 1e-3, 1e-2, 1e-1)],
    }
    for name, settings in grids.items():
        assert [asdict(create(name, **one)) for one in settings] == settings


def test_means_and_scatters_against_a_plain_computation(head: nn.Linear) -> None:
    outputs = make(head, 50, 0)
    outputs.labels[:10] = -1
    outputs.labels[10:15] = 7
    outputs.labels[outputs.labels == 2] = 1
    x, groups = outputs.features.numpy().astype(float), outputs.labels.numpy().copy()
    groups[:15] = 3
    outputs.memory = 8 * 70
    means, scatters = compute_means(outputs), compute_scatters(outputs)
    assert means.overall.numpy() == pytest.approx(x.mean(0), rel=1e-12)
    assert means.class_counts.tolist() == [(groups == c).sum() for c in range(3)]
    assert means.class_means[1].numpy() == pytest.approx(x[groups == 1].mean(0), rel=1e-12)
    assert means.class_means[2].tolist() == [0] * 6
    centred = x - x.mean(0)
    assert scatters.total.numpy() == pytest.approx(centred.T @ centred, rel=1e-10)
    inside = sum(len(part) * np.cov(part.T, bias=True) for part in (x[groups == g] for g in (0, 1, 3)))
    assert scatters.within.numpy() == pytest.approx(inside, rel=1e-10)


def test_scatter_within_close_groups_far_from_zero_keeps_its_digits() -> None:
    noise = np.random.default_rng(0).normal(size=(100, 2))
    labels = np.arange(100) % 2
    features = 1e7 * labels[:, None] + 1e-4 * noise
    exact = sum(100 / 2 * np.cov(1e-4 * noise[labels == c].T, bias=True) for c in (0, 1))
    scatters = compute_scatters(Outputs(np.zeros((100, 2)), features, labels))
    assert scatters.within.numpy() == pytest.approx(exact, rel=1e-3)


def test_detectors_share_the_passes_over_the_training_features(head: nn.Linear) -> None:
    train = make(head, 50, 0)
    create("vim", dim=2).fit(train=train, head=head)
    kept = compute_scatters(train)
    create("mds").fit(train=train)
    assert compute_scatters(train) is kept


def test_residual_by_hand() -> None:
    # about the origin (0, 0, 0) of a head without bias, the second moments are 4, 1 and 0.25 along the axes
    val = of([[0.0]] * 6, [[2.0, 0, 0], [-2, 0, 0], [0, 1, 0], [0, -1, 0], [0, 0, 0.5], [0, 0, -0.5]])
    head = make_head([[1.0, 1.0, 1.0]], [0.0])
    test = of([[0.0]] * 2, [[9.0, 3.0, 4.0], [5.0, 0.0, -1.0]])
    assert create("residual", dim=1).fit(val=val, head=head).score(test) == pytest.approx([-5, -1], abs=1e-7)
    assert create("residual", dim=2).fit(val=val, head=head).score(test) == pytest.approx([-4, -1], abs=1e-7)


def test_residual_and_vim_against_a_plain_computation(head: nn.Linear) -> None:
    splits, test = {"train": make(head, 50, 0), "val": make(head, 40, 1)}, make(head, 20, 2)
    weight, bias = head.weight.detach().numpy().astype(float), head.bias.detach().numpy().astype(float)
    origin = -np.linalg.pinv(weight) @ bias
    for split, outputs in splits.items():
        x, y = (part.features.numpy().astype(float) - origin for part in (outputs, test))
        _, vectors = np.linalg.eigh(x.T @ x / len(x))
        expected = -np.linalg.norm(y @ vectors[:, :2], axis=1)  # 6 features less the 4 largest
        detector = create("residual", dim=4, split=split).fit(**splits, head=head)
        assert detector.score(test) == pytest.approx(expected, rel=1e-6)
    train = splits["train"]
    x, y = (part.features.numpy().astype(float) - origin for part in (train, test))
    _, vectors = np.linalg.eigh(x.T @ x / len(x))
    virtual = train.logits.numpy().max(1).mean() / np.linalg.norm(x @ vectors[:, :2], axis=1).mean()
    energy = np.log(np.exp(test.logits.numpy().astype(float)).sum(1))
    expected = energy - virtual * np.linalg.norm(y @ vectors[:, :2], axis=1)
    assert create("vim", dim=4).fit(train=train, head=head).score(test) == pytest.approx(expected, rel=1e-5)


def test_residual_of_features_in_the_principal_space_is_zero_up_to_rounding(head: nn.Linear) -> None:
    detector = create("residual", dim=4).fit(val=make(head, 40, 0), head=head)
    places = torch.randn(100, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    inside = detector._origin + places @ detector._principal.T
    scores = detector.score(Outputs(torch.zeros(100, 3), inside, torch.zeros(100, dtype=torch.int64)))
    assert scores == pytest.approx(np.zeros(100), abs=1e-6)


def test_residual_refuses_what_leaves_no_residual(head: nn.Linear) -> None:
    val = make(head, 40, 0)
    with pytest.raises(
        InputError, match="residual: dim=512 leaves nothing of 6 features; give a dim below 6, for inst"
    ):
        create("residual").fit(val=val, head=head)
    with pytest.raises(InputError, match="residual: the 3 validation features lie in 3 dimensions; give a smaller dim"):
        create("residual", dim=3).fit(val=make(head, 3, 0), head=head)
    with pytest.raises(InputError, match="residual: the 3 training features lie in 4 dimensions"):
        create("residual", dim=4, split="train").fit(val=val, train=make(head, 3, 0), head=head)
    with pytest.raises(InputError, match="residual is fitted on the outputs of the training images: give train="):
        create("residual", dim=3, split="train").fit(val=val, head=head)


def test_she_by_hand() -> None:
    train = of(
        [[1.0, 0, 0, 0], [1, 0, 0, 0], [0, 1, 0, 0], [0, 1, 0, 0], [0, 0, 0, 1]],
        [[1.0, 2], [3, 4], [9, 9], [5, 6], [2, 4]],
        [0, 0, 0, 1, 2],
    )
    test = of(np.eye(4, dtype=np.float32).tolist(), [[1.0, 10.0]] * 4)
    # class 0: the mean of its right images, (2, 3); 1: its one; 2: no right one, so its wrong one; 3: the mean of all
    assert create("she").fit(train=train).score(test) == pytest.approx([32, 65, 42, 4 + 50], abs=1e-12)


def test_fdbd_by_hand() -> None:
    head = make_head([[3.0, 0.0], [0.0, 4.0], [0.0, 0.0]], [0.0, 0.0, 0.0])
    train = of([[0.0] * 3] * 2, [[0.0, 0.0], [2.0, 2.0]])
    test = of([[10.0, 5.0, 4.0]], [[4.0, 5.0]])
    # |w_0 - w_1| = 5, |w_0 - w_2| = 3; the feature is 5 from the mean (1, 1), and sqrt(41) long
    away = create("fdbd").fit(train=train, head=head).score(test)
    assert away == pytest.approx([(5 / 5 + 6 / 3) / 5], rel=1e-12)
    length = create("fdbd", distance_as_normalizer=False).fit(train=train, head=head).score(test)
    assert length == pytest.approx([(5 / 5 + 6 / 3) / 41**0.5], rel=1e-12)


def test_fdbd_leaves_out_classes_with_the_same_weights_and_takes_the_mean_for_very_near() -> None:
    head = make_head([[3.0, 0.0], [3.0, 0.0], [0.0, 0.0]], [0.0, -1.0, 0.0])
    train = of([[0.0] * 3] * 2, [[0.0, 0.0], [2.0, 2.0]])
    test = of([[9.0, 8.0, 3.0]] * 2, [[4.0, 5.0], [1.0, 1.0]])
    scores = create("fdbd").fit(train=train, head=head).score(test)
    assert scores == pytest.approx([6 / 3 / 5, 6 / 3 / (1e-12 * 2**0.5)], rel=1e-12)
    around_zero = of([[0.0] * 3] * 2, [[-1.0, 0.0], [1.0, 0.0]])
    at_zero = of([[9.0, 8.0, 3.0]], [[0.0, 0.0]])
    for parameter in (True, False):
        detector = create("fdbd", distance_as_normalizer=parameter).fit(train=around_zero, head=head)
        assert detector.score(at_zero) == pytest.approx([6 / 3 / 1e-12], rel=1e-12)


def test_nci_by_hand() -> None:
    head = make_head([[1.0, 2.0], [-1.0, 0.0]], [0.0, 0.0])
    train = of([[0.0] * 2] * 2, [[0.0, 0.0], [2.0, 2.0]])
    test = of([[5.0, 4.0], [0.0, 1.0], [1.0, 0.0]], [[4.0, 5.0], [4.0, -3.0], [1.0, 1.0]])
    # about the mean (1, 1): (3, 4) / 5 with (1, 2); (3, -4) / 5 with (-1, 0); nothing
    scores = create("nci", alpha=0.1).fit(train=train, head=head).score(test)
    assert scores == pytest.approx([11 / 5 + 0.9, -3 / 5 + 0.7, 0.2], rel=1e-12)


def test_dice_by_hand() -> None:
    head = make_head([[1.0, 4.0], [-2.0, 3.0]], [0.5, -0.5])
    train = of([[0.0] * 2] * 2, [[2.0, 1.0], [4.0, 1.0]])
    test = of([[0.0] * 2], [[5.0, 7.0]])
    # mean contributions: 3 and 4 for the first class, -6 and 3 for the second
    for percentile, logits in ((0, (5 + 28 + 0.5, 21 - 0.5)), (50, (28 + 0.5, -0.5)), (90, (28 + 0.5, -0.5))):
        expected = [np.logaddexp(*logits)]
        detector = create("dice", percentile=percentile).fit(train=train, head=head)
        assert detector.score(test) == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("name", NAMES)
def test_blocks_do_not_change_a_score(name: str, head: nn.Linear) -> None:
    scores = []
    for memory in (1 << 30, 8 * 70):
        train, val, test = (make(head, count, seed) for count, seed in ((70, 0), (40, 1), (20, 2)))
        train.memory = val.memory = test.memory = memory
        detector = create(name, **PARAMETERS.get(name, {})).fit(train=train, val=val, head=head)
        scores.append(detector.score(test))
    assert scores[0] == pytest.approx(scores[1], rel=1e-9)


@pytest.mark.parametrize("name", NAMES)
def test_float16_scores_as_the_same_values_in_float64(name: str, head: nn.Linear) -> None:
    scores = []
    for dtype in (torch.float16, torch.float64):
        train, val, test = (make(head, count, seed, dtype) for count, seed in ((70, 0), (40, 1), (20, 2)))
        detector = create(name, **PARAMETERS.get(name, {})).fit(train=train, val=val, head=head)
        scores.append(detector.score(test))
    assert scores[0] == pytest.approx(scores[1], rel=1e-9)


@pytest.mark.parametrize("name", NAMES)
def test_what_was_learned_is_all_that_scoring_needs(name: str, head: nn.Linear) -> None:
    fitted = create(name, **PARAMETERS.get(name, {})).fit(train=make(head, 70, 0), val=make(head, 40, 1), head=head)
    loaded = create(name, **PARAMETERS.get(name, {})).load_state(fitted.state())
    assert np.array_equal(loaded.score(make(head, 20, 2)), fitted.score(make(head, 20, 2)))


@pytest.mark.parametrize("name", NAMES)
def test_extreme_values_give_finite_scores(name: str, head: nn.Linear) -> None:
    train = make(head, 70, 0)
    features = torch.zeros(4, 6)
    features[1], features[2], features[3] = 1e4, -1e4, train.features.mean(0)
    test = Outputs(torch.tensor([[1e4, -1e4, 0]] * 4), features, torch.full((4,), -1))
    detector = create(name, **PARAMETERS.get(name, {})).fit(train=train, val=make(head, 40, 1), head=head)
    assert np.isfinite(detector.score(test)).all()


@pytest.mark.parametrize(
    ("name", "parameters"),
    [
        ("residual", {"dim": 0}),
        ("residual", {"split": "test"}),
        ("nci", {"alpha": -1}),
        ("nci", {"alpha": float("nan")}),
        ("dice", {"percentile": 100}),
        ("dice", {"percentile": -1}),
    ],
)
def test_parameters_out_of_range_are_refused(name: str, parameters: dict[str, object]) -> None:
    with pytest.raises(InputError, match=f"{name}: {next(iter(parameters))} must be"):
        create(name, **parameters)
