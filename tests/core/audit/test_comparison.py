"""Paired differences, McNemar, Holm and flips."""

from __future__ import annotations

import itertools
from collections.abc import Callable

import numpy as np
import pandas as pd
import pytest
from scipy.stats import binom, bootstrap

from fairquant_core.audit.comparison import (
    clustered_mcnemar,
    flips,
    holm,
    mcnemar,
    paired_difference,
)
from fairquant_core.audit.predictions import Predictions
from fairquant_core.errors import EvaluationError

MakePredictions = Callable[..., Predictions]


def rows_of(table: pd.DataFrame) -> pd.DataFrame:
    return table.set_index("group")


def test_counts_by_hand(make_predictions: MakePredictions) -> None:
    table = make_predictions(
        ["nevus"] * 6,
        ["1", "1", "1", "5", "5", "-1"],
        before=["nevus", "nevus", "melanoma", "nevus", "nevus", "nevus"],
        after=["melanoma", "melanoma", "nevus", "nevus", "nevus", "melanoma"],
    )
    groups = table.groups("tone", "fst3")
    order = ["FST I-II", "FST III-IV", "FST V-VI"]
    rows = rows_of(paired_difference(table, "before", "after", groups, order=order))
    assert rows.index.tolist() == ["overall", *order, "unknown"]
    assert rows["lost"].tolist() == [3, 2, 0, 0, 1]
    assert rows["gained"].tolist() == [1, 1, 0, 0, 0]
    assert rows["n"].tolist() == [6, 3, 0, 2, 1]
    assert rows.loc["FST I-II", "difference"] == pytest.approx(-1 / 3)
    assert rows.loc["overall", "before"] == pytest.approx(5 / 6)
    empty = rows.loc["FST III-IV"]
    assert not empty["estimable"]
    assert np.isnan(empty[["difference", "low", "high", "p_value", "p_holm"]].astype(float)).all()
    changed = flips(table, "before", "after", groups)
    assert changed["kind"].tolist() == ["lost"] * 3 + ["gained"]
    assert changed["id"].tolist() == ["image 0", "image 1", "image 5", "image 2"]
    assert changed.iloc[0][["group", "label", "before", "after"]].tolist() == [
        "FST I-II",
        "nevus",
        "nevus",
        "melanoma",
    ]


def test_no_change_does_not_collapse(make_predictions: MakePredictions) -> None:
    table = make_predictions(["nevus"] * 20, ["1"] * 20, a=["nevus"] * 20, b=["nevus"] * 20)
    row = rows_of(paired_difference(table, "a", "b", table.groups("tone", "fst3"))).loc["FST I-II"]
    assert (row["bootstrap_low"], row["bootstrap_high"]) == (0, 0)
    assert row["low"] < -0.15 and row["high"] > 0.15 and row["p_value"] == 1.0
    assert flips(table, "a", "b", table.groups("tone", "fst3")).empty


def test_bootstrap_agrees_with_scipy(random_predictions: Predictions) -> None:
    table = random_predictions
    groups = pd.Series(["all"] * 300)
    row = paired_difference(table, "full precision", "candidate", groups, resamples=4000).iloc[0]
    change = table.correct("candidate").astype(float) - table.correct("full precision")
    expected = bootstrap(
        (change,), np.mean, method="percentile", n_resamples=4000, rng=np.random.default_rng(1)
    ).confidence_interval
    assert row["difference"] == pytest.approx(change.mean(), abs=1e-9)
    assert row["bootstrap_low"] == pytest.approx(expected.low, abs=0.006)
    assert row["bootstrap_high"] == pytest.approx(expected.high, abs=0.006)
    # On 300 images both kinds of interval say about the same.
    assert row["low"] == pytest.approx(row["bootstrap_low"], abs=0.01)


def test_clustered_mcnemar_against_all_sign_patterns() -> None:
    rng = np.random.default_rng(4)
    clusters = np.repeat(np.arange(9), [1, 1, 2, 3, 4, 1, 2, 3, 5])
    for _ in range(20):
        change = rng.choice([-1, 0, 0, 1], len(clusters))
        nets = np.array([change[clusters == one].sum() for one in range(9)])
        signs = np.array(list(itertools.product((-1, 1), repeat=9)))
        reached = np.abs(signs @ np.abs(nets)) >= abs(nets.sum())
        assert clustered_mcnemar(change, clusters) == pytest.approx(reached.mean())


