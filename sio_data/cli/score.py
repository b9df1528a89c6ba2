"""sio-data score."""

from typing import Annotated

import typer

from sio_data.cli.options import Device

EXAMPLES = "Example: sio-data score demo/sio/seed-0 pictures/ cat.jpg"


def command(
    checkpoint: Annotated[str, typer.Argument(help="A checkpoint that calibrate gave a detector: folder or hub:….")],
    images: Annotated[list[str], typer.Argument(help="Pictures, and folders of pictures.", metavar="IMAGES...")],
    json: Annotated[bool, typer.Option("--json", help="Print one JSON object a picture.")] = False,
    device: Device = None,
) -> None:
    """Tell what pictures show, and whether the classifier knows such pictures at all."""
    from dataclasses import asdict

    from sio_data.detection.scoring import iterate_scores
    from sio_data.files import canonical_json
    from sio_data.texts import printable

    is_whole = True
    for one in iterate_scores(checkpoint, images, device=device):
        is_whole &= not one.error
        if json:
            typer.echo(canonical_json(asdict(one)))
        elif one.score is None:
            typer.echo(f"{'error':>12}  {'':7}  {printable(one.path)}: {one.error}")
        else:
            said = "known" if one.known else "unknown"
            typer.echo(f"{one.score:12.6g}  {said:7}  {printable(one.path)}: {printable(one.label)}")
    if not is_whole:
        raise typer.Exit(1)


command.__name__ = "score"
