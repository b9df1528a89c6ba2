"""sio-data measure."""

from typing import TYPE_CHECKING, Annotated

import typer

from sio_data.cli.options import SOURCE_HELP, Device, ImageSize, SetFolder
from sio_data.texts import printable

if TYPE_CHECKING:
    from sio_data.quality.measures import Measures

EXAMPLES = "Example: sio-data measure demo/synthetic --real digits --classifier demo/baseline/seed-0"


def command(
    folder: SetFolder,
    real: Annotated[str, typer.Option(help=f"The real images: {SOURCE_HELP}", metavar="SOURCE")],
    features: Annotated[
        str | None,
        typer.Option(
            help="Network to compare images by: a checkpoint, or transformers:NAME.",
            show_default="the classifier",
            metavar="NETWORK",
        ),
    ] = None,
    classifier: Annotated[
        str | None, typer.Option(help="Checkpoint that judges the labels.", show_default="none", metavar="CHECKPOINT")
    ] = None,
    image_size: ImageSize = None,
    ratio: Annotated[
        float | None,
        typer.Option(
            help="A near-copy's distance to the nearest real image, over the mean to the 50 nearest.",
            show_default="0.5, or what 1 % of real images reach",
        ),
    ] = None,
    bits: Annotated[int, typer.Option(help="How many of 64 hash bits of a near-copy may differ.")] = 4,
    accuracy_score: Annotated[
        bool, typer.Option("--accuracy-score", help="Train on the set alone and judge on real test images; slow.")
    ] = False,
    epochs: Annotated[int, typer.Option(help="Of --accuracy-score.")] = 60,
    seed: Annotated[int, typer.Option(help="Of random subsets and of --accuracy-score.")] = 0,
    device: Device = None,
    out: Annotated[
        str | None,
        typer.Option(help="JSON file of the result.", show_default="measures.json in the set", metavar="FILE"),
    ] = None,
) -> None:
    """Compare a set with real images: distances, near-copies, duplicates, labels; the card shows the result.

    near-copies.png, beside the result, shows the images nearest to real ones. Look at it.
    """
    from sio_data import measure

    measures = measure(
        folder,
        real=real,
        features=features,
        classifier=classifier,
        image_size=image_size,
        ratio=ratio,
        bits=bits,
        accuracy_score=accuracy_score,
        epochs=epochs,
        seed=seed,
        device=device,
        out=out,
    )
    _print_table(measures)


def _print_table(measures: "Measures") -> None:
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    table = Table(show_header=False)
    for name, value in measures.rows():
        table.add_row(escape(name), escape(printable(value)), style="bold red" if name.isupper() else None)
    Console(width=None if Console().is_terminal else 160).print(table)


command.__name__ = "measure"
