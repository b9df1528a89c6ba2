"""Detectors that compare a feature with training features: MDS, RMDS, KNN, NNGuide, Relation, CFOOD."""

from dataclasses import asdict

import numpy as np
import pytest
import torch

from sio_data.detection import DETECTORS, Outputs, create
from sio_data.detection.banks import ROWS, draw, find_largest
from sio_data.errors import InputError

NAMES = ("mds", "rmds", "knn", "nnguide", "relation", "cfood")
PARAMETERS = {"knn": {"k": 7}, "nnguide": {"k": 5, "alpha": 0.3}, "cfood": {"alpha": 0.5, "k": 0.05}}


def make(count: int, seed: int, width: int = 5, classes: int = 3) -> Outputs:
    """Make features around class means, labels, and logits that mostly agree with them."""
    generator = np.random.default_rng(seed)
    labels = generator.integers(0, classes, count)
    features = np.eye(classes, width)[labels] * 2 + generator.random((count, width))
    logits = 4 * features[:, :classes] + generator.normal(size=(count, classes))
    return Outputs(logits.astype(np.float32), features.astype(np.float32), labels)


def of_features(features: list[list[float]], labels: list[int] | None = None, classes: int = 2) -> Outputs:
    values = torch.tensor(features)
    return Outputs(torch.zeros(len(values), classes), values, torch.tensor(labels or [0] * len(values)))


def unit(features: torch.Tensor) -> np.ndarray:
    values = features.numpy().astype(float)
    return values / np.linalg.norm(values, axis=1, keepdims=True)


def test_stock_defaults_and_grids() -> None:
    defaults = {name: asdict(create(name)) for name in NAMES}
    assert defaults == {
        "mds": {},
        "rmds": {},
        "knn": {"k": 50},
        "nnguide": {"k": 100, "alpha": 0.01, "batch": 0},
        "relation": {"power": 1},
        "cfood": {"alpha": 0.1, "k": 0.01},
    }
    grids = {name: [*DETECTORS[name].grid] for name in NAMES if DETECTORS[name].grid}
    assert grids == {
        "knn": [{"k": k} for k in (50, 100, 200, 500, 1000)],
        "relation": [{"power": power} for power in (1, 2, 4, 6, 8)],
    }
    for name, settings in grids.items():
        assert [asdict(create(name, **one)) for one in settings] == settings


def test_mds_by_hand() -> None:
    # class means (0, 0) and (4, 0); within the classes the variance is 1 along the first axis and 4 along the second
    corners = [[-1.0, -2.0], [-1.0, 2.0], [1.0, -2.0], [1.0, 2.0]]
    train = of_features(corners + [[x + 4, y] for x, y in corners], [0] * 4 + [1] * 4)
    test = of_features([[0.0, 0.0], [0.0, 4.0], [3.0, 2.0], [-1.0, 0.0]])
    assert create("mds").fit(train=train).score(test) == pytest.approx([0, -4, -2, -1], abs=1e-12)
    # about the common mean (2, 0) the variances are 5 and 4
    expected = [0 + 4 / 5, -4 + 4 / 5 + 4, -2 + 1 / 5 + 1, -1 + 9 / 5]
    assert create("rmds").fit(train=train).score(test) == pytest.approx(expected, abs=1e-12)


def test_mds_and_rmds_against_a_plain_computation() -> None:
    train, test = make(80, 0), make(20, 1)
    x, y, labels = train.features.numpy().astype(float), test.features.numpy().astype(float), train.labels.numpy()
    means = np.stack([x[labels == c].mean(0) for c in range(3)])
    within, total = np.cov((x - means[labels]).T, bias=True), np.cov(x.T, bias=True)
    near = np.stack([np.einsum("nd,de,ne->n", y - m, np.linalg.inv(within), y - m) for m in means], 1)
    far = np.einsum("nd,de,ne->n", y - x.mean(0), np.linalg.inv(total), y - x.mean(0))
    assert create("mds").fit(train=train).score(test) == pytest.approx(-near.min(1), rel=1e-9)
    assert create("rmds").fit(train=train).score(test) == pytest.approx(far - near.min(1), rel=1e-9)


