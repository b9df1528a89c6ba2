"""sio-data fetch."""

from pathlib import Path
from typing import Annotated

import typer

EXAMPLES = "Example: sio-data fetch owner/digits-sio demo/fetched --revision v1"


def command(
    repo: Annotated[str, typer.Argument(help="What, on the Hub.", metavar="OWNER/NAME")],
    out: Annotated[Path, typer.Argument(help="A new or empty folder.", metavar="FOLDER")],
    revision: Annotated[
        str | None, typer.Option(help="Tag, branch or commit.", show_default="main", metavar="NAME")
    ] = None,
) -> None:
    """Fetch a set, a bundle of sets or a checkpoint from the Hugging Face Hub, and verify it.

    Run again after an interruption, it goes on with the files that are missing.
    """
    from sio_data import fetch
    from sio_data.bundles import is_bundle

    done = fetch(repo, out, revision=revision)
    kind = "checkpoint" if done.kind == "model" else "bundle" if is_bundle(done.folder) else "set"
    state = f"{done.files} files fetched" if done.made else "it was there"
    typer.echo(f"{done.folder}: a sound {kind} of commit {done.commit}, {state}.")


command.__name__ = "fetch"
