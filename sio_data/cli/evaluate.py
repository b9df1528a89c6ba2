"""sio-data evaluate."""

from pathlib import Path
from typing import Annotated

import typer

from sio_data.cli.options import SOURCE_HELP, Device

EXAMPLES = (
    "Example: sio-data evaluate demo/baseline demo/sio --id digits --ood near:unknown-digits=digits-unknown "
    "--ood far:textures=textures --out demo/report"
)


def command(
    checkpoints: Annotated[list[str], typer.Argument(help="Folders made by train, with and without synthetic images.")],
    out: Annotated[Path, typer.Option(help="Folder of the report.", metavar="FOLDER")],
    id: Annotated[
        str | None, typer.Option(help=f"The known images: {SOURCE_HELP}", show_default="none", metavar="SOURCE")
    ] = None,
    ood: Annotated[
        list[str] | None,
        typer.Option(help="Unknown images; repeat it.", show_default="none", metavar="near|far:NAME=SOURCE"),
    ] = None,
    benchmark: Annotated[
        str | None,
        typer.Option(
            help="In place of --id and --ood: cifar10, cifar100, cifar10-v1.5, cifar100-v1.5, imagenet-10, "
            "imagenet-dogs, imagenet-200, imagenet-1k, or a YAML file.",
            show_default="none",
            metavar="NAME",
        ),
    ] = None,
    data: Annotated[
        str | None,
        typer.Option(help="OpenOOD's data folder, for its image lists.", show_default="the Hub", metavar="FOLDER"),
    ] = None,
    detectors: Annotated[
        list[str] | None,
        typer.Option("--detector", help="A detector, like msp or knn:k=20; repeat it.", show_default="all"),
    ] = None,
    search: Annotated[
        bool, typer.Option("--search", help="Choose the detectors' parameters on validation images.")
    ] = False,
    ood_val: Annotated[
        str | None,
        typer.Option(
            help="Unknown images for --search; their validation split.",
            show_default="the benchmark's",
            metavar="SOURCE",
        ),
    ] = None,
    storage: Annotated[
        str, typer.Option(help="memory, or mapped: images from a file in the cache.", metavar="KIND")
    ] = "memory",
    device: Device = None,
) -> None:
    """Measure detectors on checkpoints, print the paper's table, and write it, all figures and a report."""
    from sio_data import evaluate
    from sio_data.cli.paper_table import print_table

    done = evaluate(
        checkpoints,
        out,
        id=id,
        ood=ood or (),
        benchmark=benchmark,
        data=data,
        detectors=detectors or None,
        search=search,
        ood_val=ood_val,
        storage=storage,  # type: ignore[arg-type]
        device=device,
    )
    print_table(done.results)
    for one in done.results.chosen:
        settings = ", ".join(f"{name}={value}" for name, value in one["settings"].items())
        typer.echo(f"{one['checkpoint']}/{one['run']}: {one['detector']} with {settings}")
    typer.echo(f"report: {done.report}")


command.__name__ = "evaluate"
