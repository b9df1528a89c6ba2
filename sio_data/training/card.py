"""The card of a checkpoint: its README.md."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sio_data.commands import shown_place
from sio_data.licences import is_known_licence, licence_metadata
from sio_data.rendering import Verbatim, render_card
from sio_data.set_card import NOTES_MARK
from sio_data.source_names import SourceName


@dataclass(frozen=True)
class Measured:
    """What a detector reached on an OOD set.

    Attributes:
        group: `near` or `far`.
        ood: Name of the OOD set.
        source: Where its images come from.
        detector: Name of the detector.
        auroc: In [0, 1].
        fpr95: In [0, 1].
    """

    group: str
    ood: str
    source: str
    detector: str
    auroc: float
    fpr95: float


@dataclass(frozen=True)
class Measurements:
    """What `evaluate` measured on a checkpoint.

    Attributes:
        source: The in-distribution source.
        accuracy: Share of its test images that are right, in [0, 1].
        rows: One for each detector and OOD set.
    """

    source: str
    accuracy: float
    rows: Sequence[Measured]


def render_checkpoint_card(
    config: Mapping[str, Any],
    record: Mapping[str, Any],
    *,
    licence: str | None = None,
    notes: str = "",
    repository: str | None = None,
    tag: str | None = None,
    data_sets: Sequence[str] = (),
    measured: Measurements | None = None,
    detector: str = "",
) -> str:
    """Write the card of a checkpoint.

    Args:
        config: Its `config.json`.
        record: Its `training.json`; empty if it was not made by `train`.
        licence: Its licence; None means that of the synthetic set it was trained on.
        notes: What its owner wrote below the card's last line.
        repository: Where it is published, `owner/name`.
        tag: Under which readers are to load it.
        data_sets: Repositories of the data sets that it was made with.
        measured: What `evaluate` measured on it.
        detector: Name of its own detector; empty if it has none.
    """
    settings = record.get("settings", {})
    licence = licence or record.get("synthetic_licence") or "unknown"
    sources = {name: shown_place(record.get(name) or "") for name in ("real", "synthetic", "outliers")}
    return render_card(
        "checkpoint",
        _metadata(record, licence, repository, data_sets, measured),
        config=config,
        record=record,
        sources=sources,
        settings={
            name: shown_place(value) if name in ("network", "method") else value
            for name, value in settings.items()
            if value is not None and not name.endswith("_data")
        },
        licence=licence,
        licence_known=is_known_licence(licence),
        place=Verbatim(f"hub:{repository}{f'@{tag}' if tag else ''}" if repository else "path/to/this/folder"),
        tag=tag,
        data_sets=data_sets,
        measured=measured,
        detector=detector,
        notes=Verbatim(f"{NOTES_MARK}\n{notes}"),
    )


def _metadata(
    record: Mapping[str, Any],
    licence: str,
    repository: str | None,
    data_sets: Sequence[str],
    measured: Measurements | None,
) -> dict[str, Any]:
    metadata: dict[str, Any] = {
        **licence_metadata(licence),
        "library_name": "sio-data",
        "pipeline_tag": "image-classification",
        "tags": ["out-of-distribution-detection", *(["sio"] if record.get("synthetic") else [])],
    }
    if data_sets:
        metadata["datasets"] = list(data_sets)
    if repository and measured:
        metadata["model-index"] = _model_index(repository.partition("/")[2], measured)
    return metadata


def _model_index(name: str, measured: Measurements) -> list[dict[str, Any]]:
    """Give the results in the form that the Hub shows beside a model; figures in percent."""
    from huggingface_hub.repocard_data import EvalResult, eval_results_to_model_index

    def result(source: str, shown: str, kind: str, metric: str, value: float) -> EvalResult:
        return EvalResult(
            task_type="image-classification",
            task_name="Image classification" if kind == "accuracy" else "Out-of-distribution detection",
            dataset_type=SourceName.parse(source.removeprefix("…/")).path,
            dataset_name=shown,
            metric_type=kind,
            metric_name=metric,
            metric_value=round(100 * value, 2),
        )

    source = shown_place(measured.source)
    results = [result(source, source, "accuracy", "ID accuracy %", measured.accuracy)]
    for row in measured.rows:
        place, shown = shown_place(row.source), f"{row.ood} ({row.group}-OOD)"
        results.append(result(place, shown, "auroc", f"AUROC % {row.detector}", row.auroc))
        results.append(result(place, shown, "fpr95", f"FPR95 % {row.detector}", row.fpr95))
    return eval_results_to_model_index(name, results)
