"""sio-data evaluate."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from sio_data.cli.options import SOURCE_HELP, Device

if TYPE_CHECKING:
    from sio_data.detection.results import Results, Spread

EXAMPLES = (
    "Example: sio-data evaluate demo/baseline demo/sio --id digits --ood near:unknown-digits=digits-unknown "
    "--ood far:textures=textures --out demo/report"
)


def command(
    checkpoints: Annotated[list[str], typer.Argument(help="Folders made by train; compared to the first.")],
    id: Annotated[str, typer.Option(help=f"The known images: {SOURCE_HELP}", metavar="SOURCE")],
    ood: Annotated[list[str], typer.Option(help="Unknown images; repeat it.", metavar="near|far:NAME=SOURCE")],
    out: Annotated[Path, typer.Option(help="Folder of the report.", metavar="FOLDER")],
    detectors: Annotated[
        list[str] | None,
        typer.Option("--detector", help="A detector, like msp or knn:k=20; repeat it.", show_default="all"),
    ] = None,
    device: Device = None,
) -> None:
    """Measure detectors on checkpoints, and write results.json, results.csv and report.html."""
    from sio_data import evaluate

    options = {"detectors": detectors} if detectors else {}
    done = evaluate(checkpoints, out, id=id, ood=ood, device=device, **options)
    _print_table(done.results)
    typer.echo(f"report: {done.report}")


def _print_table(results: "Results") -> None:
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    table = Table(title="AUROC %, mean ± std over runs", title_justify="left")
    table.add_column("")
    for group in results.groups:
        for name in results.checkpoints:
            table.add_column(f"{group}\n{escape(name)}", justify="right")
    for detector in results.detectors:
        cells = []
        for group in results.groups:
            spreads = [results.spread(name, detector, group, "auroc") for name in results.checkpoints]
            cells += [_cell(spread, spreads[0]) for spread in spreads]
        table.add_row(escape(detector), *cells)
    console = Console(width=None if Console().is_terminal else 120)
    console.print(table)
    for name in results.checkpoints:
        spread = results.accuracy(name)
        console.print(
            f"ID accuracy of {escape(name)}: {100 * spread.mean:.2f} ± {100 * spread.std:.2f} %", highlight=False
        )


def _cell(value: "Spread", reference: "Spread") -> str:
    text = f"{100 * value.mean:.2f} ± {100 * value.std:.2f}"
    if value is reference:
        return text
    difference = round(100 * (value.mean - reference.mean), 2)
    colour = "green" if difference > 0 else "red" if difference < 0 else "default"
    return f"{text} [{colour}]{difference:+.2f}[/]"


command.__name__ = "evaluate"