def test_a_class_without_training_images_is_nobodys_nearest() -> None:
    train = make(60, 0, classes=2)
    more = Outputs(torch.cat([train.logits, train.logits[:, :1]], 1), train.features, train.labels)
    near_zero = of_features([[0.0] * 5, [0.1] * 5])
    for name in ("mds", "rmds"):
        expected = create(name).fit(train=train).score(near_zero)
        wider = Outputs(torch.zeros(2, more.logits.shape[1]), near_zero.features)
        assert create(name).fit(train=more).score(wider) == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("name", ["mds", "rmds"])
def test_directions_without_variance_are_left_out(name: str) -> None:
    train, test = make(60, 0), make(20, 1)
    expected = create(name).fit(train=train).score(test)

    def widen(outputs: Outputs) -> Outputs:
        """Add a constant feature and a sum of others, which float32 rounds."""
        f = outputs.features
        return Outputs(
            outputs.logits, torch.cat([f, f[:, :1] * 0 + 3, 1e3 + f[:, :2] @ f.new_ones(2, 1)], 1), outputs.labels
        )

    wide = create(name).fit(train=widen(train))
    assert wide._whitening.shape == (7, 5)
    moved = widen(test)
    moved.features[:, 5] += 100
    assert wide.score(moved) == pytest.approx(wide.score(widen(test)), rel=1e-6)
    assert np.corrcoef(wide.score(moved), expected)[0, 1] > 0.9


@pytest.mark.parametrize("name", ["mds", "rmds"])
def test_classes_of_one_point_each_have_no_distance(name: str) -> None:
    with pytest.raises(InputError, match=f"{name}: the training features of each class are all the same"):
        create(name).fit(train=of_features([[1.0, 2.0], [3.0, 1.0], [1.0, 2.0]], [0, 1, 0]))


@pytest.mark.parametrize("name", ["mds", "rmds"])
def test_training_labels_are_needed(name: str) -> None:
    with pytest.raises(InputError, match="train labels, which must be from 0 to 1"):
        create(name).fit(train=of_features([[1.0, 2.0], [3.0, 1.0]], [0, -1]))


def test_knn_against_a_plain_computation_over_several_blocks_of_the_bank() -> None:
    train, test = make(2 * ROWS + 30, 0), make(9, 1)
    distances = np.square(unit(test.features)[:, None] - unit(train.features)[None]).sum(2)
    for k in (1, 100, len(train)):
        expected = -np.sort(distances, axis=1)[:, k - 1]
        assert create("knn", k=k).fit(train=train).score(test) == pytest.approx(expected, abs=1e-6)


def test_knn_knows_a_training_image_again_to_the_last_digit() -> None:
    train = make(50, 0)
    assert create("knn", k=1).fit(train=train).score(train).tolist() == [0.0] * 50


@pytest.mark.parametrize("name", ["knn", "relation"])
def test_training_features_are_kept_where_they_lie_without_their_gradients(name: str) -> None:
    train = make(50, 0)
    train = Outputs(train.logits.requires_grad_(), train.features.requires_grad_(), train.labels)
    detector = create(name).fit(train=train)
    assert detector._bank.data_ptr() == train.features.data_ptr()
    assert not any(value.requires_grad for value in detector.state().values())


def test_knn_with_features_of_zeros() -> None:
    train = of_features([[0.0, 0.0], [1.0, 0.0], [0.0, -1.0]])
    test = of_features([[0.0, 0.0], [1.0, 0.1]])
    assert create("knn", k=1).fit(train=train).score(test)[0] == 0
    assert create("knn", k=2).fit(train=train).score(test) == pytest.approx([-1, -1], abs=1e-12)


