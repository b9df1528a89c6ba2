"""sio-data import."""

from typing import Annotated

import typer

from sio_data.cli.options import ImageSize

EXAMPLES = (
    "Example: sio-data import 1m.npz --class cifar10 --licence mit --out edm-1m\n\n"
    "SIO's pair of files: sio-data import images.npy labels.npy --class cifar10 --out sio\n\n"
    "A folder of class folders: sio-data import pictures/ --image-size 64 --out pictures-64\n\n"
    "WebDataset shards: sio-data import shards/*.tar --out shards-imported"
)


def command(
    sources: Annotated[
        list[str],
        typer.Argument(
            help="Images and labels: a folder with images.npy and labels.npy, or these two; .npz archives (several are "
            "parts of one); a folder of class folders with pictures; WebDataset .tar files, or a folder of them.",
            metavar="SOURCE...",
        ),
    ],
    out: Annotated[str, typer.Option(help="Folder of the set, or a URL like s3://…", metavar="FOLDER")],
    classes: Annotated[
        list[str] | None,
        typer.Option(
            "--class",
            help="What the labels 0, 1, … stand for, or a group: cifar10, cifar100, imagenet; repeat it.",
            show_default="the source's names, or 0, 1, …",
            metavar="NAME",
        ),
    ] = None,
    image_size: ImageSize = None,
    label_key: Annotated[
        str | None,
        typer.Option(
            help="Member of each sample's JSON that holds its label.", show_default="its .cls or .txt", metavar="NAME"
        ),
    ] = None,
    licence: Annotated[
        str,
        typer.Option(help="Licence of the images, like cc-by-4.0; corrects that of a set that is there.", metavar="ID"),
    ] = "unknown",
    citation: Annotated[str, typer.Option(help="How to cite them; corrects, too.", metavar="TEXT")] = "",
    seed: Annotated[int, typer.Option(help="Of the order of the images.")] = 0,
    image_format: Annotated[str, typer.Option(help="png, webp (both lossless) or jpg.")] = "png",
    shard_size: Annotated[int, typer.Option(help="Samples in a shard.")] = 1000,
) -> None:
    """Turn images that you have into a set: arrays, archives, class folders or WebDataset shards.

    All of it is checked before anything is written, and nothing is unpickled. The images are put in an order in which
    each shard holds all classes in proportion; each tells where it came from. Killed at any moment and run again, it
    ends in the same bytes.

    Pictures, and what is compressed, are unpacked into a scratch file on the set's disk, 3 bytes for each pixel: a
    million images of 64x64 need 12 GB there beside the set while it is made.
    """
    from sio_data import import_set

    done = import_set(
        sources,
        out,
        classes=classes or None,
        image_size=image_size,
        label_key=label_key,
        licence=licence,
        citation=citation,
        seed=seed,
        image_format=image_format,
        shard_size=shard_size,
    )
    recipe = done.compilation
    if done.made:
        typer.echo(f"{recipe.samples} images in {out} ({done.made} imported now); look at {out}/preview.png")
    else:
        what = "Its licence and citation are those asked for now." if done.corrected else "Nothing to do."
        typer.echo(f"{out} is complete: {recipe.samples} images, all checked. {what}")
    if not done.named:
        typer.echo(
            f"warning: the source does not name its classes, so that they are called 0 to {recipe.class_names[-1]}. "
            "Training matches classes by name: import again with --class.",
            err=True,
        )


command.__name__ = "import"
