"""Paired differences over images and seeds, against scipy and against a bootstrap written out in loops."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from scipy.stats import bootstrap

from fairquant_core.audit.grouping import Grouping
from fairquant_core.audit.over_seeds import OverSeeds, seed_weights

IMAGES = 240


@pytest.fixture(scope="module")
def correct() -> np.ndarray:
    """Rows 0 to 2: a method with three seeds; rows 3 to 5: a better one with the same seeds."""
    rng = np.random.default_rng(5)
    easy = rng.random(IMAGES)
    rows = [easy + rng.normal(0, 0.15, IMAGES) > 0.45 + 0.03 * seed for seed in range(3)]
    rows += [easy + rng.normal(0, 0.15, IMAGES) > 0.36 + 0.02 * seed for seed in range(3)]
    return np.array(rows)


@pytest.fixture(scope="module")
def losses(correct: np.ndarray) -> np.ndarray:
    """Lower where the answer is right."""
    rng = np.random.default_rng(6)
    return rng.gamma(2.0, 0.5, correct.shape) + 1.5 * ~correct


@pytest.fixture(scope="module")
def grouping() -> Grouping:
    names = np.array(["a", "b", "b", "b", "unknown", "small"])[
        np.r_[np.arange(IMAGES - 4) % 5, [5] * 4]
    ]
    return Grouping.build(pd.Series(names), IMAGES)


def rows_of(found: list[dict]) -> pd.DataFrame:
    return pd.DataFrame(found).set_index("figure")


def test_one_seed_agrees_with_scipy(correct: np.ndarray) -> None:
    whole = Grouping.build(pd.Series(["all"] * IMAGES), IMAGES)
    board = OverSeeds(correct, whole, np.arange(IMAGES), resamples=4000)
    row = rows_of(board.changes([3], [0])).loc["accuracy"]
    change = correct[3].astype(float) - correct[0]
    expected = bootstrap(
        (change,), np.mean, method="percentile", n_resamples=4000, rng=np.random.default_rng(1)
    ).confidence_interval
    assert row["difference"] == pytest.approx(change.mean())
    assert row["low"] == pytest.approx(expected.low, abs=0.006)
    assert row["high"] == pytest.approx(expected.high, abs=0.006)


def test_values_by_hand(correct: np.ndarray, losses: np.ndarray, grouping: Grouping) -> None:
    board = OverSeeds(
        correct, grouping, np.arange(IMAGES), losses=losses, minimum_images=20, resamples=50
    )
    rows = rows_of(board.changes([3, 4, 5], [0, 1, 2]))
    assert board.group_names == ("a", "b", "small")
    per_group = {
        name: np.array([row[grouping.mask(name)].mean() for row in correct]) for name in "ab"
    }
    worst = np.minimum(per_group["a"], per_group["b"])
    gap = np.abs(per_group["a"] - per_group["b"])
    highest = np.array([max(row[grouping.mask(name)].mean() for name in "ab") for row in losses])
    for figure, values in (
        ("worst", worst),
        ("gap", gap),
        ("accuracy: a", per_group["a"]),
        ("loss", losses.mean(axis=1)),
        ("worst_loss", highest),
    ):
        # The figure of each seed first, then the mean: not the figure of mean accuracies.
        expected = values[3:].mean() - values[:3].mean()
        assert rows.loc[figure, "difference"] == pytest.approx(expected, abs=1e-6)
    assert rows.loc["accuracy", "changed"] == (correct[3:] != correct[:3]).sum()
    assert rows.loc["accuracy: small", "changed"] < 10
    assert np.isnan(rows.loc["accuracy: small", "low"])


def test_three_seeds_agree_with_loops(
    correct: np.ndarray, losses: np.ndarray, grouping: Grouping
) -> None:
    """Images within groups, two of three seeds, everything drawn one by one."""
    rng = np.random.default_rng(9)
    members = [np.flatnonzero(grouping.mask(name)) for name in grouping.names]
    masks = [grouping.mask(name) for name in "ab"]
    drawn: dict[str, list[float]] = {"accuracy": [], "worst": [], "worst_loss": []}
    for _ in range(3000):
        images = np.concatenate([rng.choice(own, len(own)) for own in members])
        seeds = rng.integers(0, 3, 2)
        own, other = correct[3 + seeds][:, images], correct[seeds][:, images]
        drawn["accuracy"].append(own.mean() - other.mean())
        worst = [np.min([part[:, m[images]].mean(1) for m in masks], 0) for part in (own, other)]
        drawn["worst"].append(float((worst[0] - worst[1]).mean()))
        costs = losses[3 + seeds][:, images], losses[seeds][:, images]
        highest = [np.max([part[:, m[images]].mean(1) for m in masks], 0) for part in costs]
        drawn["worst_loss"].append(float((highest[0] - highest[1]).mean()))
    board = OverSeeds(
        correct, grouping, np.arange(IMAGES), losses=losses, minimum_images=20, resamples=3000
    )
    rows = rows_of(board.changes([3, 4, 5], [0, 1, 2]))
    for figure, values in drawn.items():
        low, high = np.percentile(values, [2.5, 97.5])
        close = 0.02 if figure == "worst_loss" else 0.006
        assert rows.loc[figure, "low"] == pytest.approx(low, abs=close)
        assert rows.loc[figure, "high"] == pytest.approx(high, abs=close)


def test_seed_weights_give_the_unbiased_variance_of_a_mean() -> None:
    values = np.array([0.3, 0.5, 1.1])
    weights = seed_weights(3, 200_000)
    assert weights.sum(axis=1) == pytest.approx(1)
    assert (weights @ values).var() == pytest.approx(values.var(ddof=1) / 3, rel=0.02)
    assert (seed_weights(1, 5) == 1).all()


def test_clusters_widen_the_interval(correct: np.ndarray) -> None:
    """Every image four times over is no more evidence than once."""
    whole = Grouping.build(pd.Series(["all"] * 4 * IMAGES), 4 * IMAGES)
    four = np.tile(correct, 4)
    widths = []
    for clusters in (np.tile(np.arange(IMAGES), 4), np.arange(4 * IMAGES)):
        board = OverSeeds(four, whole, clusters, resamples=8000)
        row = rows_of(board.changes([3], [0])).loc["accuracy"]
        widths.append(row["high"] - row["low"])
    assert widths[0] / widths[1] == pytest.approx(2, rel=0.08)


def test_a_method_against_itself_has_no_interval(correct: np.ndarray, grouping: Grouping) -> None:
    board = OverSeeds(correct, grouping, np.arange(IMAGES), minimum_images=1000, resamples=20)
    rows = rows_of(board.changes([0, 1], [0, 1]))
    assert rows.loc["accuracy", "difference"] == 0 and np.isnan(rows.loc["accuracy", "low"])
    # No group is large enough to be the worst.
    assert np.isnan(rows.loc["worst", "difference"]) and np.isnan(rows.loc["gap", "difference"])
    assert rows_of(board.changes([], []))["difference"].isna().all()
