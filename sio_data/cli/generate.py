"""sio-data generate."""

from pathlib import Path
from typing import Annotated

import typer

from sio_data.cli.options import Device, read_pairs

EXAMPLES = (
    "Example: sio-data generate --generator diffusers --weights demo/generator --per-class 500 --sampling steps=50 "
    "--out demo/synthetic"
)


def command(
    generator: Annotated[str, typer.Option(help="Back end.", metavar="NAME")],
    weights: Annotated[
        str, typer.Option(help="What the back end takes; for diffusers a folder made by fit, say.", metavar="WEIGHTS")
    ],
    per_class: Annotated[int, typer.Option(help="Images of each class.")],
    out: Annotated[Path, typer.Option(help="Folder of the set.", metavar="FOLDER")],
    classes: Annotated[
        list[str] | None,
        typer.Option("--class", help="A class of the set, by name; repeat it.", show_default="all", metavar="NAME"),
    ] = None,
    image_size: Annotated[
        int | None, typer.Option(help="Height and width.", show_default="the generator's", metavar="PIXELS")
    ] = None,
    sampling: Annotated[
        list[str] | None, typer.Option(help="An option of the back end; repeat it.", metavar="KEY=VALUE")
    ] = None,
    seed: Annotated[int, typer.Option(help="What all seeds of samples come from.")] = 0,
    image_format: Annotated[str, typer.Option(help="png, webp (both lossless) or jpg.")] = "png",
    shard_size: Annotated[int, typer.Option(help="Samples in a shard.")] = 1000,
    batch_size: Annotated[int, typer.Option(help="Samples made at once.")] = 100,
    device: Device = None,
) -> None:
    """Make a class-conditional synthetic set as WebDataset shards.

    Killed at any moment and run again, it ends in the same bytes. The set has a manifest, a card and a preview, and
    opens with load_dataset(FOLDER).
    """
    from sio_data import generate

    done = generate(
        generator,
        weights,
        out,
        per_class=per_class,
        classes=classes or None,
        image_size=image_size,
        sampling=read_pairs(sampling or [], "--sampling"),
        seed=seed,
        image_format=image_format,
        shard_size=shard_size,
        batch_size=batch_size,
        device=device,
    )
    samples = done.set.manifest.recipe.samples
    if done.made:
        typer.echo(f"{samples} images in {out} ({done.made} made now); look at {out / 'preview.png'}")
    else:
        typer.echo(f"{out} is complete: {samples} images, all checked. Nothing to do.")


command.__name__ = "generate"
