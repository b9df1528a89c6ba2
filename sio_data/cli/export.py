"""sio-data export."""

from pathlib import Path
from typing import Annotated

import typer

from sio_data.cli.options import SetFolder

EXAMPLES = "Example: sio-data export demo/synthetic --format npy --out arrays"


def command(
    folder: SetFolder,
    format: Annotated[str, typer.Option(help="npy, folder or parquet.", metavar="FORMAT")],
    out: Annotated[Path, typer.Option(help="A new or empty folder.", metavar="FOLDER")],
) -> None:
    """Write a set in a form that another program reads.

    npy: images.npy and labels.npy. folder: a folder for each class, with the pictures as files. parquet: one table for
    load_dataset and others. Every hash is checked on the way; the folder appears when it is complete.
    """
    from sio_data import export

    done = export(folder, out, format=format)  # type: ignore[arg-type]  # checked there
    typer.echo(f"{done.samples} images in {done.folder}.")


command.__name__ = "export"
