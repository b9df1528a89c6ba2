"""Out-of-distribution detection: outputs of a network, detectors on them, metrics, evaluation and report."""

from sio_data.detection.detectors import DETECTORS, PAPER, create
from sio_data.detection.detectors.base import Detector
from sio_data.detection.metrics import OODMetrics, correct_classification_rates, ood_metrics
from sio_data.detection.outputs import Outputs
from sio_data.detection.parameter_search import candidates, search
from sio_data.detection.passes import compute_outputs
from sio_data.detection.significance import RunScores, bootstrap_interval, delong, paired_bootstrap

__all__ = [
    "DETECTORS",
    "PAPER",
    "Detector",
    "OODMetrics",
    "Outputs",
    "RunScores",
    "bootstrap_interval",
    "candidates",
    "compute_outputs",
    "correct_classification_rates",
    "create",
    "delong",
    "ood_metrics",
    "paired_bootstrap",
    "search",
]
