import csv
import io
import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest

from sio_data.detection.results import Results, Training
from sio_data.detection.tables import paper_table
from sio_data.errors import InputError
from tests.small_results import GROUPS, two_pairs

CHECKPOINTS = ("baseline", "sio", "norm", "norm-sio")
SETS = [{"group": group, "name": name, "source": name, "images": 2} for name, group in GROUPS.items()]
NAMES = {"detector": "ebo", "group": "near", "baseline": "baseline", "checkpoint": "sio"}
INTERVAL: dict[str, Any] = NAMES | {"difference": 0.07, "low": 0.01, "high": 0.1, "p": 0.02}


def with_alpha(alpha: object) -> dict[str, object]:
    return {name: {"method": "ce", "synthetic": "s", "alpha": alpha} for name in CHECKPOINTS}


def full_results() -> Results:
    results = two_pairs()
    results.missing = [{"name": "x", "group": "far", "reason": "not at hand: put it there"}]
    results.skipped = [{"checkpoint": "norm", "run": "seed-0", "detector": "ebo", "reason": "no linear head"}]
    results.chosen = [{"checkpoint": "sio", "run": "seed-0", "detector": "ebo", "settings": {"temperature": 2.0}}]
    results.removed = {"u": 3}
    results.intervals = [INTERVAL]
    return results


def test_what_is_written_is_read_back(tmp_path: Path) -> None:
    results = full_results()
    value = results.to_json() | {"table": paper_table(results).to_json()}
    (tmp_path / "results.json").write_text(json.dumps(value))
    assert Results.read(tmp_path / "results.json") == results


@pytest.mark.parametrize(
    "change",
    [
        {"format": "sio-data/results/1"},
        {"rows": [{}]},
        {"runs": None},
        {"id": {}},
        {"rows": []},
        {"ood": []},
        {"ood": [{"group": "near", "name": "u", "source": 5, "images": 2}]},
        {"ood": [one | {"images": -5} for one in SETS]},
        {"ood": [*SETS, SETS[0]]},
        {"ood": [*SETS, {"group": "middle", "name": "x", "source": "x", "images": 2}]},
        {"versions": []},
        {"detectors": ["msp"]},
        {"checkpoints": ["baseline"]},
        {"trainings": {"baseline": {"method": 5}}},
        {"trainings": with_alpha("most")},
        {"trainings": with_alpha(True)},
        {"trainings": with_alpha(8)},
        {"trainings": ["ce"]},
        {"runs": [asdict(run) | {"folder": 5} for run in two_pairs().runs]},
        {"runs": [asdict(run) | {"weights": None} for run in two_pairs().runs]},
        {"missing": [{"name": "x"}]},
        {"missing": {}},
        {"missing": [{"name": "x", "group": "middle", "reason": "not at hand"}]},
        {"skipped": [{"checkpoint": "norm", "detector": "ebo", "reason": "no linear head"}]},
        {"skipped": ["ebo"]},
        {"chosen": [{"checkpoint": "sio", "run": "seed-0", "detector": "ebo", "settings": "none"}]},
        {"removed": {"u": "three"}},
        {"removed": {"u": -3}},
        {"id": {"source": "digits", "images": {"train": 9, "val": 3, "test": -3}, "classes": ["one", "two"]}},
        {"intervals": [{"detector": "ebo"}]},
        {"intervals": [INTERVAL | {"group": "middle"}]},
    ],
)
def test_nonsense_is_refused(change: dict[str, Any], tmp_path: Path) -> None:
    path = tmp_path / "results.json"
    path.write_text(json.dumps(full_results().to_json() | change))
    with pytest.raises(InputError, match="is not what this version of sio-data evaluate writes"):
        Results.read(path)


