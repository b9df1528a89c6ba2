"""sio-data detectors."""

import typer

EXAMPLES = "Example: sio-data detectors"


def command() -> None:
    """List the detectors: what they compute, what they are fitted on, their parameters and what a search tries."""
    from rich.console import Console
    from rich.table import Table

    from sio_data.detection import DETECTORS
    from sio_data.detection.detectors.description import describe

    console = Console(highlight=False, markup=False)
    for name, detector in sorted(DETECTORS.items()):
        about = describe(detector)
        table = Table.grid(padding=(0, 2), pad_edge=True)
        for title, text in (
            ("", about.summary),
            ("fitted on", ", ".join(about.needs) or "nothing"),
            ("parameters", ", ".join(f"{field}={value}" for field, value in about.parameters.items()) or "none"),
            ("search tries", about.tried or "nothing"),
        ):
            table.add_row("", title, text)
        console.print(name, style="bold")
        console.print(table)
    typer.echo("\nUse one with: sio-data evaluate CHECKPOINT --detector NAME:PARAMETER=VALUE --id … --ood … --out …")


command.__name__ = "detectors"
