"""Shares of maps on the lesion, against sums by hand, and how they are kept."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from fairquant_core.errors import EvaluationError
from fairquant_core.explain.lesion import group_shares, lesion_area, share_inside

SIDE = 28


def random_maps(count: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(count, SIDE, SIDE)).astype(np.float32)


def square(first: int, last: int) -> np.ndarray:
    cover = np.zeros((SIDE, SIDE), np.float32)
    cover[first:last, first:last] = 1
    return cover


def test_the_share_is_the_sum_of_magnitudes_inside() -> None:
    maps, cover = random_maps(2), square(5, 20)
    cover[5, 5:20] = 0.25  # a border that a mask covers only partly
    wanted = []
    for values in maps:
        inside = total = 0.0
        for y in range(SIDE):
            for x in range(SIDE):
                inside += abs(float(values[y, x])) * float(cover[y, x])
                total += abs(float(values[y, x]))
        wanted.append(inside / total)
    assert share_inside(maps, [cover, cover]) == pytest.approx(wanted, abs=1e-12)


def test_scale_and_sign_do_not_matter() -> None:
    maps, covers = random_maps(3), [square(3, 9)] * 3
    assert share_inside(-7 * maps, covers) == pytest.approx(share_inside(maps, covers), abs=1e-9)


def test_noise_gives_what_chance_gives() -> None:
    covers = [square(4, 18)] * 40
    found = share_inside(random_maps(40), covers)
    assert found.mean() == pytest.approx(lesion_area(covers)[0], abs=0.01)


def test_all_and_nothing() -> None:
    maps = np.stack([square(6, 9), square(20, 22)])
    assert share_inside(maps, [square(5, 10)] * 2).tolist() == [1.0, 0.0]


@pytest.mark.parametrize("value", [0.0, 3.0, np.nan, np.inf], ids=str)
def test_a_map_that_looks_nowhere_is_not_estimable(value: float) -> None:
    maps = random_maps(2)
    maps[1] = value
    found = share_inside(maps, [square(3, 9)] * 2)
    assert np.isfinite(found).tolist() == [True, False]


def test_an_image_without_a_mask_is_not_estimable() -> None:
    covers = [None, square(3, 9)]
    assert np.isnan(share_inside(random_maps(2), covers)).tolist() == [True, False]
    assert np.isnan(lesion_area(covers)).tolist() == [True, False]


def test_masks_of_another_size_or_number_are_refused() -> None:
    with pytest.raises(EvaluationError, match=r"mask of image 2 has the shape \(3, 3\)"):
        share_inside(random_maps(2), [None, np.ones((3, 3))])
    with pytest.raises(EvaluationError, match="as many masks, not 1"):
        share_inside(random_maps(2), [None])


def shares(count: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    before = rng.beta(6, 4, count)
    return rng.beta(2, 6, count), before, np.clip(before + rng.normal(-0.03, 0.02, count), 0, 1)


def test_groups_have_means_and_students_interval_of_the_pairs() -> None:
    area, before, after = shares(12)
    groups = pd.Series(["a"] * 8 + ["b"] * 4)
    found = group_shares(area, before, after, groups, order=["a", "b", "c"]).set_index("group")
    assert found["lesion_n"].tolist() == [8, 4, 0]
    row = found.loc["a"]
    for name, values in (
        ("lesion_before", before[:8]),
        ("lesion_after", after[:8]),
        ("lesion_change", (after - before)[:8]),
    ):
        assert row[name] == pytest.approx(values.mean(), abs=1e-12)
        low, high = stats.t.interval(0.95, 7, values.mean(), stats.sem(values))
        # The wider of Student's interval and the bootstrap's, which is narrower for few images.
        assert (
            row[f"{name}_low"] == pytest.approx(low, abs=0.004)
            and row[f"{name}_low"] <= low + 1e-12
        )
        assert row[f"{name}_high"] == pytest.approx(high, abs=0.004)
    assert row["lesion_area"] == pytest.approx(area[:8].mean())
    assert found.loc["c"].drop("lesion_n").isna().all()


def test_the_paired_change_is_sharper_than_the_two_intervals() -> None:
    row = group_shares(*shares(30), pd.Series(["a"] * 30)).iloc[0]
    assert row["lesion_before_low"] < row["lesion_after_high"], "the intervals of the means overlap"
    assert row["lesion_change_high"] < 0, "and yet every image lost some"


def test_only_images_with_a_mask_and_both_maps_count() -> None:
    area, before, after = shares(6)
    area[0] = before[1] = after[2] = np.nan
    row = group_shares(area, before, after, pd.Series(["a"] * 6)).iloc[0]
    assert row["lesion_n"] == 3
    assert row["lesion_before"] == pytest.approx(before[3:].mean())
    assert row["lesion_change"] == pytest.approx(row["lesion_after"] - row["lesion_before"])


def test_one_image_has_no_interval_and_none_has_no_mean() -> None:
    area, before, after = shares(1)
    row = group_shares(area, before, after, pd.Series(["a"])).iloc[0]
    assert row["lesion_change"] == pytest.approx(after[0] - before[0])
    assert np.isnan(row["lesion_change_low"])
    nothing = np.full(2, np.nan)
    empty = group_shares(nothing, nothing, nothing, pd.Series(["a", "a"])).iloc[0]
    assert empty["lesion_n"] == 0 and np.isnan(empty["lesion_after"])


def test_pictures_of_one_patient_are_drawn_together() -> None:
    area, before, after = shares(6)
    area, before, after = (np.repeat(values, 10) for values in (area, before, after))
    groups, patients = pd.Series(["a"] * 60), np.repeat(np.arange(6), 10)
    alone = group_shares(area, before, after, groups).iloc[0]
    together = group_shares(area, before, after, groups, clusters=patients).iloc[0]
    width = [row["lesion_after_high"] - row["lesion_after_low"] for row in (alone, together)]
    assert width[1] > 2 * width[0]
