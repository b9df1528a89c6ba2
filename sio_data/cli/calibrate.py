"""sio-data calibrate."""

from typing import Annotated

import typer

from sio_data.cli.options import SOURCE_HELP, Device

EXAMPLES = "Example: sio-data calibrate demo/sio/seed-0 --id digits --detector knn:k=20 --tpr 0.95"


def command(
    checkpoint: Annotated[str, typer.Argument(help="Folder of a checkpoint, or one made by train.")],
    id: Annotated[str, typer.Option(help=f"The known images: {SOURCE_HELP}", metavar="SOURCE")],
    detector: Annotated[str, typer.Option(help="A detector, like ebo or knn:k=20; see sio-data detectors.")] = "ebo",
    tpr: Annotated[float, typer.Option(help="Share of the validation images that are to count as known.")] = 0.95,
    storage: Annotated[
        str, typer.Option(help="memory, or mapped: images from a file in the cache.", metavar="KIND")
    ] = "memory",
    device: Device = None,
) -> None:
    """Give a checkpoint a detector of its own, fitted, with a threshold; score uses it."""
    from sio_data import calibrate
    from sio_data.runs import find_runs

    done = calibrate(checkpoint, id=id, detector=detector, tpr=tpr, storage=storage, device=device)  # type: ignore[arg-type]
    for run, one in zip(find_runs(checkpoint), done, strict=True):
        typer.echo(
            f"{run}: {one.detector.name}, known from {one.threshold:.6g} up "
            f"({100 * one.tpr:g} % of {one.images} validation images)"
        )


command.__name__ = "calibrate"
