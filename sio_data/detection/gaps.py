"""What an evaluation could not measure: detectors that suit none, or not all, of the runs of a checkpoint."""

from collections.abc import Iterator
from dataclasses import dataclass

from sio_data.detection.results import Results


@dataclass(frozen=True)
class Gap:
    """Detectors that were not measured on some runs of a checkpoint, or on all.

    Attributes:
        checkpoint: Its name.
        detectors: Their names.
        measured: The runs that their figures are means over.
        without: The other runs.
    """

    checkpoint: str
    detectors: tuple[str, ...]
    measured: tuple[str, ...]
    without: tuple[str, ...]


def find_gaps(results: Results) -> Iterator[Gap]:
    """Name what was not measured; detectors that lack the same runs of a checkpoint together."""
    for checkpoint in results.checkpoints:
        lacking: dict[tuple[str, ...], list[str]] = {}
        for detector in results.detectors:
            if without := results.runs_without(checkpoint, detector):
                lacking.setdefault(without, []).append(detector)
        for without, detectors in lacking.items():
            yield Gap(checkpoint, tuple(detectors), results.measured_runs(checkpoint, detectors[0]), without)
