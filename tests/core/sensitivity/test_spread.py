"""Intervals of predicted sensitivities, against scipy's bootstrap and against their promise."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import bootstrap

from fairquant_core.sensitivity.spread import batch_spread


def test_it_is_the_percentile_bootstrap_of_the_ratio() -> None:
    rng = np.random.default_rng(0)
    sizes = rng.integers(3, 17, 12).astype(float)
    sums = rng.gamma(2.0, 1.0, (12, 2, 3)) * sizes[:, None, None]
    below, above = batch_spread(sums, sizes, resamples=8000)

    def mean(values, sizes, axis=-1):
        return values.sum(axis=axis) / sizes.sum(axis=axis)

    for layer, bits in ((0, 0), (1, 2)):
        column = sums[:, layer, bits]
        interval = bootstrap(
            (column, sizes), mean, paired=True, vectorized=True, n_resamples=8000,
            method="percentile", rng=np.random.default_rng(1),
        ).confidence_interval  # fmt: skip
        estimate = column.sum() / sizes.sum()
        width = interval.high - interval.low
        assert estimate - below[layer, bits] == pytest.approx(interval.low, abs=0.04 * width)
        assert estimate + above[layer, bits] == pytest.approx(interval.high, abs=0.04 * width)


def test_the_interval_covers_the_truth_about_as_often_as_it_says() -> None:
    rng = np.random.default_rng(2)
    sizes = np.full(16, 16.0)
    sums = 16 * rng.gamma(4.0, 0.25, (16, 500, 1))
    below, above = batch_spread(sums, sizes)[..., 0]
    estimate = sums.sum(axis=0)[:, 0] / sizes.sum()
    inside = (estimate - below <= 1.0) & (estimate + above >= 1.0)
    assert 0.88 < inside.mean() < 0.97


def test_one_batch_gives_no_interval() -> None:
    assert np.isnan(batch_spread(np.ones((1, 2, 3)), np.array([5.0]))).all()


def test_the_seed_decides() -> None:
    sums, sizes = np.random.default_rng(0).random((9, 2, 2)), np.full(9, 4.0)
    same = batch_spread(sums, sizes, seed=1), batch_spread(sums, sizes, seed=1)
    np.testing.assert_array_equal(*same)
    assert (same[0] != batch_spread(sums, sizes, seed=2)).any()
