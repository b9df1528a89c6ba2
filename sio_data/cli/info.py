"""sio-data info."""

import json
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Annotated, Any

import typer

from sio_data.texts import printable

if TYPE_CHECKING:
    from sio_data.description import (
        BundleDescription,
        CheckpointDescription,
        Description,
        SetDescription,
        UnfinishedDescription,
    )

EXAMPLES = "Example: sio-data info demo/synthetic"

_SHOWN_NAMES = 10
_LONGEST_NAME = 40
_LONGEST_TEXT = 400


def command(
    folder: Annotated[
        str, typer.Argument(help="A set, a bundle, a checkpoint or its runs; or a URL.", metavar="FOLDER")
    ],
    as_json: Annotated[bool, typer.Option("--json", help="Print all of it as JSON.")] = False,
) -> None:
    """Tell what a set holds, complete or not, and where it came from; or what a classifier was trained on.

    Instant for any size, because no shard is read: whether they are sound is for `sio-data verify` to tell.
    """
    from sio_data import describe

    found = describe(folder)
    if as_json:
        typer.echo(json.dumps(found.to_json(), indent=2))
    else:
        _print_rows([(title, printable(text)) for title, text in _rows(found)])


def _print_rows(rows: list[tuple[str, str]]) -> None:
    """Print a table on a terminal, and elsewhere plain lines, which other programs can cut."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    console = Console()
    if not console.is_terminal:
        for title, text in rows:
            typer.echo(f"{title}: {text}")
        return
    table = Table.grid(padding=(0, 2))
    for title, text in rows:
        table.add_row(Text(title, "bold"), Text(text, overflow="fold"))
    console.print(table)


def _rows(found: "Description") -> Iterator[tuple[str, str]]:
    from sio_data.description import (
        BundleDescription,
        CheckpointDescription,
        SetDescription,
        UnfinishedDescription,
    )

    if isinstance(found, SetDescription):
        yield from _set_rows(found)
    elif isinstance(found, BundleDescription):
        yield from _bundle_rows(found)
    elif isinstance(found, CheckpointDescription):
        yield from _checkpoint_rows(found)
    elif isinstance(found, UnfinishedDescription):
        yield "unfinished", f"{found.folder}; go on with the command below"
        yield "reached", _reached(found)
        yield from _training_rows(found.training)
    else:
        yield "runs", f"{len(found.runs)} in {found.folder}"
        for run in found.runs:
            what = f"{run.network}{_method(run.training)}, {len(run.class_names)} classes"
            yield run.folder.name, f"{what}, {_accuracy(run)}"
        for left in found.unfinished:
            yield left.folder.name, f"unfinished, {_reached(left)}"


def _set_rows(found: "SetDescription") -> Iterator[tuple[str, str]]:
    value = found.to_json()
    classes = [f"{_cut(name)} ({count:,})" for name, count in value["classes"].items()]
    yield "set", value["folder"]
    yield "complete", "yes" if value["complete"] else "no; go on with the command below"
    yield "samples", f"{value['samples']:,}"
    yield "classes", _some(classes)
    yield "images", f"{value['image_size']}x{value['image_size']} pixels, {value['image_format']}"
    size = "" if value["bytes"] is None else f", {_size(value['bytes'])} in all"
    yield "shards", f"{value['shards_there']:,} of {value['shards']:,} there{size}; not read: sio-data verify does"
    yield "recipe", value["recipe_hash"]
    for field, item in value["recipe"].items():
        if field not in ("class_names", "counts"):
            yield f"  {field}", _text(item)
    for field in ("weights", "licence", "citation", "versions", "digest", "command"):
        yield field, _text(value[field])


def _bundle_rows(found: "BundleDescription") -> Iterator[tuple[str, str]]:
    yield "bundle", str(found.folder)
    yield "samples", f"{found.samples:,} in {len(found.parts)} set{'s'[: len(found.parts) > 1]}"
    for part in found.parts:
        recipe, licence = part.manifest.recipe, part.manifest.origin.licence
        state = "" if part.manifest.complete else ", incomplete"
        what = f"{recipe.samples:,} samples of {len(recipe.class_names):,} classes"
        yield found.path(part), f"{what}, {recipe.image_size}x{recipe.image_size} pixels, {_text(licence)}{state}"


def _checkpoint_rows(found: "CheckpointDescription") -> Iterator[tuple[str, str]]:
    yield "checkpoint", str(found.folder)
    yield "network", found.network
    yield "classes", _some([_cut(name) for name in found.class_names])
    yield "images", f"{found.image_size}x{found.image_size} pixels"
    yield "weights", _size(found.bytes)
    yield "accuracy", _accuracy(found)
    for field in ("seed", "epoch"):
        yield field, _text(found.training.get(field))
    yield from _training_rows(found.training)


def _training_rows(training: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    yield "trained on", f"{_text(training.get('real'))} with synthetic {_text(training.get('synthetic'))}"
    yield "synthetic_set", _text(training.get("synthetic_set"))
    for field in ("outliers", "val"):
        if training.get(field):
            yield field, _text(training[field])
    for field, item in _settings(training).items():
        yield f"  {field}", _text(item)
    yield "command", _text(training.get("command"))


def _settings(training: Mapping[str, Any]) -> dict[str, Any]:
    settings = training.get("settings")
    return settings if isinstance(settings, dict) else {}


def _method(training: Mapping[str, Any]) -> str:
    method = _settings(training).get("method", "ce")
    return "" if method == "ce" else f", {method}"


def _reached(found: "UnfinishedDescription") -> str:
    return f"{found.epochs_done} of {_text(_settings(found.training).get('epochs'))} epochs done"


def _accuracy(run: "CheckpointDescription") -> str:
    accuracy = run.training.get("val_accuracy")
    return f"val accuracy {accuracy:.2%}" if isinstance(accuracy, float) else "val accuracy unknown"


def _some(names: list[str]) -> str:
    return f"{len(names):,}: {', '.join(names[:_SHOWN_NAMES])}{', …' if len(names) > _SHOWN_NAMES else ''}"


def _cut(name: str) -> str:
    return name if len(name) <= _LONGEST_NAME else f"{name[: _LONGEST_NAME - 1]}…"


def _text(value: object) -> str:
    if isinstance(value, dict):
        value = ", ".join(f"{key}={item}" for key, item in value.items())
    text = "none" if value in (None, "") else str(value)
    return text if len(text) <= _LONGEST_TEXT else f"{text[:_LONGEST_TEXT]}… (--json prints all of it)"


def _size(count: int) -> str:
    return f"{count / 1e6:,.1f} MB" if count >= 1e5 else f"{count:,} bytes"


command.__name__ = "info"
