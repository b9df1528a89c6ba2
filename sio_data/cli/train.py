"""sio-data train."""

import os
from pathlib import Path
from typing import Annotated, Any

import typer

from sio_data.cli.options import SOURCE_HELP, Device, ImageSize, read_decimals, read_numbers
from sio_data.errors import InputError

EXAMPLES = (
    "Example: sio-data train --real digits --synthetic demo/synthetic --alpha 0.8 --out demo/sio\n\n"
    "The paper's recipe with another method: sio-data train --preset cifar10 --real cifar10 --synthetic synthetic "
    "--method logitnorm --out logitnorm\n\n"
    "What a preset holds: sio-data train --preset imagenet-10 --real imagenet-10 --dry-run\n\n"
    "On four devices: torchrun --nproc-per-node 4 --no-python sio-data train --real digits --out runs"
)

_RECIPE, _SPEED = "Recipe", "Speed"


def command(
    real: Annotated[str, typer.Option(help=SOURCE_HELP, metavar="SOURCE")],
    out: Annotated[Path | None, typer.Option(help="Folder of the runs.", metavar="FOLDER")] = None,
    synthetic: Annotated[str | None, typer.Option(help="A synthetic set, or any source.", metavar="SOURCE")] = None,
    outliers: Annotated[
        str | None, typer.Option(help="Images of no known class, for methods that need them.", metavar="SOURCE")
    ] = None,
    val: Annotated[
        str | None, typer.Option(help="Validation images.", show_default="a split of --real", metavar="SOURCE")
    ] = None,
    preset: Annotated[
        str | None,
        typer.Option(
            help="A recipe: cifar10, cifar100, imagenet-10, imagenet-dogs or a YAML file; options given here win.",
            metavar="NAME",
        ),
    ] = None,
    image_size: ImageSize = None,
    storage: Annotated[
        str | None,
        typer.Option(
            help="Where images are held: memory, mapped (a file) or stream (sets, from their shards).",
            show_default="memory",
        ),
    ] = None,
    seeds: Annotated[str | None, typer.Option(help="One run each.", show_default="0,1,2")] = None,
    device: Device = None,
    save_seconds: Annotated[float, typer.Option(help="Time between two saves of an unfinished run.")] = 60.0,
    tensorboard: Annotated[bool, typer.Option("--tensorboard", help="Write events for TensorBoard, too.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Print the resolved recipe, and do nothing.")] = False,
    method: Annotated[
        str | None,
        typer.Option(
            help="Training method: ce, cutmix, godin, logitnorm, mcd, mixoe, mixup, oe, pixmix, regmixup, rotpred, "
            "t2fnorm or vos, with parameters like logitnorm:temperature=0.05.",
            show_default="ce",
            rich_help_panel=_RECIPE,
        ),
    ] = None,
    network: Annotated[
        str | None,
        typer.Option(
            help="convnet, resnet18-32, resnet18-224, wrn-28-10 or transformers:NAME.",
            show_default="convnet",
            rich_help_panel=_RECIPE,
        ),
    ] = None,
    alpha: Annotated[
        float | None,
        typer.Option(
            help="Weight of the real loss, in (0, 1].", show_default="0.8 with --synthetic", rich_help_panel=_RECIPE
        ),
    ] = None,
    mix: Annotated[
        str | None,
        typer.Option(
            help="How alpha is reached: batch (share of the batch) or loss (weights of the two means).",
            show_default="batch",
            rich_help_panel=_RECIPE,
        ),
    ] = None,
    real_share: Annotated[
        float | None,
        typer.Option(
            help="Share of real images in a batch, with --mix loss.", show_default="alpha", rich_help_panel=_RECIPE
        ),
    ] = None,
    every_real: Annotated[
        bool | None,
        typer.Option(help="Make epochs long enough to see every real image.", rich_help_panel=_RECIPE),
    ] = None,
    epochs: Annotated[
        int | None, typer.Option(help="Passes over the real images.", show_default="60", rich_help_panel=_RECIPE)
    ] = None,
    batch_size: Annotated[
        int | None, typer.Option(help="Images in each update.", show_default="128", rich_help_panel=_RECIPE)
    ] = None,
    outlier_batch_size: Annotated[
        int | None, typer.Option(help="Outliers in each update.", show_default="256", rich_help_panel=_RECIPE)
    ] = None,
    learning_rate: Annotated[
        float | None, typer.Option(help="Of SGD at the start.", show_default="0.1", rich_help_panel=_RECIPE)
    ] = None,
    last_rate: Annotated[
        float | None, typer.Option(help="At the end of the cosine.", show_default="1e-6", rich_help_panel=_RECIPE)
    ] = None,
    momentum: Annotated[float | None, typer.Option(help="Of SGD.", show_default="0.9", rich_help_panel=_RECIPE)] = None,
    nesterov: Annotated[
        bool | None, typer.Option(help="Momentum by Nesterov's rule.", show_default="yes", rich_help_panel=_RECIPE)
    ] = None,
    weight_decay: Annotated[
        float | None, typer.Option(help="Of SGD.", show_default="5e-4", rich_help_panel=_RECIPE)
    ] = None,
    augmentation: Annotated[
        str | None,
        typer.Option(help="none, crop, crop-flip or resized-crop-flip.", show_default="crop", rich_help_panel=_RECIPE),
    ] = None,
    crop_size: Annotated[
        int | None,
        typer.Option(help="Crop images to this many pixels.", show_default="their size", rich_help_panel=_RECIPE),
    ] = None,
    label_smoothing: Annotated[
        float | None,
        typer.Option(help="Share of a target spread over all classes.", show_default="0", rich_help_panel=_RECIPE),
    ] = None,
    clip_norm: Annotated[
        float | None, typer.Option(help="Largest norm of a gradient.", show_default="none", rich_help_panel=_RECIPE)
    ] = None,
    ema: Annotated[
        float | None, typer.Option(help="Decay of averaged weights.", show_default="none", rich_help_panel=_RECIPE)
    ] = None,
    keep: Annotated[
        str | None,
        typer.Option(
            help="Weights of the checkpoint: last, or best by validation accuracy.",
            show_default="last",
            rich_help_panel=_RECIPE,
        ),
    ] = None,
    mean: Annotated[
        str | None,
        typer.Option(help="Of each channel, like 0.5,0.5,0.5.", show_default="measured", rich_help_panel=_RECIPE),
    ] = None,
    std: Annotated[
        str | None, typer.Option(help="Of each channel.", show_default="measured", rich_help_panel=_RECIPE)
    ] = None,
    precision: Annotated[
        str | None, typer.Option(help="fp32, bf16 or fp16.", show_default="fp32", rich_help_panel=_SPEED)
    ] = None,
    channels_last: Annotated[
        bool | None, typer.Option(help="For GPUs with tensor cores.", rich_help_panel=_SPEED)
    ] = None,
    compile: Annotated[
        bool | None, typer.Option(help="Compile the step (torch.compile).", rich_help_panel=_SPEED)
    ] = None,
) -> None:
    """Train a classifier for each seed; with --synthetic, under the SIO objective.

    Each run is a checkpoint of its own: FOLDER/seed-0 and so on. Interrupted, run the same command again: what is
    finished is left alone, and an unfinished run goes on to the same weights.
    """
    from sio_data.training.request import resolve_request

    options: dict[str, Any] = {
        "synthetic": synthetic, "outliers": outliers, "val": val, "preset": preset, "image_size": image_size,
        "storage": storage, "seeds": read_numbers(seeds, "--seeds"),
        "method": method, "network": network, "alpha": alpha, "mix": mix, "real_share": real_share,
        "every_real": every_real, "epochs": epochs, "batch_size": batch_size, "outlier_batch_size": outlier_batch_size,
        "learning_rate": learning_rate, "last_rate": last_rate, "momentum": momentum, "nesterov": nesterov,
        "weight_decay": weight_decay, "augmentation": augmentation, "crop_size": crop_size,
        "label_smoothing": label_smoothing, "clip_norm": clip_norm, "ema": ema, "keep": keep,
        "mean": read_decimals(mean, "--mean"), "std": read_decimals(std, "--std"),
        "precision": precision, "channels_last": channels_last, "compile": compile,
    }  # fmt: skip
    if dry_run:
        typer.echo(resolve_request(real, **options).to_yaml(), nl=False)
        return
    if out is None:
        raise InputError("name the folder of the runs (--out).")
    from sio_data import train

    runs = train(real, out, device=device, save_seconds=save_seconds, tensorboard=tensorboard, **options)
    if os.environ.get("RANK", "0") != "0":
        return  # of several ranks, one tells
    for one in runs:
        typer.echo(f"{one.folder}: val accuracy {one.val_accuracy:.2%}{'' if one.made else ' (was there)'}")


command.__name__ = "train"
