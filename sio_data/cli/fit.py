"""sio-data fit."""

from pathlib import Path
from typing import Annotated

import typer

from sio_data.cli.options import SOURCE_HELP, Device, ImageSize, read_numbers

EXAMPLES = "Example: sio-data fit digits --out demo/generator"


def command(
    source: Annotated[str, typer.Argument(help=SOURCE_HELP)],
    out: Annotated[Path, typer.Option(help="Folder of the generator.", metavar="FOLDER")],
    steps: Annotated[int, typer.Option(help="Updates.")] = 1200,
    batch_size: Annotated[int, typer.Option(help="Images in each.")] = 64,
    learning_rate: Annotated[float, typer.Option(help="Highest rate of AdamW.")] = 1e-3,
    channels: Annotated[
        str | None, typer.Option(help="Channels of each level.", show_default="32,64 up to 16 pixels, else 64,128,256")
    ] = None,
    image_size: ImageSize = None,
    seed: Annotated[int, typer.Option(help="Of weights and batches.")] = 0,
    licence: Annotated[str | None, typer.Option(help="Licence of the weights.", show_default="the source's")] = None,
    save_every: Annotated[int, typer.Option(help="Steps between saved states.")] = 100,
    device: Device = None,
) -> None:
    """Train a small class-conditional diffusion model on a source's training split.

    Interrupted and run again, it goes on from the last saved step. The result is a diffusers folder with a card and a
    picture of samples.
    """
    from sio_data import fit

    folder = fit(
        source,
        out,
        steps=steps,
        batch_size=batch_size,
        learning_rate=learning_rate,
        channels=read_numbers(channels, "--channels"),
        image_size=image_size,
        seed=seed,
        licence=licence,
        save_every=save_every,
        device=device,
    )
    typer.echo(f"generator in {folder}; look at {folder / 'samples.png'}")


command.__name__ = "fit"
