"""Every measure per group against scikit-learn; what cannot be estimated says why."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from functools import partial

import numpy as np
import pandas as pd
import pytest
from fairlearn.metrics import MetricFrame
from scipy.stats import binomtest
from sklearn.calibration import calibration_curve as their_curve
from sklearn.metrics import (
    accuracy_score,
    balanced_accuracy_score,
    brier_score_loss,
    precision_score,
    recall_score,
    roc_auc_score,
)

from fairquant_core.audit.bootstrap import Bootstrap, widening
from fairquant_core.audit.calibration import calibration_curve, confusion
from fairquant_core.audit.group_metrics import metric_table
from fairquant_core.audit.grouping import Grouping
from fairquant_core.audit.intervals import wilson
from fairquant_core.audit.joined_intervals import mean_of_independent, scaled
from fairquant_core.audit.measures import Measure, standard_measures
from fairquant_core.audit.predictions import Predictions
from fairquant_core.audit.replicates import Sample, Scores

ORDER = ["FST I-II", "FST III-IV", "FST V-VI"]
MakeScored = Callable[..., Predictions]
MakePredictions = Callable[..., Predictions]


def sample_of(
    table: Predictions, must_not_miss: tuple[str, ...] = (), resamples: int = 60, **minimums: int
) -> Sample:
    grouping = Grouping.build(table.groups("tone", "fst3"), len(table), ORDER)
    measures = standard_measures(must_not_miss)
    scores = Scores(table, table.models[0], grouping, measures, **minimums)
    clusters = table.frame["cluster"].to_numpy()
    return Sample.of(scores, Bootstrap(grouping.codes, clusters, resamples=resamples))


def table_of(sample: Sample) -> pd.DataFrame:
    table = metric_table(sample.scores, sample.seen, sample.drawn)
    return table.set_index(["measure", "group"])


@pytest.mark.parametrize("seed", range(3))
def test_equals_scikit_learn(make_scored: MakeScored, seed: int) -> None:
    table = make_scored(seed=seed)
    positive = table.classes[:2]
    found = table_of(sample_of(table, positive))["value"]
    groups = table.groups("tone", "fst3")
    truth = table.frame["label"].to_numpy(object)
    called = table.predicted("model 0").to_numpy(object)
    values = table.probabilities("model 0").astype(float)
    for group in ("overall", *ORDER):
        inside = np.ones(len(table), bool) if group == "overall" else (groups == group).to_numpy()
        y, told, p = truth[inside], called[inside], values[inside]
        expected = {
            "accuracy": accuracy_score(y, told),
            "balanced accuracy": balanced_accuracy_score(y, told),
            "macro AUROC": np.mean(
                [roc_auc_score(y == name, p[:, k]) for k, name in enumerate(table.classes)]
            ),
            "Brier score": brier_score_loss(
                y, p / p.sum(axis=1, keepdims=True), labels=list(table.classes), scale_by_half=False
            ),
        }
        sets = {"class 0": positive[:1], "class 1": positive[1:], "any of these": positive}
        for title, names in sets.items():
            is_one, says_one = np.isin(y, names), np.isin(told, names)
            risk = p[:, [table.classes.index(name) for name in names]].sum(axis=1)
            expected |= {
                f"sensitivity ({title})": recall_score(is_one, says_one),
                f"specificity ({title})": recall_score(is_one, says_one, pos_label=False),
                f"positive predictive value ({title})": precision_score(is_one, says_one),
                f"negative predictive value ({title})": precision_score(
                    is_one, says_one, pos_label=False
                ),
                f"AUROC ({title})": roc_auc_score(is_one, risk),
            }
        for threshold in (0.05, 0.1, 0.2, 0.3, 0.5):
            act = risk >= threshold
            benefit = (act & is_one).mean() - (act & ~is_one).mean() * threshold / (1 - threshold)
            expected[f"net benefit at {100 * threshold:g} % (any of these)"] = benefit
        share, confidence = their_curve(y == told, p.max(axis=1), n_bins=10)
        sizes = np.unique(np.minimum((p.max(axis=1) * 10).astype(int), 9), return_counts=True)[1]
        expected["calibration error"] = np.sum(sizes * np.abs(share - confidence)) / inside.sum()
        assert set(expected) == set(found.index.get_level_values("measure"))
        for measure, value in expected.items():
            # Float32 probabilities do not sum to exactly 1, which scikit-learn insists on.
            exactness = 1e-6 if measure == "Brier score" else 1e-9
            assert found[(measure, group)] == pytest.approx(value, abs=exactness), measure


def test_brier_score_is_exact(make_scored: MakeScored) -> None:
    table = make_scored()
    values = table.probabilities("model 0").astype(float)
    distance = values - np.eye(4)[table.labels]
    found = table_of(sample_of(table)).loc[("Brier score", "overall"), "value"]
    assert found == pytest.approx((distance**2).sum(axis=1).mean(), abs=1e-12)


def test_resamples_equal_scikit_learn_with_weights(make_scored: MakeScored) -> None:
    table = make_scored(120)
    sample = sample_of(table, resamples=3)
    counts = Bootstrap(sample.scores.codes, resamples=3).counts()
    values = table.probabilities("model 0").astype(float)
    truth, called = table.labels, values.argmax(axis=1)
    for row, weight in enumerate(counts):
        areas = [roc_auc_score(truth == k, values[:, k], sample_weight=weight) for k in range(4)]
        expected = {
            "accuracy": accuracy_score(truth, called, sample_weight=weight),
            "balanced accuracy": balanced_accuracy_score(truth, called, sample_weight=weight),
            "macro auroc": np.mean(areas),
        }
        for index, measure in enumerate(sample.scores.measures):
            if measure.metric in expected:
                found = sample.drawn.values[row, index, 0]
                assert found == pytest.approx(expected[measure.metric], abs=1e-6)


def test_intervals_of_shares_equal_scipy_and_fairlearn(make_scored: MakeScored) -> None:
    table = make_scored()
    rows = table_of(sample_of(table, ("class 2",))).loc["sensitivity (class 2)"]
    truth, called = (table.frame["label"] == "class 2"), table.predicted("model 0") == "class 2"
    frame = MetricFrame(
        metrics=recall_score,
        y_true=truth.to_numpy(),
        y_pred=called.to_numpy(),
        sensitive_features=table.groups("tone", "fst3").to_numpy(object),
    )
    for group, value in frame.by_group.items():
        row = rows.loc[group]
        assert row["value"] == pytest.approx(value, abs=1e-9)
        assert row["n"] == row["n_positive"] > 0 and row["n_negative"] > 0
        expected = binomtest(round(value * row["n"]), int(row["n"])).proportion_ci(method="wilson")
        assert (row["low"], row["high"]) == pytest.approx(expected, abs=1e-9)


def test_every_interval_holds_its_value(make_scored: MakeScored) -> None:
    found = table_of(sample_of(make_scored(), ("class 0", "class 1"), resamples=300))
    assert found["estimable"].all() and (found["reason"] == "").all()
    assert (found["low"] <= found["value"]).all() and (found["value"] <= found["high"]).all()
    assert (found["low"] < found["high"]).all()


def test_empty_group_and_missing_class_say_why(make_predictions: MakePredictions) -> None:
    table = make_predictions(
        ["nevus", "melanoma", "melanoma", "nevus"],
        ["1", "1", "3", "-1"],
        a=["nevus", "nevus", "melanoma", "nevus"],
    )
    found = table_of(sample_of(table, ("melanoma",)))
    empty = found.xs("FST V-VI", level="group")
    assert not empty["estimable"].any() and (empty["reason"] == "no image").all()
    assert empty[["value", "low", "high"]].isna().all().all() and (empty["n"] == 0).all()
    reasons = found["reason"]
    assert reasons["specificity (melanoma)", "FST III-IV"] == "every image is of melanoma"
    assert reasons["AUROC (melanoma)", "FST III-IV"] == "every image is of melanoma"
    assert reasons["sensitivity (melanoma)", "unknown"] == "no image of melanoma"
    assert reasons["positive predictive value (melanoma)", "FST I-II"] == (
        "no image is called melanoma"
    )
    assert reasons["macro AUROC", "FST III-IV"] == "no class has enough images"
    assert found.loc[("balanced accuracy", "FST I-II"), "classes_estimable"] == 2
    assert found.loc[("balanced accuracy", "FST I-II"), "value"] == 0.5


def test_one_class_only(make_predictions: MakePredictions) -> None:
    table = make_predictions(["nevus"] * 5, ["1"] * 5, classes=["nevus"], a=["nevus"] * 5)
    found = table_of(sample_of(table, ("nevus",))).xs("FST I-II", level="group")
    assert not found.loc["macro AUROC", "estimable"] and not found.loc["AUROC (nevus)", "estimable"]
    assert found.loc["accuracy", "value"] == 1 and found.loc["accuracy", "low"] < 0.6
    assert found.loc["Brier score", "value"] == 0 and found.loc["Brier score", "high"] > 0.5


def test_constant_probabilities(make_scored: MakeScored) -> None:
    table = make_scored(90)
    frame = table.frame.assign(**{f"model 0:{name}": np.float32(0.25) for name in table.classes})
    constant = Predictions(frame, table.classes, table.models)
    found = table_of(sample_of(constant, ("class 1",))).xs("overall", level="group")
    assert found.loc["macro AUROC", "value"] == 0.5 and found.loc["AUROC (class 1)", "value"] == 0.5
    assert found.loc["AUROC (class 1)", "low"] < 0.45
    assert found.loc["sensitivity (class 1)", "value"] == 0
    assert not found.loc["positive predictive value (class 1)", "estimable"]


def test_a_single_image_says_little(make_predictions: MakePredictions) -> None:
    table = make_predictions(["nevus", "melanoma"], ["1", "6"], a=["nevus", "nevus"])
    found = table_of(sample_of(table, ("melanoma",))).xs("FST V-VI", level="group")
    wide = found["high"] - found["low"]
    shown = ["accuracy", "Brier score", "calibration error", "sensitivity (melanoma)"]
    assert (wide[shown] > 0.7).all()


def test_minimums_leave_rare_classes_out_of_means(make_predictions: MakePredictions) -> None:
    labels = ["nevus"] * 10 + ["melanoma"] * 10 + ["keratosis"]
    table = make_predictions(labels, ["1"] * 21, a=["nevus"] * 21)
    found = table_of(sample_of(table, minimum_positives=2)).xs("overall", level="group")
    assert found.loc["balanced accuracy", "value"] == 0.5
    assert found.loc["balanced accuracy", "classes_estimable"] == 2
    assert table_of(sample_of(table)).loc[("balanced accuracy", "overall"), "value"] == (
        pytest.approx(1 / 3)
    )


def test_clusters_widen_every_interval(make_scored: MakeScored) -> None:
    """Four copies of each photograph are no more evidence than one."""
    single = make_scored(80)
    frame = pd.concat([single.frame] * 4, ignore_index=True)
    frame["id"] = [f"copy {index}" for index in range(len(frame))]
    copied = Predictions(frame, single.classes, single.models)
    alone = frame.assign(cluster=frame["id"])
    ignored = Predictions(alone, single.classes, single.models)
    widths = []
    for table in (copied, ignored):
        found = table_of(sample_of(table, ("class 0",), resamples=400)).xs("overall", level="group")
        widths.append(found["high"] - found["low"])
    narrow = ["calibration error"]  # its bounds stop at zero
    assert (widths[0].drop(narrow) > 1.5 * widths[1].drop(narrow)).all()


def test_calibration_curve_and_confusion_count_every_image(make_scored: MakeScored) -> None:
    table = make_scored()
    scores = sample_of(table).scores
    curve = calibration_curve(scores)
    assert (curve.groupby("group")["n"].sum()["overall"]) == len(table)
    part = curve[curve["group"] == "overall"]
    error = (part["n"] * (part["accuracy"] - part["confidence"]).abs()).sum() / len(table)
    found = table_of(sample_of(table)).loc[("calibration error", "overall"), "value"]
    assert found == pytest.approx(error, abs=1e-9)
    assert (
        (part["confidence"] >= part["bin_low"]) & (part["confidence"] <= part["bin_high"])
    ).all()
    counts = confusion(scores, 4)
    assert counts["overall"].sum() == len(table)
    assert sum(counts[group] for group in ORDER).tolist() == counts["overall"].tolist()
    assert np.trace(counts["overall"]) == scores.correct.sum()


def test_mean_of_independent_terms_by_hand() -> None:
    value = np.array([0.75, 0.9])
    low, high = wilson([9, 45], [12, 50])
    many = np.full(2, np.inf)
    mean, below, above = mean_of_independent(value, scaled(value, low, high), many)
    assert mean == pytest.approx(0.825)
    assert below == pytest.approx(0.825 - np.hypot(0.75 - low[0], 0.9 - low[1]) / 2)
    assert above == pytest.approx(0.825 + np.hypot(high[0] - 0.75, high[1] - 0.9) / 2)
    nothing = np.full(2, np.nan)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = mean_of_independent(nothing, scaled(nothing, nothing, nothing), many)
        assert np.isnan(found).all()


def test_mean_of_one_term_is_that_term_and_equal_terms_are_pooled() -> None:
    alone = mean_of_independent(np.array([0.75]), partial(wilson, [9], [12]), np.array([12]))
    assert alone[1:] == pytest.approx([float(bound) for bound in wilson(9, 12)])
    hits, n = np.array([19, 20, 19, 20]), np.full(4, 20)
    _, low, high = mean_of_independent(hits / n, partial(wilson, hits, n), n)
    assert (low, high) == pytest.approx([float(bound) for bound in wilson(78, 80)], abs=0.012)


def test_widening_is_students_factor() -> None:
    assert widening(np.array([30]))[0] == pytest.approx(
        np.sqrt(30 / 29) * 2.045229642132703 / 1.959963984540054
    )
    assert np.isinf(widening(np.array([1]))).all()


def test_measures_refuse_what_makes_no_sense() -> None:
    for arguments in (("auc",), ("sensitivity",), ("net benefit", ("a",)), ("brier", (), 0.5)):
        with pytest.raises(Exception, match=arguments[0]):
            Measure(*arguments)
    titles = [measure.title for measure in standard_measures(("a", "b"))]
    assert len(titles) == len(set(titles))
