"""sio-data generators."""

import typer

EXAMPLES = "Example: sio-data generators"


def command() -> None:
    """List the generator back ends of all installed packages, with their weights, classes, sizes and licences."""
    from rich.console import Console
    from rich.table import Table

    from sio_data.errors import SioDataError
    from sio_data.generator import backend_names, find_backend

    table = Table(
        "back end", "weights", "classes", "sizes", "licence of the weights", "sampling options", show_lines=True
    )
    for name in backend_names():
        try:
            about = find_backend(name).about
        except SioDataError as error:
            table.add_row(name, str(error))
            continue
        options = "\n".join(f"{option}={kind.default}" for option, kind in about.options.items())
        table.add_row(name, about.weights, about.classes, about.sizes, about.licence, options)
    Console(highlight=False, markup=False).print(table)
    typer.echo("Make a set with: sio-data generate --generator NAME --weights WEIGHTS --per-class N --out FOLDER")


command.__name__ = "generators"
