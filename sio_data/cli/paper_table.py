"""The paper's table in the terminal."""

from collections.abc import Iterator

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from sio_data.detection.results import Results
from sio_data.detection.table_texts import (
    STAR,
    describe_gaps,
    describe_pairs,
    describe_ranking,
    describe_sets,
    measure_title,
    percent_gain,
)
from sio_data.detection.tables import Cell, PaperTable, TableRow, paper_table

_BOUNDLESS = 10_000
_COLOURS = {"better": "green", "worse": "red"}


def print_table(results: Results, console: Console | None = None) -> None:
    """Print the table, as wide as the terminal allows: with spreads, without them, or a table for each measure."""
    table = paper_table(results)
    console = console or Console(width=None if Console().is_terminal else 160)
    measures = list(table.measures)
    layouts = [
        [_lay_out(table, measures, spreads=True)],
        [_lay_out(table, measures, spreads=False)],
        [_lay_out(table, [measure], spreads=False) for measure in measures],
    ]
    boundless = console.options.update(width=_BOUNDLESS)
    fitting = (
        parts
        for parts in layouts
        if all(console.measure(part, options=boundless).maximum <= console.width for part in parts)
    )
    for part in next(fitting, layouts[-1]):
        console.print(part)
    for line in _notes(results, table):
        console.print(escape(line), highlight=False, soft_wrap=True)


def _notes(results: Results, table: PaperTable) -> Iterator[str]:
    """Tell what stands in the table, and what does not."""
    if any(cell and cell.significant for row in table.rows for cell in row.cells):
        yield f"* {STAR}"
    if ranking := describe_ranking(table):
        yield f"average, best and underlined: {ranking}"
    yield describe_sets(table)
    yield from describe_pairs(table)
    yield from (f"{name} has no counterpart; the report has its figures." for name in table.left_out)
    yield from (f"{line}; the report says why." for line in describe_gaps(table))
    yield from (f"{one['name']} ({one['group']}) is missing: {one['reason']}" for one in results.missing)


def _lay_out(table: PaperTable, measures: list[str], *, spreads: bool) -> Table:
    what = "mean ± std over runs" if spreads else "mean over runs"
    laid = Table(title=f"AUROC and ID accuracy, %, {what}", title_justify="left")
    laid.add_column("method", no_wrap=True)
    places = [place for place, (measure, _) in enumerate(table.columns) if measure in measures]
    for place in places:
        measure, side = table.columns[place]
        laid.add_column(f"{measure_title(measure)}\n{escape(side)}", justify="right", no_wrap=True)

    def add(row: TableRow) -> None:
        laid.add_row(escape(row.name), *(_cell(row.cells[place], spreads) for place in places))

    for row in table.rows:
        add(row)
    laid.add_section()
    add(table.average)
    add(table.best)
    return laid


def _cell(cell: Cell | None, spreads: bool) -> str:
    if cell is None:
        return "–"
    if cell.repeated:
        return "″"
    text = f"{100 * cell.mean:.2f}"
    text = f"[bold underline]{text}[/]" if cell.best else text
    text += f" ± {100 * cell.std:.2f}" if spreads and cell.std is not None else ""
    if cell.gain is None:
        return text
    star = "*" if cell.significant else ""
    return f"{text} [{_COLOURS.get(cell.mark, 'default')}]{percent_gain(cell.gain)}{star}[/]"
