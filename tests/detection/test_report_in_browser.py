"""The report in a real browser: figures, clicks and keys, no console error, no request to any host."""

import json
import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from sio_data import evaluate
from sio_data.detection.evaluation import Evaluation
from sio_data.detection.report import render_report
from tests.browser import CHROMIUM, Browser, open_browser

pytestmark = [pytest.mark.browser, pytest.mark.skipif(not CHROMIUM, reason="Chromium is not installed")]

HOSTILE = "</script></template><img src=x onerror=\"document.title='owned'\"><b id=owned>"
NAMES = "[...document.querySelectorAll('#paper tbody th')].map((one) => one.textContent)"
SHOWN_NAMES = "[...document.querySelectorAll('#paper tbody tr:not([hidden]) th')].map((one) => one.textContent)"
CELLS = """[...document.querySelectorAll('TABLE TBODY tr')].map((row) => [row.cells[0].textContent,
  ...[...row.cells].slice(1).map((cell) => [cell.dataset.value, cell.innerText.replace(/\\s+/g, ' ').trim()])])"""
CHARTS = "document.getElementById('charts').innerHTML"


@pytest.fixture(scope="module")
def done(tiny_runs: tuple[Path, Path], tmp_path_factory: pytest.TempPathFactory) -> Evaluation:
    ood = ["near:unknown-digits=digits-unknown", "far:textures=textures"]
    detectors = ["msp", "mls", "ebo", "knn", "vim", "knn:k=5"]
    return evaluate(tiny_runs, tmp_path_factory.mktemp("report"), id="digits", ood=ood, detectors=detectors)


@pytest.fixture(scope="module")
def results(done: Evaluation) -> dict[str, Any]:
    value: dict[str, Any] = json.loads((done.report.parent / "results.json").read_text())
    return value


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    with open_browser(tmp_path_factory.mktemp("profile")) as browser:
        yield browser


@pytest.fixture
def page(browser: Browser, done: Evaluation) -> Iterator[Browser]:
    """The report, opened. At the end, nothing may have been complained of, nor asked of a host."""
    browser.complaints.clear()
    browser.asked.clear()
    browser.resize(1280, 900)
    browser.open(done.report.as_uri())
    yield browser
    assert browser.complaints == []
    assert [url for url in browser.asked if not url.startswith(("file:", "data:", "about:"))] == []


def cells(page: Browser, table: str, part: str = "tbody") -> dict[str, list[list[str]]]:
    rows = page.run(CELLS.replace("TABLE", table).replace("TBODY", part))
    return {name: figures for name, *figures in rows}


def test_every_figure_of_every_detector_is_that_of_the_results(page: Browser, results: dict[str, Any]) -> None:
    page.run("document.querySelectorAll('details').forEach((one) => { one.open = true; })")
    metrics = {one["metric"] for one in results["summary"]}
    assert len(metrics) == 9
    for metric in metrics:
        shown = cells(page, f"table[data-metric={metric}]")
        assert list(shown) == results["detectors"]
        for detector in results["detectors"]:
            expected = [
                one
                for group in ("near", "far")
                for checkpoint in results["checkpoints"]
                for one in results["summary"]
                if [one[key] for key in ("checkpoint", "detector", "group", "metric")]
                == [checkpoint, detector, group, metric]
            ]
            assert len(expected) == len(shown[detector]) == 4
            for one, (value, text) in zip(expected, shown[detector], strict=True):
                assert float(value) == pytest.approx(100 * one["mean"], abs=1e-9)
                assert text.startswith(f"{100 * one['mean']:.2f} ± {100 * one['std']:.2f}")


