"""Figures per group against fairlearn, scikit-learn and scipy; groups that cannot be estimated."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pandas as pd
import pytest
from fairlearn.metrics import MetricFrame
from scipy.stats import binomtest
from sklearn.metrics import accuracy_score, recall_score

from fairquant_core.audit.metrics import class_rates, group_accuracy, wilson
from fairquant_core.audit.predictions import Predictions
from fairquant_core.errors import EvaluationError

CLASSES = ("melanoma", "nevus", "keratosis")
MakePredictions = Callable[..., Predictions]


@pytest.mark.parametrize(("k", "n"), [(0, 7), (7, 7), (1, 1), (9, 12), (476, 635)])
def test_wilson_equals_scipy(k: int, n: int) -> None:
    expected = binomtest(k, n).proportion_ci(method="wilson")
    assert wilson(k, n) == pytest.approx((expected.low, expected.high), abs=1e-12)


def test_wilson_without_images_is_not_estimable() -> None:
    assert np.isnan(wilson(0, 0)).all()


def test_accuracy_equals_fairlearn_and_scipy(random_predictions: Predictions) -> None:
    table = random_predictions
    groups = table.groups("tone", "fst6")
    ours = group_accuracy(table, "candidate", groups, resamples=50)
    theirs = MetricFrame(
        metrics=accuracy_score,
        y_true=table.frame["label"].to_numpy(object),
        y_pred=table.predicted("candidate").to_numpy(object),
        sensitive_features=groups.to_numpy(object),
    )
    assert ours.overall["accuracy"] == pytest.approx(theirs.overall, abs=1e-9)
    by_group = ours.by_group.set_index("group")
    for name, value in theirs.by_group.items():
        assert by_group.loc[name, "accuracy"] == pytest.approx(value, abs=1e-9)
        row = by_group.loc[name]
        expected = binomtest(int(row["correct"]), int(row["n"])).proportion_ci(method="wilson")
        assert (row["low"], row["high"]) == pytest.approx(expected, abs=1e-9)
    known = theirs.by_group.drop("unknown")
    assert ours.gap == pytest.approx(known.max() - known.min(), abs=1e-9)
    assert ours.macro == pytest.approx(known.mean(), abs=1e-9)
    assert ours.worst_group == known.astype(float).idxmin()
    assert ours.worst is not None and ours.worst["accuracy"] == pytest.approx(known.min())


def test_empty_group_and_unknown_are_listed_but_not_counted(
    make_predictions: MakePredictions,
) -> None:
    labels = ["nevus"] * 6
    table = make_predictions(
        labels, ["1", "1", "3", "3", "-1", ""], a=["nevus"] * 3 + ["melanoma"] * 3
    )
    order = ["FST I-II", "FST III-IV", "FST V-VI"]
    result = group_accuracy(table, "a", table.groups("tone", "fst3"), order=order, resamples=50)
    rows = result.by_group.set_index("group")
    assert rows.index.tolist() == [*order, "unknown"]
    assert np.isnan(rows.loc["FST V-VI", ["accuracy", "low", "high"]].astype(float)).all()
    assert not rows.loc["FST V-VI", "estimable"] and rows.loc["unknown", "estimable"]
    assert rows["counted"].tolist() == [True, True, False, False]
    assert (result.worst_group, result.gap) == ("FST III-IV", 0.5)
    assert result.gap_low == 0.0 and result.gap_high is not None and result.gap_high > 0.9


def test_one_wrong_image_makes_no_worst_group(make_predictions: MakePredictions) -> None:
    labels = ["nevus"] * 61
    decisions = ["nevus"] * 40 + ["melanoma"] * 21
    groups = ["1"] * 30 + ["3"] * 30 + ["6"]
    predictions = make_predictions(labels, groups, candidate=decisions)
    tone = predictions.groups("tone", "fst3")
    strict = group_accuracy(predictions, "candidate", tone, minimum=20)
    assert strict.worst_group == "FST III-IV"
    assert strict.gap == pytest.approx(20 / 30)
    assert strict.by_group["group"].tolist() == ["FST I-II", "FST III-IV", "FST V-VI"]
    assert group_accuracy(predictions, "candidate", tone).worst_group == "FST V-VI"


def test_without_known_groups_nothing_is_made_up(make_predictions: MakePredictions) -> None:
    table = make_predictions(["nevus"] * 3, ["-1"] * 3, a=["nevus"] * 3)
    result = group_accuracy(table, "a", table.groups("tone", "fst3"))
    assert (result.worst_group, result.worst, result.gap, result.macro) == (None,) * 4
    one = group_accuracy(table, "a", pd.Series(["x"] * 3))
    assert (one.worst_group, one.gap, one.macro) == ("x", None, 1.0)


def test_single_class(make_predictions: MakePredictions) -> None:
    table = make_predictions(
        ["nevus"] * 4, ["1", "1", "5", "5"], classes=["nevus"], a=["nevus"] * 4
    )
    result = group_accuracy(table, "a", table.groups("tone", "fst3"), resamples=50)
    assert result.gap == 0.0 and result.gap_low == 0.0
    assert result.gap_high is not None and result.gap_high > 0.5  # two images per group say little


def test_clusters_widen_the_interval(make_predictions: MakePredictions) -> None:
    labels, decided = ["nevus"] * 40, ["nevus"] * 20 + ["melanoma"] * 20
    alone = make_predictions(labels, ["1"] * 40, a=decided)
    twins = make_predictions(
        labels, ["1"] * 40, clusters=[f"patient {i // 4}" for i in range(40)], a=decided
    )
    groups = alone.groups("tone", "fst3")
    width = [
        (row := group_accuracy(table, "a", groups).by_group.iloc[0])["high"] - row["low"]
        for table in (alone, twins)
    ]
    assert width[1] > 1.5 * width[0]


def test_groups_of_another_table_are_refused(random_predictions: Predictions) -> None:
    with pytest.raises(EvaluationError, match="2 values but the predictions table has 300"):
        group_accuracy(random_predictions, "candidate", pd.Series(["a", "b"]))
    with pytest.raises(EvaluationError, match='a group is called "overall"'):
        group_accuracy(random_predictions, "candidate", pd.Series(["overall"] * 300))


def test_class_rates_equal_scikit_learn(random_predictions: Predictions) -> None:
    table = random_predictions
    groups = table.groups("tone", "fst6")
    rates = class_rates(table, "candidate", groups, CLASSES[:2]).set_index(["class", "group"])
    truth, decided = table.frame["label"].to_numpy(object), table.predicted("candidate").to_numpy()
    sets = {"melanoma": CLASSES[:1], "nevus": CLASSES[1:2], "any of these": CLASSES[:2]}
    for title, names in sets.items():
        positive, called = np.isin(truth, names), np.isin(decided, names)
        for group in rates.index.get_level_values("group").unique():
            inside = np.ones(300, bool) if group == "overall" else (groups == group).to_numpy()
            row = rates.loc[(title, group)]
            assert row["n_positive"] + row["n_negative"] == inside.sum()
            for rate, side in (("sensitivity", 1), ("specificity", 0)):
                expected = recall_score(positive[inside], called[inside], pos_label=side)
                assert row[rate] == pytest.approx(expected, abs=1e-9)


def test_rates_without_a_case_are_not_estimable(make_predictions: MakePredictions) -> None:
    table = make_predictions(["nevus", "melanoma"], ["1", "5"], a=["nevus", "melanoma"])
    rates = class_rates(table, "a", table.groups("tone", "fst3"), ["melanoma"])
    row = rates.set_index("group").loc["FST I-II"]
    assert row["n_positive"] == 0
    assert np.isnan(row[["sensitivity", "sensitivity_low", "sensitivity_high"]].astype(float)).all()
    assert row["specificity"] == 1.0
    with pytest.raises(EvaluationError, match="'wart' cannot be scored"):
        class_rates(table, "a", table.groups("tone", "fst3"), ["wart"])


def test_gap_interval_covers_the_gap_also_when_there_is_none(
    make_predictions: MakePredictions,
) -> None:
    """Simulation; plain bootstrap percentiles cover a true gap of zero never."""
    rng = np.random.default_rng(11)
    groups = pd.Series(np.repeat(["a", "b", "c"], [120, 120, 40]))
    for chance in ({"a": 0.7, "b": 0.7, "c": 0.7}, {"a": 0.8, "b": 0.7, "c": 0.5}):
        truth = max(chance.values()) - min(chance.values())
        covered = 0
        for _ in range(80):
            right = rng.random(280) < groups.map(chance).to_numpy()
            table = make_predictions(
                ["nevus"] * 280, groups, a=np.where(right, "nevus", "melanoma")
            )
            result = group_accuracy(table, "a", groups, resamples=200)
            assert result.gap_low is not None and result.gap_high is not None
            covered += result.gap_low <= truth <= result.gap_high
        assert covered >= 0.92 * 80