def test_patients_with_several_photographs_do_not_make_chance_significant() -> None:
    """All photographs of a patient change together: per photograph 26 %, per patient at most 5 %."""
    rng = np.random.default_rng(0)
    clusters = np.repeat(np.arange(40), 4)
    found, naive = [], []
    for _ in range(400):
        change = rng.choice([-1, 0, 1], 40, p=(0.1, 0.8, 0.1))[clusters]
        found.append(clustered_mcnemar(change, clusters) < 0.05)
        naive.append(mcnemar(int((change < 0).sum()), int((change > 0).sum())) < 0.05)
    assert np.mean(found) <= 0.05 < 0.2 < np.mean(naive)


def test_mcnemar_against_the_binomial_sum() -> None:
    assert mcnemar(1, 9) == pytest.approx(2 * binom.cdf(1, 10, 0.5))
    assert mcnemar(5, 5) == 1.0 and mcnemar(0, 0) == 1.0


def test_holm_by_its_definition() -> None:
    p = np.array([0.3, 0.001, 0.02, 0.02, 0.9])
    ranked = np.sort(p)
    by_rank = [max((5 - j) * ranked[j] for j in range(i + 1)) for i in range(5)]
    expected = np.minimum(np.asarray(by_rank)[[3, 0, 1, 2, 4]], 1)
    assert holm(p) == pytest.approx(expected)
    assert len(holm(np.array([]))) == 0


def test_holm_leaves_out_overall_and_unknown(random_predictions: Predictions) -> None:
    table = random_predictions
    rows = rows_of(
        paired_difference(table, "full precision", "candidate", table.groups("tone", "fst3"))
    )
    assert np.isnan(rows.loc[["overall", "unknown"], "p_holm"]).all()
    known = rows.drop(["overall", "unknown"])
    assert known["p_holm"].to_numpy() == pytest.approx(holm(known["p_value"].to_numpy()))


def test_sensitivity_is_about_the_images_that_must_not_be_missed(
    make_predictions: MakePredictions,
) -> None:
    table = make_predictions(
        ["melanoma", "melanoma", "nevus", "keratosis"],
        ["1"] * 4,
        a=["melanoma", "keratosis", "nevus", "keratosis"],
        b=["nevus", "melanoma", "melanoma", "nevus"],
    )
    groups = table.groups("tone", "fst3")
    kinds = {}
    for metric in ("sensitivity", "specificity"):
        found = paired_difference(
            table, "a", "b", groups, metric=metric, positive=["melanoma", "keratosis"]
        )
        kinds[metric] = found.iloc[0]
    assert kinds["sensitivity"][["n", "lost", "gained"]].tolist() == [3, 2, 0]
    assert kinds["specificity"][["n", "lost", "gained"]].tolist() == [1, 1, 0]
    with pytest.raises(EvaluationError, match="'brier' is no metric of a limit"):
        paired_difference(table, "a", "b", groups, metric="brier")
    with pytest.raises(EvaluationError, match="'wart' cannot be scored"):
        paired_difference(table, "a", "b", groups, metric="auroc", positive=["wart"])


def test_metric_without_any_case(make_predictions: MakePredictions) -> None:
    table = make_predictions(["nevus"] * 2, ["1"] * 2, a=["nevus"] * 2, b=["nevus"] * 2)
    rows = paired_difference(
        table, "a", "b", table.groups("tone", "fst3"), metric="sensitivity", positive=["melanoma"]
    )
    assert not rows["estimable"].any() and rows["low"].isna().all()


def test_clustered_interval_covers(make_predictions: MakePredictions) -> None:
    """Patients of three images that change together: the plain interval would be far too narrow."""
    rng = np.random.default_rng(2)
    clusters = np.repeat(np.arange(60), 3)
    groups = pd.Series(["a"] * 180)
    covered = plain = 0
    for _ in range(60):
        lost = np.repeat(rng.random(60) < 0.15, 3)
        decided = np.where(lost, "melanoma", "nevus")
        tables = (
            make_predictions(["nevus"] * 180, groups, clusters=names, a=["nevus"] * 180, b=decided)
            for names in (clusters.astype(str), np.arange(180).astype(str))
        )
        for index, table in enumerate(tables):
            row = paired_difference(table, "a", "b", groups, resamples=200).iloc[1]
            hit = row["low"] <= -0.15 <= row["high"]
            covered, plain = (covered + hit, plain) if index == 0 else (covered, plain + hit)
    assert covered >= 54 and plain <= 51
