"""sio-data verify."""

from typing import Annotated

import typer

from sio_data.cli.options import Device, Sampling, SetFolder, Weights, read_pairs
from sio_data.errors import SioDataError

EXAMPLES = "Example: sio-data verify demo/synthetic --regenerate 10 --weights demo/generator"


def command(
    folder: SetFolder,
    regenerate: Annotated[int, typer.Option(help="How many samples to make again and compare.")] = 0,
    weights: Weights = None,
    sampling: Sampling = None,
    device: Device = None,
) -> None:
    """Check a set, or a bundle of sets, and name every fault; nothing is changed.

    Checked are the manifest and the card, and of every shard its hash, the number and order of its samples, their
    labels, seeds and images. Ends with 1 if anything is wrong.
    """
    from sio_data import verify
    from sio_data.bundles import is_bundle

    found = verify(
        folder,
        regenerate=regenerate,
        weights=weights,
        sampling=read_pairs(sampling or [], "--sampling"),
        device=device,
    )
    for fault in found.faults:
        typer.echo(f"{fault.path}: {fault.what}")
    if found.comparison:
        typer.echo(
            f"{found.comparison.samples} samples made again: {found.comparison.identical} identical, "
            f"largest difference of a value {found.comparison.largest} of 255."
        )
    if found.comparison and found.comparison.different:
        raise SioDataError(
            f"every file of {folder} is as it was made, but here its generator draws other pictures. "
            "Other versions of packages, or another kind of device?"
        )
    if found.faults:
        count = len(found.faults)
        mend = f"Mend it with: sio-data repair {folder}"
        if is_bundle(found.folder):
            mend = f"Mend each set with sio-data repair, then the card with: sio-data bundle {folder}"
        raise SioDataError(f"{folder}: {count} fault{'s' if count > 1 else ''}. {mend}")
    typer.echo(f"{folder} is sound: {found.samples} images, all checked.")


command.__name__ = "verify"