def test_nnguide_by_hand() -> None:
    train = Outputs(
        torch.tensor([[2.0, -99.0], [3.0, -99.0], [5.0, -99.0]]),
        torch.tensor([[7.0, 0.0], [0.0, 1.0], [3.0, 4.0]]),
        torch.zeros(3, dtype=torch.int64),
    )
    test = Outputs(torch.tensor([[10.0, -99.0]]), torch.tensor([[2.0, 0.0]]), torch.zeros(1, dtype=torch.int64))
    # products with the unit feature, times energies: 2 * 1, 3 * 0, 5 * 0.6
    for k, closest in ((1, 3), (2, 2.5), (3, 5 / 3)):
        detector = create("nnguide", k=k, alpha=1.0).fit(train=train)
        assert detector.score(test) == pytest.approx([10 * closest], rel=1e-6)


def test_nnguides_bank_is_a_share_of_the_training_images_and_k_at_least() -> None:
    train = make(250, 0)
    assert len(create("nnguide", k=5, alpha=0.11).fit(train=train)._bank) == 28
    assert len(create("nnguide", k=40, alpha=0.11).fit(train=train)._bank) == 40
    with pytest.raises(InputError, match="k=251 is more than the 250"):
        create("nnguide", k=251).fit(train=train)


def test_nnguides_bank_by_openoods_batches_is_the_first_whole_ones_over_the_share() -> None:
    train = make(250, 0)
    for batch, alpha, size in ((10, 0.1, 30), (40, 0.1, 40), (200, 0.9, 250), (300, 0.1, 250)):
        bank = create("nnguide", k=5, alpha=alpha, batch=batch).fit(train=train)._bank
        assert torch.equal(bank, train.features[:size])
    with pytest.raises(InputError, match="k=50 is more than the 10 training images of its bank"):
        create("nnguide", k=50, batch=10).fit(train=train)


