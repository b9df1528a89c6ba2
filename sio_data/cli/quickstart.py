"""sio-data quickstart."""

from pathlib import Path
from typing import Annotated

import typer

EXAMPLES = "Example: sio-data quickstart --out demo"


def command(out: Annotated[Path, typer.Option(help="Folder for everything.", metavar="FOLDER")] = Path("demo")) -> None:
    """Run the main job on embedded images: fit, generate, train twice, evaluate.

    Prints each command before it runs it. Interrupted and run again, it goes on.
    """
    from sio_data import quickstart

    typer.echo(f"\nopen {quickstart(out)}")


command.__name__ = "quickstart"
