from dataclasses import replace

import pytest

from sio_data.detection.results import Results, Training
from sio_data.detection.tables import Cell, Pair, compare, method_title, paper_table, references
from tests.small_results import small_results, two_pairs


def means(cells: tuple[Cell | None, ...]) -> list[float | None]:
    return [cell and pytest.approx(cell.mean) for cell in cells]


def without(results: Results, checkpoint: str, detector: str) -> Results:
    rows = [row for row in results.rows if (row.checkpoint, row.detector) != (checkpoint, detector)]
    return replace(results, rows=rows)


def test_cross_entropy_has_a_row_a_detector_another_method_one_with_its_own() -> None:
    table = paper_table(two_pairs())
    assert table.measures == ("near", "far", "accuracy")
    assert table.sides == ("baseline", "+SIO")
    assert [(row.name, row.detector) for row in table.rows] == [
        ("ebo", "ebo"), ("msp", "msp"), ("LogitNorm temperature=0.05 (msp)", "msp"),
    ]  # fmt: skip
    assert table.pairs == (
        Pair(("baseline", "sio"), "ce", "demo/synthetic", 0.8),
        Pair(("norm", "norm-sio"), "logitnorm:temperature=0.05", "demo/synthetic", 0.9),
    )
    assert means(table.rows[0].cells) == [0.86, 0.93, 0.96, 0.95, 0.91, 0.95]
    assert means(table.rows[2].cells) == [0.90, 0.93, 0.99, 0.97, 0.5, 0.6]


def test_gains_and_spreads_by_hand() -> None:
    near, near_sio, far, far_sio, accuracy, accuracy_sio = paper_table(two_pairs()).rows[0].cells
    assert None not in (near, near_sio, far, far_sio, accuracy, accuracy_sio)
    assert near.gain is None
    assert near.mark == ""
    assert near.std == pytest.approx(0.02 / 2**0.5)  # runs 0.85 and 0.87
    assert near_sio.gain == pytest.approx(0.07)
    assert (near_sio.mark, near_sio.clear) == ("better", True)
    assert far_sio.gain == pytest.approx(-0.01)
    assert (far_sio.mark, far_sio.clear) == ("worse", False)  # runs 0.95 and 0.97: a std of 0.014
    assert accuracy_sio.gain == pytest.approx(0.04)
    assert paper_table(two_pairs()).rows[2].cells[0].std is None  # one run has no spread


def test_average_and_best_are_those_of_the_columns() -> None:
    table = paper_table(two_pairs())
    near = [(0.86 + 0.75 + 0.90) / 3, (0.93 + 0.70 + 0.93) / 3]
    accuracy = [(2 * 0.91 + 0.5) / 3, (2 * 0.95 + 0.6) / 3]
    assert means(table.average.cells)[:2] == near
    assert means(table.average.cells)[4:] == accuracy  # like the paper's, over rows
    assert table.average.cells[1].gain == pytest.approx(near[1] - near[0])
    assert means(table.best.cells) == [0.90, 0.93, 0.99, 0.97, 0.91, 0.95]
    best = [[bool(cell and cell.best) for cell in row.cells] for row in table.rows]
    assert best == [
        [False, True, False, False, True, True],
        [False, False, False, False, True, True],
        [True, True, True, True, False, False],
    ]


def test_accuracy_is_marked_as_repeated_within_a_pair() -> None:
    rows = paper_table(two_pairs()).rows
    assert [[cell.repeated for cell in row.cells] for row in rows] == [
        [False] * 6, [False] * 4 + [True] * 2, [False] * 6,
    ]  # fmt: skip


def test_what_was_not_measured_leaves_a_gap_and_no_average() -> None:
    results = without(two_pairs(), "sio", "msp")
    table = paper_table(results)
    assert table.rows[1].cells[0] is not None
    assert table.rows[1].cells[1] is None
    assert means(table.average.cells)[:2] == [(0.86 + 0.90) / 2, (0.93 + 0.93) / 2]
    without_norm = paper_table(replace(without(results, "sio", "ebo"), checkpoints=["baseline", "sio"]))
    assert means(without_norm.best.cells)[:2] == [None, None]
    alone = paper_table(without(two_pairs(), "norm-sio", "msp"))
    assert means(alone.best.cells)[0] == 0.86  # not 0.90, which has no counterpart
    assert [row.cells[0].best for row in alone.rows] == [True, False, False]
    table = paper_table(without(results, "baseline", "msp"))
    assert [row.name for row in table.rows] == ["ebo", "LogitNorm temperature=0.05 (msp)"]
    nothing = paper_table(replace(results, rows=[]))
    assert nothing.rows == ()
    assert set(nothing.average.cells) == {None}