def test_what_is_drawn_is_the_same_each_time_and_has_a_share_of_every_class() -> None:
    rows = draw(1000, 100)
    assert torch.equal(rows, draw(1000, 100))
    assert len(set(rows.tolist())) == 100
    assert (rows % 10).bincount().min() > 0  # labels that take turns
    assert (rows // 100).bincount().min() > 0  # labels in order
    assert draw(5, 5) == slice(None)


def test_relation_against_a_plain_computation_over_several_blocks_of_the_bank() -> None:
    train, test = make(ROWS + 30, 0), make(9, 1)
    sure = [np.exp(part.logits.numpy().astype(float)) for part in (test, train)]
    one, other = (values / values.sum(1, keepdims=True) for values in sure)
    relations = (unit(test.features) @ unit(train.features).T).clip(0) * (one @ other.T)
    assert ((relations > 0.02) & (relations < 0.04)).any()
    for power in (1, 4, 0.5):
        expected = (relations**power * (relations > 0.03)).sum(1)
        assert create("relation", power=power).fit(train=train).score(test) == pytest.approx(expected, rel=1e-4)


def test_relation_counts_no_feature_on_the_other_side() -> None:
    train = of_features([[1.0, 0.0], [-1.0, 0.0]])
    assert create("relation").fit(train=train).score(of_features([[3.0, 0.0], [0.0, 0.0]])) == pytest.approx([0.5, 0])


def test_cfood_against_a_plain_computation() -> None:
    train, test = make(120, 0), make(30, 1)
    reference = unit(train.features)
    between = np.sort(np.square(reference[:, None] - reference[None]).sum(2), axis=1)
    away = np.square(unit(test.features)[:, None] - reference[None]).sum(2)
    fractions = np.concatenate([np.linspace(0.001, 0.1, 100), np.linspace(0.105, 0.5, 81), np.linspace(0.51, 0.99, 49)])
    for k in (0.01, 0.1, 0.6, 1.0):
        expected = np.full(30, -1.0)
        for fraction in fractions[::-1]:
            reach = between[:, max(0, int(fraction * 120 - 1)) + 1]
            expected[(away <= reach).mean(1) >= k] = -fraction
        assert create("cfood", alpha=1.0, k=k).fit(train=train).score(test) == pytest.approx(expected, abs=1e-12)


def test_cfoods_reference_is_drawn_by_chance_and_the_same_each_time() -> None:
    train = make(100, 0)
    first, again = (create("cfood").fit(train=train) for _ in range(2))
    assert torch.equal(first._bank, train.features[draw(100, 10)])
    assert np.array_equal(first.score(train), again.score(train))
    with pytest.raises(InputError, match="leaves 1 for the reference"):
        create("cfood", alpha=0.01).fit(train=train)


def test_cfood_takes_in_what_is_among_equal_features() -> None:
    direction = torch.rand(300, generator=torch.Generator().manual_seed(0))
    same = (torch.linspace(0.1, 9, 40).unsqueeze(1) * direction).tolist()  # scaled to length 1, they differ by rounding
    detector = create("cfood", alpha=1.0, k=1.0).fit(train=of_features(same))
    assert detector.score(of_features([*same, (-direction).tolist()])).tolist() == [-0.001] * 40 + [-1.0]


@pytest.mark.parametrize("name", NAMES)
def test_blocks_do_not_change_a_score(name: str) -> None:
    train, test = make(70, 0), make(20, 1)
    expected = create(name, **PARAMETERS.get(name, {})).fit(train=train).score(test)
    cut_train, cut_test = make(70, 0), make(20, 1)
    cut_train.memory = cut_test.memory = 8 * 100
    cut = create(name, **PARAMETERS.get(name, {})).fit(train=cut_train).score(cut_test)
    assert cut == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize("name", NAMES)
def test_float16_scores_as_the_same_values_in_float64(name: str) -> None:
    def convert(outputs: Outputs, dtype: torch.dtype) -> Outputs:
        return Outputs(outputs.logits.half().to(dtype), outputs.features.half().to(dtype), outputs.labels)

    half, double = (
        create(name, **PARAMETERS.get(name, {}))
        .fit(train=convert(make(70, 0), dtype))
        .score(convert(make(20, 1), dtype))
        for dtype in (torch.float16, torch.float64)
    )
    assert half == pytest.approx(double, rel=1e-6)


@pytest.mark.parametrize("name", NAMES)
def test_what_was_learned_is_all_that_scoring_needs(name: str) -> None:
    fitted = create(name, **PARAMETERS.get(name, {})).fit(train=make(70, 0))
    loaded = create(name, **PARAMETERS.get(name, {})).load_state(fitted.state())
    assert np.array_equal(loaded.score(make(20, 1)), fitted.score(make(20, 1)))


@pytest.mark.parametrize("name", ["knn", "nnguide", "relation", "cfood", "mds", "rmds"])
def test_extreme_values_give_finite_scores(name: str) -> None:
    train = make(70, 0)
    features = torch.zeros(3, 5)
    features[1], features[2] = 1e4, -1e4
    test = Outputs(torch.tensor([[1e4, -1e4, 0]] * 3), features, torch.full((3,), -1))
    scores = create(name, **PARAMETERS.get(name, {})).fit(train=train).score(test)
    assert np.isfinite(scores).all()


@pytest.mark.parametrize(
    ("name", "parameters"),
    [
        ("nnguide", {"k": 0}),
        ("nnguide", {"alpha": 0}),
        ("nnguide", {"alpha": 1.1}),
        ("nnguide", {"batch": -1}),
        ("relation", {"power": 0}),
        ("relation", {"power": float("inf")}),
        ("cfood", {"alpha": 0}),
        ("cfood", {"alpha": 2}),
        ("cfood", {"k": 0}),
        ("cfood", {"k": float("nan")}),
    ],
)
def test_parameters_out_of_range_are_refused(name: str, parameters: dict[str, object]) -> None:
    with pytest.raises(InputError, match=f"{name}: .*{next(iter(parameters))}"):
        create(name, **parameters)


def test_the_largest_of_a_matrix_in_blocks() -> None:
    matrix = torch.rand(6, 50, generator=torch.Generator().manual_seed(0))
    for width in (1, 7, 50):
        values, columns = find_largest(matrix.split(width, 1), 9)
        assert torch.equal(values, matrix.topk(9).values)
        assert torch.equal(matrix.gather(1, columns), values)
