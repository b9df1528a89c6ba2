"""How sure the gains of an evaluation are."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from sio_data.detection.detectors.base import Scores
from sio_data.detection.results import Results
from sio_data.detection.significance import RunScores, delong
from sio_data.detection.tables import references


def gain_intervals(
    results: Results, scores: Mapping[tuple[str, str, str], Mapping[str, Scores]]
) -> list[dict[str, Any]]:
    """Test each gain in AUROC of a checkpoint over the one it is compared to, by DeLong's test on the same images.

    Args:
        results: With all rows.
        scores: See `Evaluation`.

    Returns:
        See `Results.intervals`.
    """
    found = []
    for checkpoint, baseline in references(results).items():
        for detector in results.detectors:
            for group in results.groups:
                sets = [one["name"] for one in results.ood if one["group"] == group]
                runs = {
                    name: [
                        RunScores(one[""], [one[name] for name in sets])
                        for run in results.runs
                        if run.checkpoint == name and (one := scores.get((name, run.name, detector)))
                    ]
                    for name in (baseline, checkpoint)
                    if name is not None
                }
                if baseline is None or not all(runs.values()) or _too_few(runs[checkpoint][0]):
                    continue
                test = delong(runs[baseline], runs[checkpoint])
                names = {"detector": detector, "group": group, "baseline": baseline, "checkpoint": checkpoint}
                figures = {"difference": test.estimate, "low": test.low, "high": test.high, "p": test.p_value}
                found.append(names | figures)
    return found


def _too_few(run: RunScores) -> bool:
    return min(np.size(scores) for scores in (run.id, *run.ood)) < 2
