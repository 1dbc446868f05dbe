"""Resampling: strata keep their size, clusters stay together, seeds repeat, and it is fast."""

from __future__ import annotations

import time

import numpy as np
import pytest

from fairquant_core.audit import bootstrap as module
from fairquant_core.audit.bootstrap import (
    Bootstrap,
    group_means,
    percentile_interval,
    spread_of,
    widened,
)

STRATA = np.repeat([0, 1, 2], [30, 10, 1])


def test_strata_keep_their_size() -> None:
    counts = Bootstrap(STRATA, resamples=40).counts()
    assert counts.shape == (40, 41)
    for stratum, size in enumerate([30, 10, 1]):
        assert (counts[:, stratum == STRATA].sum(axis=1) == size).all()


def test_clusters_stay_together() -> None:
    clusters = np.arange(41) // 3
    counts = Bootstrap(STRATA, clusters, resamples=20).counts()
    for cluster in np.unique(clusters):
        block = counts[:, clusters == cluster]
        assert (block == block[:, :1]).all()


def test_same_seed_same_counts_whatever_the_block(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = Bootstrap(STRATA, resamples=30, seed=5).counts()
    monkeypatch.setattr(module, "_BLOCK", 41 * 7)
    assert (Bootstrap(STRATA, resamples=30, seed=5).counts() == whole).all()
    assert (Bootstrap(STRATA, resamples=30, seed=6).counts() != whole).any()


def test_counts_repeat_and_are_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    plan = Bootstrap(STRATA, resamples=30)
    first = plan.counts()
    monkeypatch.setattr(Bootstrap, "_draw", lambda _: pytest.fail("the counts were drawn again"))
    assert (plan.counts() == first).all()


def test_large_plans_are_drawn_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_KEPT", 0)
    plan = Bootstrap(STRATA, resamples=30)
    assert (plan.counts() == plan.counts()).all()


def test_widened_bounds_of_a_mean() -> None:
    rng = np.random.default_rng(0)
    drawn = rng.normal(size=(4000, 2))
    low, high = widened(np.zeros(2), drawn, np.array([10, 1]))
    assert high[0] == pytest.approx(2.262 * np.sqrt(10 / 9), rel=0.06)
    assert np.isinf(low[1]) and np.isinf(high[1])
    assert spread_of(np.array([[1.0, np.nan], [3.0, np.nan]])).tolist() == [1.0, 0.0]


def test_standard_error_of_a_mean() -> None:
    rng = np.random.default_rng(0)
    values = rng.normal(size=400)
    drawn = Bootstrap(np.zeros(400)).statistics(
        lambda counts: group_means(counts, values, np.ones((400, 1), np.float32))
    )
    assert drawn.std() == pytest.approx(values.std() / 20, rel=0.06)


def test_undefined_resamples_are_left_out() -> None:
    values = np.array([[1.0, np.nan], [2.0, np.nan], [np.nan, np.nan], [3.0, np.nan]])
    low, high = percentile_interval(values, 0.9)
    assert 1 <= low[0] < high[0] <= 3 and np.isnan(low[1]) and np.isnan(high[1])


def test_no_image_at_all() -> None:
    assert Bootstrap(np.zeros(0), resamples=3).counts().shape == (3, 0)


def test_two_thousand_resamples_of_1200_images_are_quick() -> None:
    start = time.perf_counter()
    Bootstrap(np.arange(1200) % 6, np.arange(1200) // 2, resamples=2000).counts()
    assert time.perf_counter() - start < 5
