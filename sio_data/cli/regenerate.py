"""sio-data regenerate."""

from pathlib import Path
from typing import Annotated

import typer

from sio_data.cli.options import Device, Sampling, SetFolder, Weights, read_pairs
from sio_data.errors import InputError

EXAMPLES = "Example: sio-data regenerate demo/synthetic 000000042 --weights demo/generator --out 42.png"


def command(
    folder: SetFolder,
    key: Annotated[str, typer.Argument(help="Of the sample, with or without leading zeros.", metavar="KEY")],
    out: Annotated[Path | None, typer.Option(help="Where to put the picture, a PNG file.", metavar="FILE")] = None,
    weights: Weights = None,
    sampling: Sampling = None,
    device: Device = None,
) -> None:
    """Make one image of a set again from its metadata, and compare it to the stored one."""
    from sio_data import regenerate
    from sio_data.files import write_bytes
    from sio_data.images import encode

    if out and out.exists():
        raise InputError(f"{out} is there already; name another file.")
    if out and not out.parent.is_dir():
        raise InputError(f"{out.parent}: no such folder.")
    made = regenerate(folder, key, weights=weights, sampling=read_pairs(sampling or [], "--sampling"), device=device)
    if out:
        write_bytes(out, encode(made.image[None], "png")[0])
    largest = int(made.difference.max())
    same = "identical to the stored image" if largest == 0 else f"a value differs by up to {largest} of 255"
    sample = made.sample
    typer.echo(f"sample {sample.key}, label {sample.label} ({made.class_name}), seed {made.seed}: {same}.")


command.__name__ = "regenerate"