def test_the_papers_table_is_that_of_the_results(page: Browser, results: dict[str, Any]) -> None:
    table = results["table"]
    for part, rows in (("tbody", table["rows"]), ("tfoot", [table["average"], table["best"]])):
        shown = cells(page, "#paper", part)
        assert list(shown) == [row["name"] for row in rows]
        for row in rows:
            for cell, (value, text) in zip(row["cells"], shown[row["name"]], strict=True):
                assert float(value) == pytest.approx(100 * cell["mean"], abs=1e-9)
                assert text.startswith(f"{100 * cell['mean']:.2f}")
                if cell["gain"] is not None:
                    star = "*" if cell["interval"] and cell["interval"]["low"] * cell["interval"]["high"] > 0 else ""
                    assert text.endswith(f"{round(100 * cell['gain'], 2) + 0.0:+.2f}{star}")
                    assert ("▲" in text, "▼" in text) == (cell["mark"] == "better", cell["mark"] == "worse")
    tiles = page.run("[...document.querySelectorAll('.tile b')].map((one) => one.textContent)")
    average = [100 * cell["mean"] for cell in table["average"]["cells"]]
    assert tiles == [f"{average[place]:.2f} → {average[place + 1]:.2f}" for place in (0, 2, 4)]


def test_a_click_or_a_key_on_a_heading_sorts_by_it(page: Browser, results: dict[str, Any]) -> None:
    by_near = {row["name"]: row["cells"][1]["mean"] for row in results["table"]["rows"]}
    column = "#paper thead tr:last-child th:nth-child(3)"
    page.click(f"{column} button")
    assert page.run(f"document.querySelector('{column}').getAttribute('aria-sort')") == "descending"
    assert page.run(NAMES) == sorted(by_near, key=lambda name: -by_near[name])
    page.press("Enter")
    assert page.run(f"document.querySelector('{column}').getAttribute('aria-sort')") == "ascending"
    assert page.run(NAMES) == sorted(by_near, key=lambda name: by_near[name])
    page.click("#paper thead tr:last-child th:first-child button")
    assert page.run(NAMES) == ["ebo", "knn", "knn:k=5", "mls", "msp", "vim"]
    assert page.run("document.querySelectorAll('#paper [aria-sort]').length") == 1
    assert page.run("document.querySelector('#paper tfoot th').textContent") == "average"
    page.run("document.querySelectorAll('details').forEach((one) => { one.open = true; })")
    page.click("table[data-metric=fpr95] thead tr:last-child th:nth-child(2) button")
    values = [float(row[0][0]) for row in cells(page, "table[data-metric=fpr95]").values()]
    assert values == sorted(values)  # lower is better there


def figures_of(done: Evaluation, detector: str) -> list[str]:
    """The AUROC of each OOD set and checkpoint, as the captions of the charts have it."""
    texts = []
    for one in done.results.ood:
        for checkpoint in done.results.checkpoints:
            spread = done.results.spread(checkpoint, detector, one["group"], "auroc")  # one set in each group
            assert spread
            texts.append(f"AUROC {100 * spread.mean:.2f} ± {100 * spread.std:.2f}")
    return texts


def test_one_detectors_charts_are_shown_at_a_time(page: Browser, done: Evaluation) -> None:
    best = done.results.best_detector("sio")
    assert page.run("document.getElementById('detector').selectedOptions[0].textContent") == best
    drawn = set()
    for place, detector in enumerate(done.results.detectors):
        page.run(
            f"(() => {{ const one = document.getElementById('detector'); one.value = '{place}';"
            " one.dispatchEvent(new Event('change')); })()"
        )
        text = page.run("document.getElementById('charts').innerText")
        assert re.findall(r"AUROC [\d.]+ ± [\d.]+", text) == figures_of(done, detector)
        assert page.run("document.querySelectorAll('#charts svg').length") == 2 * 3
        assert page.run("document.querySelectorAll('#charts polyline').length") == 2 * 4
        assert page.run("document.querySelector('#paper tr.shown th').textContent") == detector
        drawn.add(page.run("[...document.querySelectorAll('#charts svg')].map((one) => one.innerHTML).join()"))
    assert len(drawn) == 6


def test_a_click_on_a_method_goes_to_its_charts(page: Browser, done: Evaluation) -> None:
    page.click("#paper tbody tr[data-detector='2'] button")
    page.wait("document.getElementById('scores').getBoundingClientRect().top < innerHeight")
    assert page.run("document.activeElement.id") == "detector"
    assert page.run("document.getElementById('detector').value") == "2"
    assert f"AUROC {figures_of(done, 'ebo')[0].removeprefix('AUROC ')}" in page.run(CHARTS)


