"""Paired changes of every measure."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pandas as pd
import pytest
from scipy.stats import binomtest

from fairquant_core.audit.bootstrap import Bootstrap
from fairquant_core.audit.comparison import paired_difference
from fairquant_core.audit.differences import difference_table
from fairquant_core.audit.group_metrics import metric_table
from fairquant_core.audit.grouping import Grouping
from fairquant_core.audit.intervals import paired_score_interval
from fairquant_core.audit.measures import standard_measures
from fairquant_core.audit.paired_tests import holm
from fairquant_core.audit.predictions import Predictions
from fairquant_core.audit.replicates import Sample, Scores
from fairquant_core.errors import EvaluationError

MakeScored = Callable[..., Predictions]
MakePredictions = Callable[..., Predictions]


def samples_of(
    table: Predictions, must_not_miss: tuple[str, ...] = (), resamples: int = 300, seed: int = 0
) -> list[Sample]:
    grouping = Grouping.build(table.groups("tone", "fst3"), len(table))
    clusters = table.frame["cluster"].to_numpy()
    plan = Bootstrap(grouping.codes, clusters, resamples=resamples, seed=seed)
    measures = standard_measures(must_not_miss)
    return [Sample.of(Scores(table, model, grouping, measures), plan) for model in table.models]


def test_differences_are_those_of_the_metrics(make_scored: MakeScored) -> None:
    table = make_scored(models=2)
    before, after = samples_of(table, ("class 0", "class 2"))
    found = difference_table(before, after)
    old, new = (
        metric_table(s.scores, s.seen, s.drawn)["value"].to_numpy() for s in (before, after)
    )
    assert found["before"].to_numpy() == pytest.approx(old, abs=1e-12)
    assert found["difference"].to_numpy() == pytest.approx(new - old, abs=1e-12)
    assert (found["low"] < found["difference"]).all() and (
        found["difference"] < found["high"]
    ).all()
    assert found["p_value"].between(0, 1).all()
    for _, part in found.groupby("measure"):
        known = part[~part["group"].isin(["overall", "unknown"])]
        assert known["p_holm"].to_numpy() == pytest.approx(holm(known["p_value"].to_numpy()))
        assert part.loc[part["group"] == "overall", "p_holm"].isna().all()


def test_counted_changes_by_hand(make_scored: MakeScored) -> None:
    table = make_scored(models=2)
    rows = difference_table(*samples_of(table, ("class 0", "class 2"))).set_index(
        ["measure", "group"]
    )
    inside = (table.groups("tone", "fst3") == "FST V-VI").to_numpy()
    for metric, positive in (("accuracy", None), ("sensitivity (any of these)", True)):
        was, now = (table.correct(model) for model in table.models)
        chosen = inside
        if positive:
            names = ["class 0", "class 2"]
            truth = table.is_any_of("model 0", names)[0]
            was, now = (table.is_any_of(model, names)[1] for model in table.models)
            chosen = inside & truth
        lost, gained = int((was & ~now)[chosen].sum()), int((~was & now)[chosen].sum())
        row = rows.loc[(metric, "FST V-VI")]
        assert (row["lost"], row["gained"], row["n"]) == (lost, gained, chosen.sum())
        assert row["p_value"] == pytest.approx(binomtest(lost, lost + gained).pvalue, abs=1e-9)
        expected = [float(x) for x in paired_score_interval(lost, gained, chosen.sum())]
        assert [row["low"], row["high"]] == pytest.approx(expected, abs=1e-9)


def test_identical_models_keep_doubt(make_scored: MakeScored) -> None:
    table = make_scored(90)
    twin = table.with_model("twin", table.probabilities("model 0"))
    found = difference_table(*samples_of(twin, ("class 0",), resamples=50))
    assert (found["difference"] == 0).all() and (found["p_value"] == 1).all()
    assert (found["low"] < -0.005).all() and (found["high"] > 0.005).all()
    assert (found["lost"] == 0).all()


def test_not_estimable_rows_say_why(make_predictions: MakePredictions) -> None:
    table = make_predictions(
        ["nevus", "melanoma", "nevus"], ["1", "1", "3"], a=["nevus"] * 3, b=["melanoma"] * 3
    )
    rows = difference_table(*samples_of(table, ("melanoma",))).set_index(["measure", "group"])
    row = rows.loc[("sensitivity (melanoma)", "FST III-IV")]
    assert not row["estimable"] and row["reason"] == "no image of melanoma" and np.isnan(row["low"])
    row = rows.loc[("positive predictive value (melanoma)", "overall")]
    assert not row["estimable"] and row["reason"] == "no image is called melanoma"
    row = rows.loc[("negative predictive value (melanoma)", "overall")]
    assert not row["estimable"] and row["reason"] == "every image is called melanoma"


def test_samples_of_different_images_are_refused(make_scored: MakeScored) -> None:
    one, other = samples_of(make_scored(60))[0], samples_of(make_scored(60, seed=1))[0]
    with pytest.raises(EvaluationError, match="same images"):
        difference_table(one, other)


@pytest.mark.parametrize(
    ("metric", "positive"),
    [("balanced accuracy", ()), ("macro auroc", ()), ("auroc", ("class 1",))],
    ids=str,
)
def test_paired_difference_of_other_metrics(
    make_scored: MakeScored, metric: str, positive: tuple[str, ...]
) -> None:
    table = make_scored(models=2)
    found = paired_difference(
        table,
        *table.models,
        table.groups("tone", "fst3"),
        metric=metric,
        positive=positive,
        resamples=300,
    )
    rows = difference_table(*samples_of(table, ("class 1",)))
    title = {"macro auroc": "macro AUROC", "auroc": "AUROC (class 1)"}.get(metric, metric)
    expected = rows[rows["measure"] == title]
    for column in ("difference", "low", "high", "p_value"):
        assert found[column].to_numpy() == pytest.approx(expected[column].to_numpy(), abs=1e-12)
    was, now = (table.correct(model) for model in table.models)
    assert found["lost"].iloc[0] == (was & ~now).sum()


def test_bootstrap_is_paired(make_scored: MakeScored) -> None:
    """A small change of the same images has a far narrower interval than two separate figures."""
    table = make_scored(400, models=2)
    before, after = samples_of(table)
    rows = difference_table(before, after).set_index(["measure", "group"])
    single = metric_table(before.scores, before.seen, before.drawn).set_index(["measure", "group"])
    for measure in ("macro AUROC", "Brier score"):
        change, figure = rows.loc[(measure, "overall")], single.loc[(measure, "overall")]
        assert change["high"] - change["low"] < 0.9 * (figure["high"] - figure["low"])


def test_positives_are_counted_for_limits_on_accuracy(make_scored: MakeScored) -> None:
    table = make_scored(models=2)
    groups = table.groups("tone", "fst3")
    found = paired_difference(table, *table.models, groups, positive=["class 1"], resamples=20)
    counts = pd.crosstab(groups, table.frame["label"] == "class 1")
    for row in found[found["group"] != "overall"].to_dict("records"):
        assert (row["n_positive"], row["n_negative"]) == (
            counts.loc[row["group"], True],
            counts.loc[row["group"], False],
        )
