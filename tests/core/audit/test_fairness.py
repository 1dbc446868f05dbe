"""Fairness criteria against fairlearn; gaps that nobody can estimate are not counted as zero."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pandas as pd
import pytest
from fairlearn.metrics import (
    demographic_parity_difference,
    equal_opportunity_difference,
    equalized_odds_difference,
)

from fairquant_core.audit.bootstrap import Bootstrap
from fairquant_core.audit.fairness import fairness_tables
from fairquant_core.audit.gaps import deviations, gap_estimate
from fairquant_core.audit.group_metrics import metric_table
from fairquant_core.audit.grouping import Grouping
from fairquant_core.audit.measures import standard_measures
from fairquant_core.audit.predictions import Predictions
from fairquant_core.audit.replicates import Sample, Scores
from fairquant_core.audit.spread import spread_table

MakeScored = Callable[..., Predictions]
MakePredictions = Callable[..., Predictions]


def sample_of(
    table: Predictions, must_not_miss: tuple[str, ...] = (), resamples: int = 60
) -> Sample:
    grouping = Grouping.build(table.groups("tone", "fst3"), len(table))
    scores = Scores(table, table.models[0], grouping, standard_measures(must_not_miss))
    clusters = table.frame["cluster"].to_numpy()
    return Sample.of(scores, Bootstrap(grouping.codes, clusters, resamples=resamples))


def fairness_of(table: Predictions, **options: object) -> tuple[pd.DataFrame, pd.DataFrame]:
    sample = sample_of(table)
    criteria, by_class = fairness_tables(
        sample.scores,
        sample.seen,
        table.classes,
        resamples=200,
        **options,  # type: ignore[arg-type]
    )
    return criteria.set_index(["criterion", "about"]), by_class.set_index("class")


@pytest.mark.parametrize("seed", range(3))
def test_equals_fairlearn(make_scored: MakeScored, seed: int) -> None:
    table = make_scored(300, seed=seed)
    criteria, by_class = fairness_of(table, must_not_miss=["class 1", "class 3"])
    truth, called = table.frame["label"].to_numpy(object), table.predicted("model 0").to_numpy()
    groups = {"sensitive_features": table.groups("tone", "fst3").to_numpy(object)}
    opportunity, odds = [], []
    for name in table.classes:
        one, says = truth == name, called == name
        opportunity.append(equal_opportunity_difference(one, says, **groups))
        odds.append(equalized_odds_difference(one, says, agg="mean", **groups))
        assert by_class.loc[name, "tpr_gap"] == pytest.approx(opportunity[-1], abs=1e-9)
        parity = demographic_parity_difference(one, says, **groups)
        assert by_class.loc[name, "called_gap"] == pytest.approx(parity, abs=1e-9)
        if name in ("class 1", "class 3"):
            found = criteria.loc[("demographic parity", name), "value"]
            assert found == pytest.approx(parity, abs=1e-9)
    both = np.isin(called, ["class 1", "class 3"])
    parity = demographic_parity_difference(np.isin(truth, ["class 1", "class 3"]), both, **groups)
    value = criteria["value"]
    assert value["demographic parity", "any of these"] == pytest.approx(parity, abs=1e-9)
    assert value["equal opportunity", ""] == pytest.approx(np.mean(opportunity), abs=1e-9)
    assert value["equalised odds", ""] == pytest.approx(np.mean(odds), abs=1e-9)
    assert (criteria["classes_estimable"] == criteria["classes"]).all()


def test_a_class_in_one_group_only_does_not_dilute(make_predictions: MakePredictions) -> None:
    """All nevi of one group are missed: the gap is 1, whatever the other classes hold."""
    labels = ["nevus"] * 20 + ["melanoma"] * 10 + ["keratosis"] * 10
    groups = ["1"] * 10 + ["6"] * 10 + ["1"] * 20
    called = ["nevus"] * 10 + ["melanoma"] * 10 + labels[20:]
    criteria, by_class = fairness_of(make_predictions(labels, groups, a=called))
    row = criteria.loc[("equal opportunity", "")]
    assert row["value"] == 1.0 and (row["classes_estimable"], row["classes"]) == (1, 3)
    assert by_class["estimable"].to_dict() == {"melanoma": False, "nevus": True, "keratosis": False}
    assert np.isnan(by_class.loc["melanoma", "tpr_gap"])
    assert "fewer than two groups" in by_class.loc["melanoma", "reason"]


def test_nothing_estimable_is_said(make_predictions: MakePredictions) -> None:
    table = make_predictions(["nevus"] * 4, ["1"] * 3 + ["-1"], a=["nevus"] * 4)
    criteria, _ = fairness_of(table)
    assert not criteria["estimable"].any() and criteria["value"].isna().all()
    assert criteria.loc[("equal opportunity", ""), "reason"]
    assert "must not be missed" in criteria.loc[("demographic parity", ""), "reason"]
    criteria, _ = fairness_of(table, minimum_images=50, must_not_miss=["nevus"])
    assert not criteria["estimable"].any()


def test_minimums_decide_which_classes_count(make_predictions: MakePredictions) -> None:
    labels = (["nevus"] * 10 + ["melanoma"] * 3) * 2
    groups = ["1"] * 13 + ["6"] * 13
    table = make_predictions(labels, groups, a=labels)
    assert fairness_of(table)[0].loc[("equal opportunity", ""), "classes_estimable"] == 2
    strict, by_class = fairness_of(table, minimum_positives=5)
    assert strict.loc[("equal opportunity", ""), "classes_estimable"] == 1
    assert "5 or more" in by_class.loc["melanoma", "reason"]


def test_small_cells_make_large_gaps_by_chance(make_scored: MakeScored) -> None:
    """Sixteen classes, about four images per cell, no true difference between groups."""
    rows = [
        fairness_of(make_scored(200, 16, seed=seed))[0].loc[("equal opportunity", "")]
        for seed in range(12)
    ]
    seen = np.array([row["value"] for row in rows])
    assert seen.mean() > 0.3
    assert np.mean([row["by_chance"] for row in rows]) == pytest.approx(seen.mean(), abs=0.05)
    assert sum(row["low"] > 0 for row in rows) <= 2


def test_spread_counts_only_large_enough_known_groups(make_predictions: MakePredictions) -> None:
    labels = ["nevus"] * 61 + ["melanoma"] * 20
    called = ["nevus"] * 40 + ["melanoma"] * 41
    groups = ["1"] * 30 + ["3"] * 30 + ["6"] + ["-1"] * 20
    sample = sample_of(make_predictions(labels, groups, a=called), ("melanoma",))
    table = metric_table(sample.scores, sample.seen, sample.drawn)
    rows = spread_table(sample, table, minimum_images=20).set_index("measure")
    accuracy = rows.loc["accuracy"]
    assert (accuracy["worst_group"], accuracy["groups_counted"]) == ("FST III-IV", 2)
    assert accuracy["gap"] == pytest.approx(20 / 30)
    assert accuracy["macro"] == pytest.approx((1 + 10 / 30) / 2)
    assert rows.loc["Brier score", "worst_group"] == "FST III-IV"  # a larger one is worse
    sensitivity = rows.loc["sensitivity (melanoma)"]
    assert not sensitivity["estimable"] and "fewer than two" in sensitivity["reason"]
    assert pd.isna(sensitivity["worst_group"]) and np.isnan(sensitivity["gap"])


def test_gap_bounds() -> None:
    noise = deviations(np.zeros((4000, 3)), np.full(3, 0.05), seed=1)
    assert noise.std(axis=0) == pytest.approx(0.05, rel=0.05)
    values = np.array([[0.9], [0.5], [0.7]])
    found = gap_estimate(values, noise[:, :, None])
    assert found.value == pytest.approx(0.4)
    # Two groups far from the third: the gap is nearly a difference of two normal values.
    assert found.low == pytest.approx(0.4 - 1.96 * 0.05 * np.sqrt(2), abs=0.03)
    assert found.high == pytest.approx(0.4 + 1.96 * 0.05 * np.sqrt(2), abs=0.03)
    assert found.by_chance == pytest.approx(0.05 * 1.6926, rel=0.05)  # mean range of three normals
    same = gap_estimate(np.full((3, 1), 0.7), noise[:, :, None])
    assert same.value == same.low == 0 and same.high > 0.05
    exact = gap_estimate(values, np.zeros((10, 3, 1)))
    assert exact[:3] == pytest.approx((0.4, 0.4, 0.4), abs=1e-3)


def test_gap_leaves_out_cells_and_columns() -> None:
    noise = np.zeros((10, 3, 3))
    values = np.array([[0.1, 0.5, np.nan], [0.3, np.nan, np.nan], [np.nan, 0.9, 0.2]])
    assert gap_estimate(values, noise).value == pytest.approx((0.2 + 0.4) / 2)
    assert np.isnan(gap_estimate(values[:, 2:], noise[:, :, 2:])).all()
