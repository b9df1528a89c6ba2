"""Detectors that look at the network, from pixels to scores, against OpenOOD v1.5's scores beside the repository."""

import numpy as np
import pytest
import torch
from scipy.stats import spearmanr

from sio_data.detection import Outputs, compute_outputs, create
from sio_data.detection.detectors import gram
from sio_data.detection.detectors.network import NetworkDetector
from tests.detection import golden_network as golden

pytestmark = golden.needs_golden
EVERY = 10  # of the images that are scored


def differences(tag: str, found: list[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """Give how far scores are off, absolutely in standard deviations of all reference scores, and relatively."""
    reference = [golden.arrays("scores")[f"scores_{tag}_{part}"].ravel() for part in ("id", "ood")]
    every = np.concatenate([scores[::EVERY] for scores in reference])
    errors = np.abs(np.concatenate(found) - every)
    assert spearmanr(np.concatenate(found), every).statistic > 0.9999
    return errors / np.concatenate(reference).std(), errors / np.abs(every)


def observe(classifier: golden.Classifier, detectors: list[NetworkDetector]) -> list[Outputs]:
    return [compute_outputs(classifier, golden.images(part, EVERY), observers=detectors) for part in ("test", "ood")]


def test_odin_and_iodin_agree_with_openood(monkeypatch: pytest.MonkeyPatch) -> None:
    classifier = golden.classifier(monkeypatch)
    detectors = {
        "odin": create("odin"),
        "odin_aps": create("odin", temperature=1, noise=0.0028),
        "iodin": create("iodin"),
        "iodin_aps": create("iodin", temperature=1, noise=0.0014),
    }
    outputs = observe(classifier, list(detectors.values()))
    assert np.abs(outputs[0].features.numpy() - golden.arrays("arrays")["test_features"][::EVERY]).max() < 1e-4
    for tag, detector in detectors.items():
        detector.fit(network=classifier)
        errors, _ = differences(tag, [detector.score(one) for one in outputs])
        assert errors.max() < 1e-3, tag


@pytest.mark.slow
def test_adascale_agrees_with_openood(monkeypatch: pytest.MonkeyPatch) -> None:
    classifier = golden.classifier(monkeypatch)
    detector = create("adascale_a")
    detector.fit(val=compute_outputs(classifier, golden.images("val"), observers=[detector]), network=classifier)
    errors, _ = differences("adascale_a", [detector.score(one) for one in observe(classifier, [detector])])
    assert (errors < 1e-4).mean() >= 0.97  # of 60: where the empirical distribution makes a step, one may jump
    assert errors.max() < 0.1


@pytest.mark.slow
def test_gram_agrees_with_openood(monkeypatch: pytest.MonkeyPatch) -> None:
    def draw(labels: torch.Tensor) -> torch.Tensor:
        drawn = torch.zeros(len(labels), dtype=torch.bool)
        for label in range(10):
            members = (labels == label).nonzero().squeeze(1)
            drawn[members[torch.from_numpy(golden.arrays("fit")[f"gram_val_index_class{label}"])]] = True
        return drawn

    monkeypatch.setattr(gram, "draw_held_out", draw)
    classifier = golden.classifier(monkeypatch)
    detector = create("gram")
    detector.fit(train=compute_outputs(classifier, golden.images("train"), watchers=[detector]), network=classifier)
    _, errors = differences("gram", [detector.score(one) for one in observe(classifier, [])])
    assert errors.max() < 0.02
    assert np.median(errors) < 1e-3
