"""The paper's table as LaTeX and CSV."""

import csv
import io
import re

from sio_data.detection.tables import ACCURACY, Cell, PaperTable, TableRow

_SPECIAL = {
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    **{sign: f"\\{sign}" for sign in "&%$#_{}"},
}


STAR = "the confidence interval of the gain leaves out zero; it is about the images tested, not the seeds trained"


def measure_title(measure: str) -> str:
    """Give a measure as a heading."""
    return "ID accuracy" if measure == ACCURACY else f"{measure}-OOD"


def describe_pairs(table: PaperTable) -> list[str]:
    """Tell in a line each what was compared."""
    lines = []
    for pair in table.pairs:
        if pair.synthetic is None:
            lines.append(f"compared to {pair.checkpoints[0]}" if len(pair.checkpoints) > 1 else pair.checkpoints[0])
        else:
            alpha = "" if pair.alpha is None else f", alpha {pair.alpha:g}"
            lines.append(f"{' → '.join(pair.checkpoints)}: method {pair.method}, synthetic {pair.synthetic}{alpha}")
    return lines


def describe_sets(table: PaperTable) -> str:
    """Tell which OOD sets the figures are means over, and which are missing."""
    parts = [f"{group}: {', '.join(names)}" for group, names in table.sets.items()]
    missing = [f"{name} ({group})" for group, names in table.missing.items() for name in names]
    return "; ".join([*parts, f"missing: {', '.join(missing)}"] if missing else parts)


def describe_ranking(table: PaperTable) -> str:
    """Tell among which methods the averages and the best figures are; empty if no method has a gap."""
    measures: dict[int, list[str]] = {}
    for measure in table.measures:
        if (count := table.whole_rows(measure)) < len(table.rows):
            measures.setdefault(count, []).append(measure_title(measure))
    return "; ".join(
        f"{' and '.join(titles)} among the {_count(number, 'method')} measured on every side"
        for number, titles in measures.items()
    )


def describe_gaps(table: PaperTable) -> list[str]:
    """Tell in a line each which detectors were not measured on which runs."""
    lines = []
    for gap in table.gaps:
        where = f"{gap.checkpoint} ({', '.join(gap.without)})" if gap.measured else gap.checkpoint
        over = f", whose figures there are over {', '.join(gap.measured)} only" if gap.measured else ""
        lines.append(f"left out on {where}: {', '.join(gap.detectors)}{over}")
    return lines


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def to_latex(table: PaperTable) -> str:
    r"""Write the table as a LaTeX `tabular` that needs the package booktabs.

    Figures are in percent. The better side of a gain is bold, the highest figure of a column underlined; a star says
    that the confidence interval of the gain leaves out zero.
    """
    sides = len(table.sides)
    starts = [2 + place * sides for place in range(len(table.measures))]
    spans = [f"\\multicolumn{{{sides}}}{{c}}{{{_escape(measure_title(measure))}}}" for measure in table.measures]
    rules = [f"\\cmidrule(lr){{{start}-{start + sides - 1}}}" for start in starts]
    ranking = describe_ranking(table)
    about = [
        "Needs \\usepackage{booktabs}. AUROC and ID accuracy in percent; mean and standard deviation over runs.",
        "Bold: better than the first. Underlined: highest of its column.",
        f"*: {STAR}.",
        *([f"Average, best and underlined: {ranking}."] if ranking else []),
        describe_sets(table),
        *describe_pairs(table),
        *describe_gaps(table),
    ]
    return "\n".join(
        [
            *(f"% {' '.join(line.split())}" for line in about),
            f"\\begin{{tabular}}{{l{'r' * len(table.columns)}}}",
            "\\toprule",
            f" & {' & '.join(spans)} \\\\",
            " ".join(rules),
            _line("method", [_escape(side) for _, side in table.columns]),
            "\\midrule",
            *(_latex_row(row) for row in table.rows),
            "\\midrule",
            *(_latex_row(row) for row in (table.average, table.best)),
            "\\bottomrule",
            "\\end{tabular}",
            "",
        ]
    )


def _latex_row(row: TableRow) -> str:
    return _line(_escape(row.name), [_latex_cell(cell) for cell in row.cells])


def _line(name: str, cells: list[str]) -> str:
    return f"{name} & {' & '.join(cells)} \\\\"


def _latex_cell(cell: Cell | None) -> str:
    if cell is None:
        return "--"
    if cell.repeated:
        return "''"
    text = f"{100 * cell.mean:.2f}"
    text = f"\\underline{{{text}}}" if cell.best else text
    text = f"\\textbf{{{text}}}" if cell.mark == "better" else text
    text += "" if cell.std is None else f"{{\\scriptsize$\\pm${100 * cell.std:.2f}}}"
    star = "^{*}" if cell.significant else ""
    return text if cell.gain is None else f"{text} {{\\scriptsize${percent_gain(cell.gain)}{star}$}}"


def percent_gain(gain: float) -> str:
    """Write a gain in percent, with its sign; what rounds to nothing has a plus."""
    return f"{round(100 * gain, 2) + 0.0:+.2f}"


def _escape(text: str) -> str:
    return re.sub(r"[\\~^<>&%$#_{}]", lambda sign: _SPECIAL[sign[0]], " ".join(text.split()))


def to_csv(table: PaperTable) -> str:
    """Write the table as CSV: for each measure and side the mean, the standard deviation and the gain, in percent.

    The columns behind them name the OOD sets that count and those that are missing, and what a row leaves out.
    """
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    parts = ("", " std", " gain")
    figures = [f"{measure} {side}{part}" for measure, side in table.columns for part in parts]
    sets = {f"{group}_sets": ", ".join(names) for group, names in table.sets.items()}
    sets["missing"] = ", ".join(f"{name} ({group})" for group, names in table.missing.items() for name in names)
    writer.writerow(["method", "detector", *figures, *sets, "note"])
    for row in (*table.rows, table.average, table.best):
        note = _row_note(table, row) if row.detector else describe_ranking(table)
        writer.writerow(
            [row.name, row.detector, *(one for cell in row.cells for one in _csv_cell(cell)), *sets.values(), note]
        )
    return buffer.getvalue()


def _row_note(table: PaperTable, row: TableRow) -> str:
    """Name the runs that are not in a row's figures."""
    cells = zip(table.columns, row.cells, strict=True)
    return "; ".join(
        dict.fromkeys(
            f"without {', '.join(cell.without)} in {side}" for (_, side), cell in cells if cell and cell.without
        )
    )


def _csv_cell(cell: Cell | None) -> list[str]:
    if cell is None:
        return ["", "", ""]
    return ["" if value is None else f"{100 * value:.4f}" for value in (cell.mean, cell.std, cell.gain)]
