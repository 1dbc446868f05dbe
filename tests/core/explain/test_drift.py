"""Map drift against scipy, and maps that have no order."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from scipy.stats import spearmanr

from fairquant_core.errors import EvaluationError
from fairquant_core.explain.drift import group_drift, image_drift, pooled


def random_maps(count: int, side: int = 28, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(count, side, side)).astype(np.float32)


def test_pooling_is_the_mean_of_the_magnitude() -> None:
    maps = random_maps(2)
    expected = np.abs(maps).reshape(2, 14, 2, 14, 2).mean(axis=(2, 4))
    assert pooled(maps) == pytest.approx(expected, abs=1e-6)
    assert pooled(np.ones((1, 30, 30))) == pytest.approx(np.ones((1, 14, 14)))
    assert pooled(maps[:, :5, :5]).shape == (2, 5, 5)


def test_drift_equals_scipy() -> None:
    before, after = random_maps(4), random_maps(4) + random_maps(4, seed=1)
    found = image_drift(before, after)
    for index in range(4):
        one, other = (pooled(maps[index : index + 1]).ravel() for maps in (before, after))
        assert found["drift"][index] == pytest.approx(1 - spearmanr(one, other)[0], abs=1e-9)
        count = round(0.1 * 196)
        chosen, others = set(np.argsort(-one)[:count]), set(np.argsort(-other)[:count])
        overlap = len(chosen & others) / len(chosen | others)
        assert found["overlap"][index] == pytest.approx(overlap, abs=1e-9)


def test_same_map_does_not_drift_and_scale_does_not_matter() -> None:
    maps = random_maps(3)
    found = image_drift(maps, 7 * maps)
    assert found["drift"].to_numpy() == pytest.approx(np.zeros(3), abs=1e-12)
    assert (found["overlap"] == 1).all() and found["estimable"].all()


@pytest.mark.parametrize("value", [0.0, 3.0, np.nan], ids=["zero", "constant", "nan"])
def test_a_map_without_order_is_not_estimable(value: float) -> None:
    before, after = random_maps(2), random_maps(2, seed=1)
    after[1] = value
    found = image_drift(before, after)
    assert found["estimable"].tolist() == [True, False]
    assert np.isnan(found.loc[1, ["drift", "overlap"]].astype(float)).all()


def test_zeros_are_never_important() -> None:
    before = np.zeros((1, 14, 14))
    after = before.copy()
    before[0, 0, 0], after[0, 13, 13] = 1, 1
    assert image_drift(before, after)["overlap"][0] == 0


def test_different_shapes() -> None:
    with pytest.raises(EvaluationError, match="different shapes"):
        image_drift(random_maps(2), random_maps(3))


def test_groups_with_too_few_maps_have_no_interval() -> None:
    before, after = random_maps(9), random_maps(9) + random_maps(9, seed=2)
    after[7:] = 0
    groups = pd.Series(["a"] * 6 + ["b", "b", "c"])
    found = group_drift(image_drift(before, after), groups, order=["a", "b", "c", "d"])
    rows = found.set_index("group")
    assert rows["images"].tolist() == [6, 2, 1, 0] and rows["n"].tolist() == [6, 1, 0, 0]
    assert rows.loc["a", "drift_low"] < rows.loc["a", "drift"] < rows.loc["a", "drift_high"]
    assert np.isnan(rows.loc["b", ["drift_low", "overlap_high"]].astype(float)).all()
    assert np.isfinite(rows.loc["b", "drift"])
    assert np.isnan(rows.loc[["c", "d"], ["drift", "overlap"]].to_numpy(float)).all()


def test_no_map_is_estimable() -> None:
    found = group_drift(image_drift(np.zeros((2, 8, 8)), np.zeros((2, 8, 8))), pd.Series(["a"] * 2))
    assert found["n"].tolist() == [0] and np.isnan(found["overlap"][0])


def test_interval_of_few_images_covers() -> None:
    """Simulation with 8 images per group, as in the gallery."""
    rng = np.random.default_rng(5)
    covered = 0
    for _ in range(150):
        values = rng.beta(6, 3, size=8)
        drift = pd.DataFrame({"drift": values, "overlap": values, "estimable": True})
        row = group_drift(drift, pd.Series(["a"] * 8), resamples=200).iloc[0]
        covered += row["overlap_low"] <= 6 / 9 <= row["overlap_high"]
    assert covered / 150 > 0.91
