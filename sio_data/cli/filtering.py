"""sio-data filter."""

from typing import Annotated

import typer

from sio_data.cli.options import SOURCE_HELP, Device, SetFolder

EXAMPLES = (
    "Example: sio-data filter demo/synthetic --classifier demo/baseline/seed-0 --keep 0.2 --drop disagreeing "
    "--drop near-copies --real digits --out demo/best"
)


def command(
    folder: SetFolder,
    out: Annotated[str, typer.Option(help="Folder or URL of the new set.", metavar="FOLDER")],
    classifier: Annotated[
        str | None, typer.Option(help="A checkpoint that judges the labels.", metavar="CHECKPOINT")
    ] = None,
    keep: Annotated[
        float | None,
        typer.Option(help="Share of each class to keep, of what is not dropped: the surest.", metavar="SHARE"),
    ] = None,
    drop: Annotated[
        list[str] | None,
        typer.Option(help="disagreeing, near-copies or repeats; repeat the option.", metavar="WHAT"),
    ] = None,
    real: Annotated[
        str | None, typer.Option(help=f"The images that near-copies are copies of: {SOURCE_HELP}", metavar="SOURCE")
    ] = None,
    features: Annotated[
        str | None,
        typer.Option(
            help="In whose features near-copies are looked for: a checkpoint, or transformers:NAME.",
            show_default="the classifier's",
            metavar="NETWORK",
        ),
    ] = None,
    ratio: Annotated[
        float | None,
        typer.Option(
            help="A near-copy's distance to the nearest real image, over the mean to the 50 nearest.",
            show_default="0.5, or what 1 % of real images reach",
        ),
    ] = None,
    bits: Annotated[int, typer.Option(help="Bits of the perceptual hash in which a near-copy differs, of 64.")] = 4,
    device: Device = None,
) -> None:
    """Write a new set of the better images of a set.

    Kept are those whose labels a classifier is surest of, or all but those that it disagrees with, that are near-copies
    of real training images, or that repeat another one. The new set's dropped.csv says why each of the others was left
    out, its card how many.
    """
    from sio_data import filter_set

    done = filter_set(
        folder,
        out,
        classifier=classifier,
        keep=keep,
        drop=drop or (),
        real=real,
        features=features,
        ratio=ratio,
        bits=bits,
        device=device,
    )
    for reason, count in done.dropped.items():
        typer.echo(f"dropped, {reason}: {count:,}")
    typer.echo(f"{done.folder} is there: {done.kept:,} images. {done.folder}/dropped.csv lists the others.")


command.__name__ = "filter"
