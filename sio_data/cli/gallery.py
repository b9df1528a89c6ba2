"""sio-data gallery."""

from typing import Annotated

import typer

from sio_data.cli.options import SetFolder
from sio_data.texts import printable

EXAMPLES = "Example: sio-data gallery demo/synthetic"


def command(
    folder: SetFolder,
    out: Annotated[
        str | None,
        typer.Option(help="Where to put it.", show_default="the set's own folder", metavar="FOLDER"),
    ] = None,
    per_class: Annotated[int, typer.Option(help="The most images of each class to show.")] = 100,
) -> None:
    """Make a page to browse a set with: gallery.html, and its pictures in thumbnails/.

    It needs no server and asks no host for anything: open the file, or put the folder anywhere. `load_dataset` reads
    the set as before. Run again, it is made anew.
    """
    from sio_data import build_gallery

    done = build_gallery(folder, out, per_class=per_class)
    typer.echo(f"{printable(str(done.page))}: {done.shown:,} of {done.samples:,} images on {done.sheets:,} sheets")


command.__name__ = "gallery"
