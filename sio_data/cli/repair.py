"""sio-data repair."""

import typer

from sio_data.cli.options import Device, Sampling, SetFolder, Weights, read_pairs

EXAMPLES = "Example: sio-data repair demo/synthetic --weights demo/generator"


def command(
    folder: SetFolder,
    weights: Weights = None,
    sampling: Sampling = None,
    device: Device = None,
) -> None:
    """Make again exactly the shards of a set that are missing or not as they were made.

    An edited manifest is rebuilt, doubled shards are deleted, sound shards are not touched. Killed and run again, it
    goes on.
    """
    from sio_data import repair

    done = repair(folder, weights=weights, sampling=read_pairs(sampling or [], "--sampling"), device=device)
    for fault in done.faults:
        typer.echo(f"{fault.path}: {fault.what}")
    for verb, paths in (("made again", done.remade), ("deleted, a copy", done.removed)):
        for path in paths:
            typer.echo(f"{path}: {verb}.")
    mended = done.faults or done.remade or done.removed
    typer.echo(f"{folder} is {'mended and ' if mended else ''}sound{'' if mended else '. Nothing to do'}.")


command.__name__ = "repair"
