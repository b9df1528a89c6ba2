import io
from dataclasses import replace

import pytest
from rich.console import Console

from sio_data.cli.paper_table import print_table
from sio_data.detection.results import Results
from tests.small_results import two_pairs


def printed(results: Results, width: int) -> str:
    console = Console(file=io.StringIO(), width=width)
    print_table(results, console)
    return console.file.getvalue()


def test_a_wide_terminal_shows_spreads_a_narrow_one_a_table_a_measure() -> None:
    wide, medium, narrow = (printed(two_pairs(), width) for width in (180, 118, 70))
    assert "93.00 ± 1.41 +7.00" in wide
    assert "±" in wide
    assert "93.00 +7.00" in medium
    assert medium.count("average") == 1
    assert "93.00 +7.00" in narrow
    assert narrow.count("average") == narrow.count("best") == 3
    for text in (wide, medium, narrow):
        assert "…" not in text  # nothing is cut off
        for line in (
            "baseline → sio: method ce, synthetic demo/synthetic, alpha 0.8",
            "LogitNorm temperature=0.05 (msp)",
        ):
            assert line in text


def test_the_accuracy_of_a_pair_is_shown_once() -> None:
    assert printed(two_pairs(), 180).count("95.00 ± 0.00 +4.00") == 1


@pytest.mark.parametrize("width", [180, 60])
def test_names_are_no_markup_and_gaps_are_told(width: int) -> None:
    results = two_pairs()
    rows = [row for row in results.rows if (row.checkpoint, row.detector) != ("sio", "ebo")]
    skipped = [{"checkpoint": "sio", "run": "seed-0", "detector": "ebo", "reason": "[red]no[/] head"}]
    missing = [{"name": "[bold]x", "group": "far", "reason": "put it there"}]
    text = printed(replace(results, rows=rows, skipped=skipped, missing=missing), width)
    assert "left out on sio: ebo; the report says why." in text
    assert "[bold]x (far) is missing: put it there" in text
    assert "–" in text


def test_a_star_is_explained_where_there_is_one() -> None:
    results = two_pairs()
    assert "*" not in printed(results, 180)
    names = {"detector": "ebo", "group": "near", "baseline": "baseline", "checkpoint": "sio"}
    results.intervals = [names | {"difference": 0.07, "low": 0.01, "high": 0.1, "p": 0.01}]
    text = printed(results, 180)
    assert "+7.00*" in text
    assert "* the confidence interval of the gain leaves out zero; it is about the images tested, not the seeds" in text


def test_what_the_figures_are_over_is_told() -> None:
    results = two_pairs()
    assert "near: u, v; far: w\n" in printed(results, 180)
    assert "among the" not in printed(results, 180)
    left_out = ("sio", "seed-0", "ebo")
    rows = [row for row in results.rows if (row.checkpoint, row.run, row.detector) != left_out]
    text = printed(replace(results, rows=rows), 180)
    assert "left out on sio (seed-0): ebo, whose figures there are over seed-1 only; the report says why." in text
    rows = [row for row in rows if row.checkpoint != "norm"]
    missing = [{"name": "x", "group": "far", "reason": "put it there"}]
    text = printed(replace(results, rows=rows, missing=missing), 180)
    assert "near: u, v; far: w; missing: x (far)" in text
    assert "underlined: near-OOD and far-OOD among the 2 methods measured on every side" in text
