"""sio-data publish."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from sio_data.hub.publishing import Published

EXAMPLES = "Example: sio-data publish demo/synthetic owner/digits-sio --tag v1"


def command(
    folder: Annotated[Path, typer.Argument(help="A set, a bundle of sets, or a checkpoint.", metavar="FOLDER")],
    repo: Annotated[str, typer.Argument(help="Where to, on the Hub.", metavar="OWNER/NAME")],
    private: Annotated[bool, typer.Option("--private", help="Make the repository private.")] = False,
    tag: Annotated[str | None, typer.Option(help="A name for this state, to load it by.", metavar="TAG")] = None,
    licence: Annotated[
        str | None,
        typer.Option(help="Like cc-by-4.0 or mit.", show_default="that of the generator's weights", metavar="NAME"),
    ] = None,
    link: Annotated[
        list[str] | None,
        typer.Option(
            help="A model trained on the set, or a data set of the checkpoint; repeat it.", metavar="OWNER/NAME"
        ),
    ] = None,
    results: Annotated[str | None, typer.Option(help="Of a checkpoint: what evaluate wrote.", metavar="FOLDER")] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only show what would be sent.")] = False,
) -> None:
    """Publish a set, a bundle of sets or a checkpoint on the Hugging Face Hub.

    It is verified first and goes up in one commit, the tag last. Run again, it sends only what is missing.
    """
    from sio_data import publish

    done = publish(
        folder,
        repo,
        private=private,
        tag=tag,
        licence=licence,
        link=link or (),
        results=results,
        dry_run=dry_run,
    )
    if dry_run:
        _show(done)
    elif done.sent or done.removed:
        typer.echo(f"{done.url}: {len(done.sent)} files sent, {len(done.removed)} removed, commit {done.commit}.")
    else:
        typer.echo(f"{done.url}: all there already, commit {done.commit}.")
    if done.tag and not dry_run:
        kind = "load_dataset" if done.kind == "dataset" else "Classifier.from_pretrained"
        typer.echo(f'Load it with {kind}("{repo}", revision="{done.tag}").')


def _show(planned: "Published") -> None:
    from rich.filesize import decimal

    for path, size in planned.files.items():
        typer.echo(f"{'new ' if path in planned.sent else 'same'}  {decimal(size):>10}  {path}")
    for path in planned.removed:
        typer.echo(f"gone              -  {path}")
    total = sum(planned.files[path] for path in planned.sent)
    typer.echo(
        f"{planned.url}: {'private' if planned.private else 'public'} {planned.kind}, licence {planned.licence}, "
        f"{f'tag {planned.tag}' if planned.tag else 'no tag'}; {len(planned.sent)} files of {decimal(total)} to send."
    )


command.__name__ = "publish"
