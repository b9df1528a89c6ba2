"""The files of an evaluation."""

from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

from sio_data.detection.report import render_report
from sio_data.detection.table_texts import to_csv, to_latex
from sio_data.detection.tables import paper_table
from sio_data.files import atomic_path, clear_if_full, json_text

if TYPE_CHECKING:
    from sio_data.detection.evaluation import Evaluation

REPORT = "report.html"
OUTPUT_FILES = ("results.json", "results.csv", "table.csv", "table.tex", REPORT)


def write_files(folder: Path, evaluation: "Evaluation") -> Path:
    """Write all files of an evaluation. If that fails, those of an earlier one are as they were.

    Args:
        folder: Where to; made if need be.
        evaluation: What was measured.

    Returns:
        The report.

    Raises:
        SioDataError: The disk is full.
    """
    results = evaluation.results
    table = paper_table(results)
    texts = (
        json_text(results.to_json() | {"table": table.to_json()}),
        results.to_csv(),
        to_csv(table),
        to_latex(table),
        render_report(evaluation),
    )
    then = "Free some, and evaluate again: what the networks gave is kept, and an earlier report there is as it was."
    with clear_if_full(folder, then), ExitStack() as stack:
        folder.mkdir(parents=True, exist_ok=True)
        # All are on the disk before any takes its place; the one that is opened first, results.json, does so last.
        for name, text in zip(OUTPUT_FILES, texts, strict=True):
            stack.enter_context(atomic_path(folder / name)).write_bytes(text.encode())
    return folder / REPORT