@pytest.mark.parametrize("figure", [1.5, -0.1, "0.5", None, float("nan")])
def test_figures_out_of_range_are_refused(figure: object, tmp_path: Path) -> None:
    value = full_results().to_json()
    for change in (
        {"rows": [value["rows"][0] | {"auroc": figure}, *value["rows"][1:]]},
        {"runs": [value["runs"][0] | {"accuracy": figure}, *value["runs"][1:]]},
    ):
        (tmp_path / "results.json").write_text(json.dumps(value | change))
        with pytest.raises(InputError):
            Results.read(tmp_path / "results.json")
    if figure != figure or isinstance(figure, str | None):
        interval = [value["intervals"][0] | {"low": figure}]
        (tmp_path / "results.json").write_text(json.dumps(value | {"intervals": interval}))
        with pytest.raises(InputError):
            Results.read(tmp_path / "results.json")


def test_a_combination_without_rows_has_no_summary() -> None:
    results = two_pairs()
    results.rows = [row for row in results.rows if (row.checkpoint, row.detector) != ("sio", "ebo")]
    assert results.spread("sio", "ebo", "near", "auroc") is None
    summary = {(one["checkpoint"], one["detector"]) for one in results.to_json()["summary"]}
    assert ("sio", "ebo") not in summary
    assert len(summary) == 7


def test_the_best_detector_is_the_one_with_the_highest_mean_over_groups() -> None:
    results = two_pairs()
    assert [results.best_detector(name) for name in results.checkpoints] == ["ebo", "ebo", "msp", "msp"]
    results.rows = [row for row in results.rows if row.detector == "msp" and row.checkpoint == "sio"]
    assert [results.best_detector(name) for name in results.checkpoints] == [None, "msp", None, None]


def test_csv_has_a_line_a_row() -> None:
    results = two_pairs()
    rows = list(csv.DictReader(io.StringIO(results.to_csv())))
    assert len(rows) == len(results.rows)
    assert list(rows[0])[:6] == ["checkpoint", "run", "detector", "group", "ood", "auroc"]
    assert (rows[0]["checkpoint"], rows[0]["ood"], rows[0]["auroc"], rows[0]["id_accuracy"]) == (
        "baseline", "u", "0.8", "0.9",
    )  # fmt: skip


def test_a_record_tells_how_a_run_was_trained() -> None:
    settings = {"method": "vos", "alpha": 0.9}
    assert Training.of({"settings": settings, "synthetic": "s"}) == Training("vos", "s", 0.9)
    assert Training.of({"settings": settings, "synthetic": None}) == Training("vos")
    for damaged in ({}, {"settings": []}, {"settings": {"method": 5}}, {"settings": settings, "synthetic": 5}):
        assert Training.of(damaged) == Training()


def test_runs_share_a_training_or_are_refused() -> None:
    plain, sio = {"settings": {"method": "ce"}, "synthetic": None}, {"settings": {"method": "ce"}, "synthetic": "s"}
    strong, weak = ({"settings": {"method": "ce", "alpha": alpha}, "synthetic": "s"} for alpha in (0.8, 0.5))
    other = {"settings": {"method": "godin"}, "synthetic": None}
    one, two, three = Path("a/seed-0"), Path("a/seed-1"), Path("a/seed-2")
    assert Training.shared({one: {}, two: plain, three: plain}) == Training("ce")
    assert Training.shared({one: {}, two: {}}) == Training()
    assert Training.shared({one: strong, two: strong | {"synthetic": "s2"}}) == Training("ce", "s", 0.8)
    with pytest.raises(InputError, match=r"^a/seed-0 was trained by ce without synthetic images, a/seed-2 by godin "):
        Training.shared({one: plain, two: {}, three: other})
    for first, second in ((plain, sio), (strong, weak)):
        with pytest.raises(InputError, match="cannot share one"):
            Training.shared({one: first, two: second})


def test_runs_that_a_detector_was_measured_on() -> None:
    results = two_pairs()
    results.rows = [row for row in results.rows if (row.checkpoint, row.run, row.detector) != ("sio", "seed-0", "ebo")]
    assert results.measured_runs("sio", "ebo") == ("seed-1",)
    assert results.runs_without("sio", "ebo") == ("seed-0",)
    assert results.measured_runs("sio", "msp") == ("seed-0", "seed-1")
    assert results.runs_without("sio", "knn") == ("seed-0", "seed-1")
