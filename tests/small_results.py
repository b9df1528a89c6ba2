"""Results made by hand."""

from collections.abc import Mapping, Sequence

from sio_data.detection.results import METRICS, Results, Row, Run, Training

GROUPS = {"u": "near", "v": "near", "w": "far"}


def small_results(
    aurocs: Mapping[str, Mapping[str, Sequence[Mapping[str, float]]]],
    accuracies: Mapping[str, Sequence[float]],
    trainings: Mapping[str, Training] | None = None,
) -> Results:
    """Make results of the OOD sets `u` and `v` (near) and `w` (far).

    Args:
        aurocs: For each checkpoint and detector, of each run the AUROC (and all other metrics) on each OOD set.
        accuracies: Of each checkpoint's runs.
        trainings: How the checkpoints were trained; without an entry, it is not known.
    """
    detectors = list(dict.fromkeys(name for by_detector in aurocs.values() for name in by_detector))
    return Results(
        command="sio-data evaluate",
        versions={"python": "3"},
        id={"source": "digits", "images": {"train": 9, "val": 3, "test": 3}, "classes": ["one", "two"]},
        ood=[{"group": group, "name": name, "source": name, "images": 2} for name, group in GROUPS.items()],
        detectors=detectors,
        checkpoints=list(aurocs),
        trainings={name: Training() for name in aurocs} | dict(trainings or {}),
        runs=[
            Run(checkpoint, f"seed-{seed}", f"{checkpoint}/seed-{seed}", f"{checkpoint}{seed}", accuracy)
            for checkpoint, values in accuracies.items()
            for seed, accuracy in enumerate(values)
        ],
        rows=[
            Row(
                checkpoint=checkpoint,
                run=f"seed-{seed}",
                detector=detector,
                group=GROUPS[ood],
                ood=ood,
                **dict.fromkeys(METRICS, auroc),
            )
            for checkpoint, by_detector in aurocs.items()
            for detector, runs in by_detector.items()
            for seed, by_ood in enumerate(runs)
            for ood, auroc in by_ood.items()
        ],
    )


def two_pairs() -> Results:
    """A pair of cross-entropy with two detectors and two seeds, and one of LogitNorm with `ebo` and `msp`."""
    plain, norm = Training("ce"), Training("logitnorm:temperature=0.05")
    return small_results(
        {
            "baseline": {
                "ebo": [{"u": 0.80, "v": 0.90, "w": 0.95}, {"u": 0.84, "v": 0.90, "w": 0.97}],
                "msp": [{"u": 0.70, "v": 0.80, "w": 0.90}, {"u": 0.70, "v": 0.80, "w": 0.90}],
            },
            "sio": {
                "ebo": [{"u": 0.90, "v": 0.94, "w": 0.95}, {"u": 0.90, "v": 0.98, "w": 0.95}],
                "msp": [{"u": 0.60, "v": 0.80, "w": 0.90}, {"u": 0.60, "v": 0.80, "w": 0.90}],
            },
            "norm": {"ebo": [{"u": 0.5, "v": 0.5, "w": 0.5}], "msp": [{"u": 0.9, "v": 0.9, "w": 0.99}]},
            "norm-sio": {"ebo": [{"u": 0.5, "v": 0.5, "w": 0.5}], "msp": [{"u": 0.92, "v": 0.94, "w": 0.97}]},
        },
        {"baseline": [0.90, 0.92], "sio": [0.95, 0.95], "norm": [0.5], "norm-sio": [0.6]},
        {
            "baseline": plain,
            "sio": Training("ce", "demo/synthetic", 0.8),
            "norm": norm,
            "norm-sio": Training("logitnorm:temperature=0.05", "demo/synthetic", 0.9),
        },
    )
