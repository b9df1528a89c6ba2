"""The metrics against OpenOOD's own code, and against that of SIO's repository: see `metric_cases.json`."""

import json
from pathlib import Path

import numpy as np
import pytest

from sio_data.detection.metrics import OODMetrics, correct_classification_rates, ood_metrics
from sio_data.errors import InputError

HERE = Path(__file__).parent
GOLDEN = HERE.parents[2] / "shared/golden/set_a"
CASES: dict[str, dict[str, float]] = json.loads((HERE / "metric_cases.json").read_text())
ARRAYS = np.load(HERE / "metric_cases.npz")
REFUSED = ("with_inf", "with_nan", "no_ood")
NAMES = {"auroc": "AUROC", "aupr_in": "AUPR_IN", "aupr_out": "AUPR_OUT", "fpr95": "FPR95"}

needs_golden = pytest.mark.skipif(not GOLDEN.is_dir(), reason="the reference scores are not at hand")


def scores(case: str) -> tuple[np.ndarray, np.ndarray]:
    conf, label = ARRAYS[f"{case}_conf"], ARRAYS[f"{case}_label"]
    return conf[label != -1], conf[label == -1]


def correct(case: str) -> np.ndarray:
    label = ARRAYS[f"{case}_label"]
    return (ARRAYS[f"{case}_pred"] == label)[label != -1]


def check(found: OODMetrics, expected: dict[str, float]) -> None:
    for own, theirs in NAMES.items():
        assert getattr(found, own) == pytest.approx(expected[theirs], rel=0, abs=1e-12), own


@pytest.mark.parametrize("case", [case for case in CASES if case not in REFUSED])
def test_metrics_are_those_of_the_reference(case: str) -> None:
    check(ood_metrics(*scores(case), thinned_curve=True), CASES[case])
    if case != "paired_ties":
        check(ood_metrics(*scores(case)), CASES[case])


def test_fpr95_is_read_off_the_whole_curve_unless_the_references_is_asked_for() -> None:
    assert ood_metrics(*scores("paired_ties")).fpr95 == pytest.approx(0.95)
    assert ood_metrics(*scores("paired_ties")).fpr95_id == pytest.approx(0.95)
    assert ood_metrics(*scores("paired_ties"), thinned_curve=True).fpr95 == 1


@pytest.mark.parametrize(
    ("case", "message"),
    [
        ("with_inf", "1 of 51 ID scores are NaN or infinite, the first that of image 50"),
        ("with_nan", "1 of 51 ID scores are NaN or infinite, the first that of image 50"),
        ("no_ood", r"two lists that are not empty, not \(\d+,\) and \(0,\)"),
    ],
)
def test_scores_without_a_meaning_are_refused(case: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        ood_metrics(*scores(case))
    with pytest.raises(InputError, match=message):
        correct_classification_rates(*scores(case), np.ones(len(scores(case)[0]), bool))


@pytest.mark.parametrize("case", ["gaussian", "quantised", "wrong_predictions", "few_ood", "constant"])
def test_correct_classification_rates_are_those_of_a_plain_count(case: str) -> None:
    inside, outside = scores(case)
    for rate, found in correct_classification_rates(inside, outside, correct(case)).items():
        allowed = int(np.ceil(rate * len(outside)))
        threshold = sorted(outside)[-allowed]
        right = [bool(good) and score > threshold for score, good in zip(inside, correct(case), strict=True)]
        assert found == pytest.approx(sum(right) / len(inside))
        assert sum(score > threshold for score in outside) < allowed


def test_all_images_accepted_leave_the_accuracy() -> None:
    inside, outside = scores("separated")
    found = correct_classification_rates(inside, outside, correct("separated"), [1.0])
    assert found == {1.0: pytest.approx(correct("separated").mean())}


@pytest.mark.parametrize("rate", [0, -0.1, 1.5, float("nan")])
def test_rates_out_of_range_are_refused(rate: float) -> None:
    with pytest.raises(InputError, match="above 0 and at most 1"):
        correct_classification_rates([1.0], [0.0], [True], [rate])


def test_right_or_wrong_is_said_of_each_id_image() -> None:
    with pytest.raises(InputError, match=r"correct must be bool \[2\], not bool \[1\]"):
        correct_classification_rates([1.0, 2.0], [0.0], [True])
    with pytest.raises(InputError, match="not int64"):
        correct_classification_rates([1.0, 2.0], [0.0], [3, 4])


@needs_golden
def test_metrics_of_all_reference_scores() -> None:
    metrics = json.loads((GOLDEN / "metrics.json").read_text())
    given, sets = np.load(GOLDEN / "scores.npz"), np.load(GOLDEN / "arrays.npz")["ood_set"]
    for tag, expected in metrics.items():
        inside, outside = given[f"scores_{tag}_id"].ravel(), given[f"scores_{tag}_ood"].ravel()
        for number, name in enumerate(("collage", "patch", "noise")):
            check(ood_metrics(inside, outside[sets == number]), expected[name])
        check(ood_metrics(inside, outside), expected["all"])


@needs_golden
def test_the_other_fpr95_and_the_classification_rates_are_those_of_sio() -> None:
    recorded = json.loads((GOLDEN / "sio_fork.json").read_text())["detectors"]
    given, arrays = np.load(GOLDEN / "sio_fork.npz"), np.load(GOLDEN / "arrays.npz")
    predictions = np.load(GOLDEN / "scores.npz")
    for name, entry in recorded.items():
        expected = entry["metrics_default_all"]
        inside, outside = given[f"sio_{name}_id"], given[f"sio_{name}_ood"]
        found = ood_metrics(inside, outside, thinned_curve=True)
        assert found.auroc == pytest.approx(expected["AUROC"], rel=0, abs=1e-12)
        assert found.fpr95_id == pytest.approx(expected["FPR95"], rel=0, abs=1e-12)
        right = predictions[f"pred_{name}_id"] == arrays["test_labels"]
        if right.mean() == pytest.approx(expected["ACC"]):
            rates = correct_classification_rates(inside, outside, right)
            assert list(rates.values()) == pytest.approx([expected[f"CCR_{power}"] for power in (4, 3, 2, 1)])
