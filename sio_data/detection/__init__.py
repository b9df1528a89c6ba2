"""Out-of-distribution detection: outputs of a network, detectors on them, metrics, evaluation and report."""

from sio_data.detection.detectors import DETECTORS, create
from sio_data.detection.detectors.base import Detector
from sio_data.detection.metrics import OODMetrics, ood_metrics
from sio_data.detection.outputs import Outputs, compute_outputs

__all__ = ["DETECTORS", "Detector", "OODMetrics", "Outputs", "compute_outputs", "create", "ood_metrics"]