def test_a_gain_without_its_baseline_is_none() -> None:
    cell = paper_table(without(two_pairs(), "baseline", "msp")).rows[1].cells[1]
    assert cell is not None
    assert cell.gain is None


@pytest.mark.parametrize(
    ("method", "detector"),
    [("vos", "ebo"), ("cutmix", "msp"), ("godin", "godin:noise=0"), ("mcd", "mls")],
)
def test_each_method_is_tested_with_its_own_detector(method: str, detector: str) -> None:
    figures = [{"u": 0.5, "w": 0.5}]
    detectors = {"mls": figures, "ebo": figures, "msp": figures, "godin:noise=0": figures}
    results = small_results(
        dict.fromkeys(("a", "b", "c", "d"), detectors),
        {name: [0.5] for name in ("a", "b", "c", "d")},
        {"a": Training("ce"), "b": Training("ce", "s", 0.8), "c": Training(method), "d": Training(method, "s", 0.8)},
    )
    assert paper_table(results).rows[-1].detector == detector


def test_a_sole_pair_of_another_method_has_a_row_a_detector() -> None:
    results = two_pairs()
    table = paper_table(replace(results, trainings=results.trainings | {"sio": Training("cutmix", "s", 0.8)}))
    assert [row.name for row in table.rows] == ["ebo", "msp"]
    assert table.pairs[0].checkpoints == ("norm", "norm-sio")
    assert table.left_out == ("baseline", "sio")


def test_only_the_first_synthetic_counterpart_is_in_the_table() -> None:
    results = two_pairs()
    trainings = results.trainings | {name: Training("ce", "s", 0.5) for name in ("norm", "norm-sio")}
    table = paper_table(replace(results, trainings=trainings))
    assert [pair.checkpoints for pair in table.pairs] == [("baseline", "sio")]
    assert table.left_out == ("norm", "norm-sio")
    assert references(replace(results, trainings=trainings)) == {
        "baseline": None, "sio": "baseline", "norm": "baseline", "norm-sio": "baseline",
    }  # fmt: skip


def test_without_a_pair_all_are_compared_to_the_first() -> None:
    results = replace(two_pairs(), trainings={})
    table = paper_table(results)
    assert table.sides == ("baseline", "sio", "norm", "norm-sio")
    assert len(table.columns) == 12
    assert means(table.rows[0].cells)[:4] == [0.86, 0.93, 0.5, 0.5]
    assert [cell.gain is None for cell in table.rows[0].cells[:4]] == [True, False, False, False]
    assert table.rows[0].cells[3].gain == pytest.approx(0.5 - 0.86)
    assert references(results) == {"baseline": None, "sio": "baseline", "norm": "baseline", "norm-sio": "baseline"}


def test_a_single_checkpoint_has_no_gains() -> None:
    table = paper_table(small_results({"a": {"msp": [{"u": 0.5}]}}, {"a": [0.7]}))
    assert means(table.rows[0].cells) == [0.5, None, 0.7]
    assert all(cell is None or cell.gain is None for cell in table.rows[0].cells)


def test_intervals_mark_the_gain_they_are_of() -> None:
    results = two_pairs()
    interval = {"detector": "ebo", "group": "near", "baseline": "baseline", "checkpoint": "sio", "p": 0.01}
    results.intervals = [interval | {"difference": 0.07, "low": 0.01, "high": 0.1}]
    cells = paper_table(results).rows[0].cells
    assert [cell.significant for cell in cells] == [False, True, False, False, False, False]
    results.intervals = [interval | {"difference": 0.07, "low": -0.01, "high": 0.1}]
    cell = paper_table(results).rows[0].cells[1]
    assert cell.interval["p"] == 0.01
    assert not cell.significant


def test_lower_is_better_for_some_metrics() -> None:
    results = two_pairs()
    low, high = results.spread("baseline", "ebo", "near", "fpr95"), results.spread("sio", "ebo", "near", "fpr95")
    assert compare(high, low).mark == "better"
    assert compare(high, low, better=-1).mark == "worse"
    assert compare(low, low).mark == "same"


def test_methods_are_titled_as_in_papers() -> None:
    assert method_title("t2fnorm") == "T2FNorm"
    assert method_title("mixup:strength=0.3") == "Mixup strength=0.3"
    assert method_title("somebody's") == "somebody's"


def test_cross_entropy_comes_first_wherever_its_checkpoints_stand() -> None:
    results = two_pairs()
    table = paper_table(replace(results, checkpoints=["norm", "norm-sio", "sio", "baseline"]))
    assert [pair.checkpoints for pair in table.pairs] == [("baseline", "sio"), ("norm", "norm-sio")]
    assert [row.name for row in table.rows] == ["ebo", "msp", "LogitNorm temperature=0.05 (msp)"]
