"""sio-data train."""

from pathlib import Path
from typing import Annotated

import typer

from sio_data.cli.options import SOURCE_HELP, Device, ImageSize, read_numbers

EXAMPLES = "Example: sio-data train --real digits --synthetic demo/synthetic --alpha 0.8 --out demo/sio"


def command(
    real: Annotated[str, typer.Option(help=SOURCE_HELP, metavar="SOURCE")],
    out: Annotated[Path, typer.Option(help="Folder of the runs.", metavar="FOLDER")],
    synthetic: Annotated[str | None, typer.Option(help="A synthetic set, or any source.", metavar="SOURCE")] = None,
    alpha: Annotated[
        float | None, typer.Option(help="Weight of the real loss, in (0, 1].", show_default="0.8 with --synthetic")
    ] = None,
    mix: Annotated[str, typer.Option(help="How alpha is reached: batch (share of the batch) or loss.")] = "batch",
    network: Annotated[str, typer.Option(help="Network.")] = "convnet",
    epochs: Annotated[int, typer.Option(help="Passes over the real images.")] = 60,
    batch_size: Annotated[int, typer.Option(help="Images in each update.")] = 128,
    learning_rate: Annotated[float, typer.Option(help="Of SGD at the start; cosine.")] = 0.1,
    momentum: Annotated[float, typer.Option(help="Of SGD.")] = 0.9,
    weight_decay: Annotated[float, typer.Option(help="Of SGD.")] = 5e-4,
    augmentation: Annotated[str, typer.Option(help="none, crop or crop-flip.")] = "crop",
    keep: Annotated[str, typer.Option(help="Weights to keep: last, or best by validation accuracy.")] = "last",
    image_size: ImageSize = None,
    seeds: Annotated[str, typer.Option(help="One run each.")] = "0,1,2",
    device: Device = None,
) -> None:
    """Train a classifier for each seed; with --synthetic, under the SIO objective.

    Each run is a checkpoint of its own: FOLDER/seed-0 and so on. Runs that are there are left alone.
    """
    from sio_data import train

    runs = train(
        real,
        out,
        synthetic=synthetic,
        alpha=alpha,
        mix=mix,  # type: ignore[arg-type]  # checked by the function
        network=network,
        epochs=epochs,
        batch_size=batch_size,
        learning_rate=learning_rate,
        momentum=momentum,
        weight_decay=weight_decay,
        augmentation=augmentation,
        keep=keep,  # type: ignore[arg-type]  # checked by the function
        image_size=image_size,
        seeds=read_numbers(seeds, "--seeds") or [],
        device=device,
    )
    for one in runs:
        typer.echo(f"{one.folder}: val accuracy {one.val_accuracy:.2%}{'' if one.made else ' (was there)'}")


command.__name__ = "train"
