import numpy as np
import pytest
import torch

from sio_data.detection import Outputs
from sio_data.detection.percentiles import feature_percentile, order_statistics

RANDOM = np.random.default_rng(0)
FEATURES = {
    "both signs": RANDOM.normal(size=(37, 11)) * 10.0 ** RANDOM.integers(-8, 8, size=(37, 11)),
    "ties": RANDOM.integers(-2, 3, size=(40, 7)),
    "rectified": np.maximum(RANDOM.normal(size=(50, 6)), 0),
    "one image": RANDOM.normal(size=(1, 9)),
    "one value": np.array([[2.5]]),
    "all equal": np.full((8, 3), -1.25),
    "all negative": -RANDOM.random((20, 5)),
}


def outputs(features: np.ndarray | torch.Tensor, memory: int = 1 << 20) -> Outputs:
    count = len(features)
    return Outputs(torch.zeros(count, 2), torch.as_tensor(features), torch.zeros(count).long(), memory=memory)


@pytest.mark.parametrize("kind", [np.float16, np.float32, np.float64])
@pytest.mark.parametrize("name", FEATURES)
def test_percentiles_are_those_of_numpy(name: str, kind: type[np.floating]) -> None:
    features = FEATURES[name].clip(-6e4, 6e4).astype(kind)
    for percent in (0, 1, 12.5, 50, 85, 90, 99, 99.9, 100):
        expected = np.percentile(features.astype(np.float64), percent)
        assert feature_percentile(outputs(features), percent) == pytest.approx(expected, rel=1e-14)


def test_percentiles_of_bfloat16_are_those_of_numpy() -> None:
    features = torch.from_numpy(FEATURES["both signs"]).bfloat16()
    expected = np.percentile(features.double().numpy(), 85)
    assert feature_percentile(outputs(features), 85) == pytest.approx(expected, rel=1e-14)


@pytest.mark.parametrize("kind", [np.float16, np.float32, np.float64])
def test_order_statistics_are_exact(kind: type[np.floating]) -> None:
    features = FEATURES["both signs"].clip(-6e4, 6e4).astype(kind)
    ranks = range(0, features.size, 13)
    assert order_statistics(outputs(features), ranks) == np.sort(features, axis=None)[::13].tolist()


def test_features_are_read_in_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    features = FEATURES["both signs"].astype(np.float32)
    small = outputs(features, memory=8 * 4 * 11 * 5)
    rows = []
    blocks = Outputs.blocks

    def watch(self: Outputs, floats: int):
        for block in blocks(self, floats):
            rows.append(len(block))
            yield block

    monkeypatch.setattr(Outputs, "blocks", watch)
    assert feature_percentile(small, 90) == feature_percentile(outputs(features), 90)
    assert max(rows[: len(rows) // 2]) == 5


def test_a_percentile_is_computed_once(monkeypatch: pytest.MonkeyPatch) -> None:
    small = outputs(FEATURES["ties"].astype(np.float32))
    first = feature_percentile(small, 90)
    monkeypatch.setattr(Outputs, "blocks", lambda self, floats: pytest.fail("read again"))
    assert feature_percentile(small, 90) == first
