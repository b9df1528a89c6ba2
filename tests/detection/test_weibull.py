import numpy as np
import pytest
import torch
from scipy.stats import weibull_min

from sio_data.detection.weibull import fit_weibull


def test_the_fit_is_that_of_scipy() -> None:
    samples = weibull_min.rvs([[0.7], [2.0], [30.0]], scale=[[1.0], [5.0], [2.0]], size=(3, 25), random_state=0)
    scale, shape = fit_weibull(torch.from_numpy(samples))
    for row in range(3):
        expected_shape, _, expected_scale = weibull_min.fit(samples[row], floc=0)
        assert float(shape[row]) == pytest.approx(expected_shape, rel=1e-4)
        assert float(scale[row]) == pytest.approx(expected_scale, rel=1e-4)


def test_no_other_shape_or_scale_is_likelier() -> None:
    samples = weibull_min.rvs(1.5, scale=3.0, size=(1, 20), random_state=1)
    scale, shape = (float(value) for value in fit_weibull(torch.from_numpy(samples)))
    best = weibull_min.logpdf(samples, shape, scale=scale).sum()
    for factor in (0.999, 1.001):
        assert weibull_min.logpdf(samples, shape * factor, scale=scale).sum() < best
        assert weibull_min.logpdf(samples, shape, scale=scale * factor).sum() < best


def test_rows_may_be_shorter() -> None:
    samples = weibull_min.rvs(2.0, size=6, random_state=2)
    padded = np.full((1, 9), np.nan)
    padded[0, :6] = samples
    for short, whole in zip(
        fit_weibull(torch.from_numpy(padded)), fit_weibull(torch.from_numpy(samples[None])), strict=True
    ):
        assert float(short) == pytest.approx(float(whole), rel=1e-12)


def test_equal_samples_give_a_step_there() -> None:
    scale, shape = fit_weibull(torch.full((1, 4), 3.0, dtype=torch.float64))
    assert float(scale) == pytest.approx(3.0)
    assert float(shape) == pytest.approx(1e8)


def test_an_empty_row_gives_finite_numbers() -> None:
    scale, shape = fit_weibull(torch.full((2, 4), torch.nan, dtype=torch.float64))
    assert scale.tolist() == [1.0, 1.0]
    assert torch.isfinite(shape).all()
