"""The command line `sio-data`: one module a command, each a thin coat over the public function of the same name.

Exit codes: 0 done, 1 failed or incomplete, 2 wrong usage or bad input, 130 interrupted. Errors go to standard error
without a traceback. Nothing heavy is imported before a command runs, so that `--help` is instant.
"""

import sys
from collections.abc import Sequence

import typer
from rich.console import Console

from sio_data.cli import (
    bundle,
    calibrate,
    detectors,
    evaluate,
    export,
    fetch,
    filtering,
    fit,
    gallery,
    generate,
    generators,
    importing,
    info,
    measure,
    preview,
    publish,
    quickstart,
    regenerate,
    repair,
    score,
    train,
    verify,
)
from sio_data.errors import SioDataError
from sio_data.texts import printable
from sio_data.version import __version__

_INTERRUPTED = 130

app = typer.Typer(
    name="sio-data",
    help="Make synthetic in-distribution images, train classifiers on them (SIO), and measure how well these notice "
    "what they do not know.",
    epilog="Start here: sio-data quickstart --out demo",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode="markdown",
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"sio-data {__version__}")
        raise typer.Exit


@app.callback()
def _root(
    version: bool = typer.Option(False, "--version", callback=_print_version, is_eager=True, help="Print the version."),
) -> None:
    pass


_PANELS = {
    "Make a set": (quickstart, fit, generators, generate, importing),
    "Look at it": (info, preview, gallery, measure),
    "Keep it sound": (verify, repair, regenerate, filtering),
    "Use it": (train, detectors, evaluate, calibrate, score, export),
    "Share it": (bundle, publish, fetch),
}
COMMANDS = tuple(module for modules in _PANELS.values() for module in modules)

for _panel, _modules in _PANELS.items():
    for _module in _modules:
        app.command(epilog=_module.EXAMPLES, rich_help_panel=_panel)(_module.command)


def invoke(words: Sequence[str]) -> None:
    """Run a command and let its errors through.

    Args:
        words: What stands after `sio-data`; they must make a command.

    Raises:
        SioDataError: The command failed.
        KeyboardInterrupt: It was interrupted.
    """
    if app(list(words), prog_name="sio-data", standalone_mode=False) == _INTERRUPTED:
        raise KeyboardInterrupt


def main(words: Sequence[str] | None = None) -> int:
    """Run a command, print its errors, and give the exit code.

    Args:
        words: What stands after `sio-data`; None takes the process's own.
    """
    code = 0
    try:
        app(None if words is None else list(words), prog_name="sio-data")
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else int(end.code is not None)
    except SioDataError as error:
        _print_error(str(error))
        code = error.exit_code
    except OSError as error:
        _print_error(str(error))
        code = 1
    except KeyboardInterrupt:
        code = _INTERRUPTED
    if code == _INTERRUPTED:
        _print_error("interrupted. What was finished is kept: run the same command again to go on.")
    return code


def run() -> None:
    """Entry point of the console script."""
    sys.exit(main())


def _print_error(message: str) -> None:
    lines = "\n".join(map(printable, message.splitlines()))
    Console(stderr=True).print("[bold red]error:[/]", end=" ")
    Console(stderr=True, markup=False, highlight=False, soft_wrap=True).print(lines)
