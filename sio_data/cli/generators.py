"""sio-data generators."""

import typer

EXAMPLES = "Example: sio-data generators"


def command() -> None:
    """List the generator back ends of all installed packages, with their weights, classes, sizes and licences."""
    from rich.console import Console
    from rich.table import Table

    from sio_data.errors import SioDataError
    from sio_data.generator import backend_names, find_backend

    console = Console(highlight=False, markup=False)
    for name in backend_names():
        table = Table.grid(padding=(0, 2), pad_edge=True)
        try:
            about = find_backend(name).about
        except SioDataError as error:
            table.add_row("", "cannot be used", str(error))
        else:
            options = ", ".join(f"{option}={kind.default}" for option, kind in about.options.items())
            for title, text in (
                ("weights", about.weights),
                ("classes", about.classes),
                ("sizes", about.sizes),
                ("licence", about.licence),
                ("sampling", options or "no options"),
            ):
                table.add_row("", title, text)
        console.print(name, style="bold")
        console.print(table)
    typer.echo("\nMake a set with: sio-data generate --generator NAME --weights WEIGHTS --per-class N --out FOLDER")


command.__name__ = "generators"
