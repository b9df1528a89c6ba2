"""sio-data preview."""

from pathlib import Path
from typing import Annotated

import typer

from sio_data.cli.options import ImageSize
from sio_data.texts import printable

EXAMPLES = "Example: sio-data preview demo/synthetic --class zero --class one --out digits.png"


def command(
    source: Annotated[str, typer.Argument(help="Folder or URL of a set, or any source.", metavar="SET")],
    out: Annotated[
        Path | None,
        typer.Option(help="Where to put the picture, a PNG file.", show_default="NAME-preview.png", metavar="FILE"),
    ] = None,
    classes: Annotated[
        list[str] | None,
        typer.Option("--class", help="A class to show; repeat it.", show_default="the first ones", metavar="NAME"),
    ] = None,
    columns: Annotated[int, typer.Option(help="Images of each class.")] = 12,
    rows: Annotated[int, typer.Option(help="The most classes to show where none are named.")] = 20,
    image_size: ImageSize = None,
) -> None:
    """Draw a picture of a set, or of any other source: one row a class.

    A set of any size takes little time and memory: shards are read until there is enough.
    """
    from sio_data import draw_preview

    if out is None:
        out = Path(f"{Path(source.partition('#')[0].rstrip('/')).name}-preview.png")
    done = draw_preview(source, out, classes=classes, columns=columns, rows=rows, image_size=image_size)
    of = f" of {len(done.class_names):,} of {done.classes:,} classes" if done.classes else ""
    typer.echo(f"{printable(str(done.path))}: {done.images:,} images{of}")


command.__name__ = "preview"
