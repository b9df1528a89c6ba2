import csv
import io
from dataclasses import replace

import pytest

from sio_data.detection.results import Results, Training
from sio_data.detection.table_texts import describe_ranking, percent_gain, to_csv, to_latex
from sio_data.detection.tables import paper_table
from tests.small_results import small_results, two_pairs


def test_latex_is_a_table_of_booktabs() -> None:
    lines = to_latex(paper_table(two_pairs())).splitlines()
    body = [line for line in lines if not line.startswith("%")]
    assert body[0] == r"\begin{tabular}{lrrrrrr}"
    assert body[1] == r"\toprule"
    assert body[3] == r"\cmidrule(lr){2-3} \cmidrule(lr){4-5} \cmidrule(lr){6-7}"
    assert body[4] == r"method & baseline & +SIO & baseline & +SIO & baseline & +SIO \\"
    assert body[6] == (
        r"ebo & 86.00{\scriptsize$\pm$1.41} & \textbf{\underline{93.00}}{\scriptsize$\pm$1.41} {\scriptsize$+7.00$}"
        r" & 96.00{\scriptsize$\pm$1.41} & 95.00{\scriptsize$\pm$0.00} {\scriptsize$-1.00$}"
        r" & \underline{91.00}{\scriptsize$\pm$1.41} & \textbf{\underline{95.00}}{\scriptsize$\pm$0.00}"
        r" {\scriptsize$+4.00$} \\"
    )
    assert body[7].endswith(r" & '' & '' \\")
    assert body[-1] == r"\end{tabular}"
    assert "% baseline → sio: method ce, synthetic demo/synthetic, alpha 0.8" in lines


def test_every_line_of_the_latex_has_as_many_cells() -> None:
    results = two_pairs()
    gap = [row for row in results.rows if (row.checkpoint, row.detector) != ("sio", "ebo")]
    for one in (results, replace(results, rows=gap), replace(results, trainings={})):
        table = paper_table(one)
        lines = [line for line in to_latex(table).splitlines() if line.endswith(r"\\") and "multicolumn" not in line]
        assert len(lines) == len(table.rows) + 3
        assert {line.count(" & ") for line in lines} == {len(table.columns)}


@pytest.mark.parametrize(
    ("name", "written"),
    [
        ("50%_of#{a}&$", r"50\%\_of\#\{a\}\&\$"),
        ("a\\b~c^d<e>", r"a\textbackslash{}b\textasciitilde{}c\textasciicircum{}d\textless{}e\textgreater{}"),
        ("two\nlines % not a comment", r"two lines \% not a comment"),
    ],
)
def test_latex_takes_names_literally(name: str, written: str) -> None:
    table = paper_table(small_results({name: {name: [{"u": 0.5, "w": 0.5}]}}, {name: [0.5]}))
    text = to_latex(table)
    assert f"\nmethod & {written} & {written} & {written} \\\\\n" in text
    assert f"\n{written} & " in text
    for line in text.splitlines():
        assert line.startswith(("%", "\\", " & ", "method", "average", "best", written))


def test_a_star_is_for_an_interval_without_zero() -> None:
    results = two_pairs()
    names = {"detector": "ebo", "group": "near", "baseline": "baseline", "checkpoint": "sio"}
    results.intervals = [names | {"difference": 0.07, "low": 0.01, "high": 0.1, "p": 0.01}]
    assert to_latex(paper_table(results)).count("$+7.00^{*}$") == 1


def test_csv_holds_the_figures_in_percent() -> None:
    results = replace(two_pairs(), trainings=two_pairs().trainings | {"norm": Training()})
    rows = list(csv.DictReader(io.StringIO(to_csv(paper_table(results)))))
    assert [row["method"] for row in rows] == ["ebo", "msp", "average", "best"]
    assert (rows[0]["near +SIO"], rows[0]["near +SIO gain"], rows[0]["near +SIO std"]) == (
        "93.0000",
        "7.0000",
        "1.4142",
    )
    assert (rows[0]["near baseline gain"], rows[2]["near baseline std"]) == ("", "")
    assert rows[1]["accuracy +SIO"] == "95.0000"


def test_gains_have_a_sign() -> None:
    assert [percent_gain(gain) for gain in (0.01234, -0.5, 0.00001, -0.00001, 0)] == [
        "+1.23", "-50.00", "+0.00", "+0.00", "+0.00",
    ]  # fmt: skip


def with_gaps() -> Results:
    """`ebo` lacks a run of `sio`, `msp` that checkpoint as a whole, and a set is missing."""
    results = two_pairs()
    results.rows = [
        row
        for row in results.rows
        if (row.checkpoint, row.detector) != ("sio", "msp")
        and (row.checkpoint, row.run, row.detector) != ("sio", "seed-0", "ebo")
    ]
    results.missing = [{"name": "x\ny", "group": "far", "reason": "put it there"}]
    return results


def test_latex_says_what_its_figures_are_over() -> None:
    comments = [line for line in to_latex(paper_table(with_gaps())).splitlines() if line.startswith("%")]
    assert "% near: u, v; far: w; missing: x y (far)" in comments
    ranking = "near-OOD and far-OOD among the 2 methods measured on every side"
    assert f"% Average, best and underlined: {ranking}." in comments
    assert "% left out on sio (seed-0): ebo, whose figures there are over seed-1 only" in comments
    assert "% left out on sio: msp" in comments
    whole = to_latex(paper_table(two_pairs()))
    assert "% near: u, v; far: w\n" in whole
    assert "among the" not in whole
    assert "left out" not in whole


def test_latex_says_what_a_star_is_about() -> None:
    assert "about the images tested, not the seeds trained" in to_latex(paper_table(two_pairs()))


def test_csv_says_what_its_figures_are_over() -> None:
    rows = list(csv.DictReader(io.StringIO(to_csv(paper_table(with_gaps())))))
    assert {(row["near_sets"], row["far_sets"], row["missing"]) for row in rows} == {("u, v", "w", "x\ny (far)")}
    among = "near-OOD and far-OOD among the 2 methods measured on every side"
    assert [row["note"] for row in rows] == ["without seed-0 in +SIO", "", "", among, among]
    whole = list(csv.DictReader(io.StringIO(to_csv(paper_table(two_pairs())))))
    assert {(row["missing"], row["note"]) for row in whole} == {("", "")}


def test_the_number_of_methods_is_that_of_each_measure() -> None:
    results = two_pairs()
    results.rows = [row for row in results.rows if (row.checkpoint, row.group) != ("norm", "far")]
    assert describe_ranking(paper_table(results)) == "far-OOD among the 2 methods measured on every side"
    results.rows = [row for row in results.rows if (row.checkpoint, row.detector) != ("sio", "msp")]
    assert describe_ranking(paper_table(results)) == (
        "near-OOD among the 2 methods measured on every side; far-OOD among the 1 method measured on every side"
    )
