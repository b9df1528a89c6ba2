"""sio-data generate."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from sio_data.cli.options import Device, read_pairs
from sio_data.errors import InputError

if TYPE_CHECKING:
    from sio_data.request import Request

EXAMPLES = (
    "Example: sio-data generate --generator diffusers --weights demo/generator --per-class 500 --out demo/synthetic\n\n"
    "A look at the cost first: sio-data generate --generator biggan --weights biggan-deep-128 --class imagenet-10 "
    "--image-size 64 --per-class 1300 --dry-run --price-per-hour 2.5\n\n"
    "On eight devices: torchrun --nproc-per-node 8 --no-python sio-data generate recipe.yaml --out /shared/set"
)


def command(
    recipe: Annotated[
        Path | None,
        typer.Argument(help="YAML file with the options below as keys, like `per_class: 500`; options given here win."),
    ] = None,
    out: Annotated[str | None, typer.Option(help="Folder of the set, or a URL like s3://…", metavar="FOLDER")] = None,
    generator: Annotated[str | None, typer.Option(help="Back end; see: sio-data generators.", metavar="NAME")] = None,
    weights: Annotated[
        str | None, typer.Option(help="What the back end takes: a folder, a file, a name.", metavar="WEIGHTS")
    ] = None,
    per_class: Annotated[int | None, typer.Option(help="Images of each class.")] = None,
    classes: Annotated[
        list[str] | None,
        typer.Option(
            "--class",
            help="A class of the set, or a group: cifar10, cifar100, imagenet-10, imagenet-dogs; repeat it.",
            show_default="all",
            metavar="NAME",
        ),
    ] = None,
    image_size: Annotated[
        int | None, typer.Option(help="Height and width.", show_default="the generator's", metavar="PIXELS")
    ] = None,
    sampling: Annotated[
        list[str] | None, typer.Option(help="An option of the back end; repeat it.", metavar="KEY=VALUE")
    ] = None,
    seed: Annotated[int | None, typer.Option(help="What all seeds of samples come from.", show_default="0")] = None,
    image_format: Annotated[
        str | None, typer.Option(help="png, webp (both lossless) or jpg.", show_default="png")
    ] = None,
    shard_size: Annotated[int | None, typer.Option(help="Samples in a shard.", show_default="1000")] = None,
    batch_size: Annotated[int | None, typer.Option(help="Samples made at once.", show_default="100")] = None,
    device: Device = None,
    engine: Annotated[
        str,
        typer.Option(help="local, ranks (of torchrun or a Slurm array), ray; auto: ranks under torchrun, else local."),
    ] = "auto",
    workers: Annotated[
        int | None, typer.Option(help="Processes or Ray actors.", show_default="one a device; one on the CPU")
    ] = None,
    ray_address: Annotated[
        str | None, typer.Option(help="Of a Ray cluster.", show_default="a new one here", metavar="ADDRESS")
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Time one batch, print what it would take; no file.")] = (
        False
    ),
    price_per_hour: Annotated[float | None, typer.Option(help="Of a device, for --dry-run.", metavar="PRICE")] = None,
) -> None:
    """Make a class-conditional synthetic set as WebDataset shards.

    Killed at any moment and run again, it ends in the same bytes, whatever the engine and the number of workers; run
    several times at once, the runs share the work. The set has a manifest, a card and a preview, and opens with
    load_dataset(FOLDER).
    """
    from sio_data.request import Request, read_recipe_file

    asked = read_recipe_file(recipe) if recipe else {}
    given = {
        "generator": generator,
        "weights": weights,
        "per_class": per_class,
        "classes": classes or None,
        "image_size": image_size,
        "sampling": {**asked.get("sampling", {}), **read_pairs(sampling or [], "--sampling")} or None,
        "seed": seed,
        "image_format": image_format,
        "shard_size": shard_size,
        "batch_size": batch_size,
    }
    asked |= {name: value for name, value in given.items() if value is not None}
    missing = [f"--{name.replace('_', '-')}" for name in ("generator", "weights", "per_class") if name not in asked]
    missing += [] if dry_run or out else ["--out"]
    if missing:
        raise InputError(f"{', '.join(missing)} must be given{'' if recipe else ', as options or in a recipe file'}.")
    if price_per_hour is not None and not dry_run:
        raise InputError("--price-per-hour goes with --dry-run.")
    if dry_run and (engine != "auto" or ray_address):
        raise InputError("--dry-run times one worker here: give --workers for their number, not --engine.")
    if dry_run:
        _estimate(Request(**asked), device, workers, price_per_hour)
    else:
        _generate(asked, str(out), device=device, engine=engine, workers=workers, ray_address=ray_address)


def _generate(asked: dict[str, object], out: str, **how: object) -> None:
    import sio_data

    done = sio_data.generate(out=out, **asked, **how)  # type: ignore[arg-type]
    samples = done.recipe.samples
    if not done.complete:
        typer.echo(f"This rank's share of {out} is finished ({done.made} images); the last rank completes the set.")
    elif done.made:
        typer.echo(f"{samples} images in {out} ({done.made} made now); look at {out}/preview.png")
    else:
        typer.echo(f"{out} is complete: {samples} images, all checked. Nothing to do.")


def _estimate(request: "Request", device: str | None, workers: int | None, price_per_hour: float | None) -> None:
    from sio_data.estimation import estimate

    found = estimate(request, device=device, workers=workers, price_per_hour=price_per_hour)
    for name, value in found.rows():
        typer.echo(f"{name:<22}{value}")
    typer.echo("Nothing was written.")


command.__name__ = "generate"