def test_methods_are_found_by_name(page: Browser) -> None:
    page.run("document.getElementById('find').focus()")
    page.type("KNN")
    assert page.run(SHOWN_NAMES) == ["knn", "knn:k=5"]
    assert page.run("document.getElementById('found').textContent") == "2 of 6 methods"


@pytest.mark.parametrize("dark", [False, True])
def test_it_fits_a_phone(page: Browser, dark: bool) -> None:
    page.resize(390, 844, dark)
    page.run("document.querySelectorAll('details').forEach((one) => { one.open = true; })")
    assert page.run("document.documentElement.scrollWidth") <= 390
    assert page.run("document.querySelector('.scroll').scrollWidth > document.querySelector('.scroll').clientWidth")
    page.run("document.querySelector('.scroll').scrollLeft = 200")
    left = page.run("document.querySelector('#paper tbody th').getBoundingClientRect().left")
    assert left == page.run("document.querySelector('.scroll').getBoundingClientRect().left")  # names stay in sight
    small = "[...document.querySelectorAll('#paper button')].filter((one) => one.getBoundingClientRect().height < 20)"
    assert page.run(f"{small}.length") == 0


def test_colours_follow_the_scheme(page: Browser) -> None:
    colours = set()
    for dark in (False, True):
        page.resize(1280, 900, dark)
        colours.add(page.run("getComputedStyle(document.body).backgroundColor"))
    assert colours == {"rgb(255, 255, 255)", "rgb(20, 24, 31)"}


def test_pictures_are_whole(page: Browser) -> None:
    sizes = "[...document.querySelectorAll('.pictures img')].map((one) => [one.naturalWidth, one.width])"
    assert page.run(sizes) == [[8, 96]] * 24


def test_gaps_and_hostile_names_do_no_harm(browser: Browser, done: Evaluation, tmp_path: Path) -> None:
    rows = [row for row in done.results.rows if (row.checkpoint, row.detector) not in {("sio", "ebo")}]
    scores = {key: value for key, value in done.scores.items() if (key[0], key[2]) != ("sio", "ebo")}
    hostile = replace(
        done.results,
        rows=[row for row in rows if row.detector != "mls"],
        skipped=[{"checkpoint": "sio", "run": "seed-0", "detector": "ebo", "reason": HOSTILE}],
        missing=[{"name": HOSTILE, "group": "far", "reason": "not here"}],
        chosen=[{"checkpoint": "sio", "run": "seed-0", "detector": "knn", "settings": {HOSTILE: HOSTILE}}],
        removed={HOSTILE: 3},
        id=done.results.id | {"source": HOSTILE, "classes": [HOSTILE] * 6},
        versions={HOSTILE: HOSTILE},
        command=HOSTILE,
        intervals=[
            {"detector": "knn", "group": HOSTILE, "baseline": "baseline", "checkpoint": "sio"}
            | {"difference": 0.1, "low": 0.05, "high": 0.2, "p": 0.01}
        ],
    )
    page = tmp_path / "report.html"
    few = {key: value for key, value in scores.items() if key[2] != "mls"}
    page.write_text(render_report(replace(done, results=hostile, scores=few)))
    browser.complaints.clear()
    browser.open(page.as_uri())
    for place in range(6):
        browser.run(f"showDetector('{place}')")
        text = browser.run("document.getElementById('charts').innerText")
        if place == 1:
            assert text == "mls suits none of these checkpoints."
        if place == 3:
            assert "gain +10.00, confidence interval +5.00 to +20.00, p = 0.01." in text
    browser.click("#paper thead tr:last-child th:nth-child(3) button")
    assert browser.run(NAMES)[-1] == "ebo"  # what has no figure comes last
    assert cells(browser, "#paper")["ebo"][1] == ["", "–"]
    assert browser.run("document.querySelectorAll('#owned').length") == 0
    assert browser.run("document.title") == f"OOD detection on {HOSTILE}"
    assert browser.run("document.querySelectorAll('script').length") == 1
    assert browser.complaints == []
