"""sio-data bundle."""

from typing import Annotated

import typer

EXAMPLES = "Example: sio-data bundle sets --default biggan"


def command(
    folder: Annotated[str, typer.Argument(help="Folder of sets, or a URL like s3://…", metavar="FOLDER")],
    default: Annotated[
        str | None,
        typer.Option(
            help="What load_dataset takes if none is named.", show_default="as before, or the first", metavar="NAME"
        ),
    ] = None,
) -> None:
    """Make a folder of complete sets one data set: each set a configuration, or a split of one.

    FOLDER/CONFIGURATION/ is a set, or each FOLDER/CONFIGURATION/SPLIT/ is one. Only FOLDER/README.md is written; run it
    again after a set was added.
    """
    from sio_data import bundle

    made = bundle(folder, default=default)
    for part in made.parts:
        chosen = ", default" if part.config == made.default else ""
        typer.echo(f"{part.path}: {part.set.manifest.recipe.samples} images ({part.config}{chosen}, {part.split}).")


command.__name__ = "bundle"
