"""`quickstart`: the main job on the embedded data, from a trained generator to a report."""

import shlex
import sys
from pathlib import Path


def quickstart_commands(out: str | Path) -> list[list[str]]:
    """List the commands that `quickstart` runs, each as the words after `sio-data`."""
    generator, synthetic, baseline, sio, report = (
        str(Path(out) / name) for name in ("generator", "synthetic", "baseline", "sio", "report")
    )
    return [
        ["fit", "digits", "--out", generator],
        ["generate", "--generator", "diffusers", "--weights", generator, "--per-class", "500", "--out", synthetic],
        ["train", "--real", "digits", "--out", baseline],
        ["train", "--real", "digits", "--synthetic", synthetic, "--alpha", "0.8", "--out", sio],
        [
            "evaluate", baseline, sio, "--id", "digits",
            "--ood", "near:unknown-digits=digits-unknown", "--ood", "far:textures=textures", "--out", report,
        ],
    ]  # fmt: skip


def quickstart(out: str | Path = "demo") -> Path:
    """Run the whole job on the embedded data, printing each command before it runs.

    What is finished is left alone (only the evaluation runs anew), so that an interrupted quickstart can be run again.

    Args:
        out: Folder for everything.

    Returns:
        The report.

    Raises:
        SioDataError: A step failed.
    """
    from sio_data.cli import invoke

    for words in quickstart_commands(out):
        sys.stdout.write(f"\n$ {shlex.join(['sio-data', *words])}\n")
        sys.stdout.flush()
        invoke(words)
    return Path(out) / "report" / "report.html"
