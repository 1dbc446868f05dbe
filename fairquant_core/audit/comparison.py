"""What changed between two models on the same images: paired differences, tests and flips."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from fairquant_core.audit.bootstrap import (
    RESAMPLES,
    Bootstrap,
    group_means,
    percentile_interval,
)
from fairquant_core.audit.grouping import OVERALL, UNKNOWN, Grouping
from fairquant_core.audit.intervals import design_effect, paired_score_interval
from fairquant_core.audit.predictions import Predictions
from fairquant_core.errors import EvaluationError

METRICS = ("accuracy", "sensitivity", "specificity")
LOST, GAINED = "lost", "gained"


def paired_difference(
    predictions: Predictions,
    before: str,
    after: str,
    groups: pd.Series,
    *,
    metric: str = "accuracy",
    positive: Sequence[str] = (),
    order: Sequence[str] | None = None,
    level: float = 0.95,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> pd.DataFrame:
    """Change of a proportion from one model to another, overall and per group.

    Parameters
    ----------
    metric:
        "accuracy" over all images; "sensitivity" over the images whose label is one of `positive`
        (right when any of them is predicted); "specificity" over the others.

    Returns
    -------
    pandas.DataFrame
        "overall" first, then every group ("unknown" last, groups without an image included):
        group, n (images the metric is about), clusters, before, after, difference, low, high,
        lost, gained, design_effect, bootstrap_low, bootstrap_high, p_value, p_holm, estimable.

    Units
    -----
    Fractions; negative differences are losses.

    Source
    ------
    `low`, `high`: paired score interval (see `intervals.paired_score_interval`). Where images come
    in clusters it is taken at the effective sample size and widened to the clustered bootstrap
    interval. `p_value`: exact McNemar, which treats images as independent. `p_holm`: Holm over the
    estimable known groups.
    """
    relevant = _relevant(predictions, before, metric, positive)
    was = _right(predictions, before, metric, positive)[relevant]
    now = _right(predictions, after, metric, positive)[relevant]
    grouping = Grouping.build(groups, len(predictions), order)
    codes = grouping.codes[relevant]
    clusters = predictions.frame["cluster"].to_numpy()[relevant]
    change = now.astype(np.int8) - was.astype(np.int8)

    membership = np.column_stack(
        [np.ones(len(codes), np.float32), grouping.one_hot()[relevant]]
    ).astype(np.float32)
    bootstrap = Bootstrap(codes, clusters, resamples=resamples, seed=seed)
    if len(codes):
        drawn = bootstrap.statistics(lambda counts: group_means(counts, change, membership))
    else:
        drawn = np.full((1, membership.shape[1]), np.nan)
    bootstrap_low, bootstrap_high = percentile_interval(drawn, level)

    rows = []
    for index, name in enumerate((OVERALL, *grouping.names)):
        inside = membership[:, index] > 0
        row = _row(name, was[inside], now[inside], change[inside], clusters[inside], level)
        row |= {"bootstrap_low": bootstrap_low[index], "bootstrap_high": bootstrap_high[index]}
        if row["clusters"] < row["n"]:
            row["low"] = min(row["low"], bootstrap_low[index])
            row["high"] = max(row["high"], bootstrap_high[index])
        rows.append(row)
    table = pd.DataFrame(rows)
    family = table["estimable"] & ~table["group"].isin([OVERALL, UNKNOWN])
    table["p_holm"] = np.nan
    table.loc[family, "p_holm"] = holm(table.loc[family, "p_value"].to_numpy())
    return table


def flips(predictions: Predictions, before: str, after: str, groups: pd.Series) -> pd.DataFrame:
    """Images that were right and are wrong now ("lost"), and the reverse ("gained").

    Returns
    -------
    pandas.DataFrame
        Columns id, group, label, before, after (predicted classes), kind; lost ones first.
    """
    grouping = Grouping.build(groups, len(predictions))
    was, now = predictions.correct(before), predictions.correct(after)
    table = pd.DataFrame(
        {
            "id": predictions.frame["id"],
            "group": np.asarray(grouping.names, dtype=object)[grouping.codes],
            "label": predictions.frame["label"],
            "before": predictions.predicted(before),
            "after": predictions.predicted(after),
            "kind": np.where(was, LOST, GAINED),
        }
    )
    position = pd.Series(grouping.codes, index=table.index)
    rows = pd.DataFrame({"gained": ~was, "position": position})[was != now]
    return table.loc[rows.sort_values(["gained", "position"], kind="stable").index].reset_index(
        drop=True
    )


def holm(p_values: np.ndarray) -> np.ndarray:
    """Holm's step-down adjustment (Holm 1979, Scandinavian Journal of Statistics 6:65).

    Examples
    --------
    >>> holm(np.array([0.01, 0.04, 0.03])).round(3).tolist()
    [0.03, 0.06, 0.06]
    """
    order = np.argsort(p_values, kind="stable")
    steps = p_values[order] * np.arange(len(p_values), 0, -1)
    adjusted = np.empty(len(p_values))
    adjusted[order] = np.minimum(np.maximum.accumulate(steps), 1.0)
    return adjusted


def mcnemar(lost: int, gained: int) -> float:
    """Exact two-sided p-value of McNemar's test: are losses as frequent as gains?"""
    discordant = lost + gained
    # Imported here: scipy.stats takes half a second, which the first page would pay for.
    from scipy.stats import binomtest

    return float(binomtest(lost, discordant).pvalue) if discordant else 1.0


def _relevant(
    predictions: Predictions, model: str, metric: str, positive: Sequence[str]
) -> np.ndarray:
    if metric not in METRICS:
        raise EvaluationError(f"'{metric}' is no metric; choose from {', '.join(METRICS)}")
    if metric == "accuracy":
        return np.ones(len(predictions), dtype=bool)
    truth, _ = predictions.is_any_of(model, positive)
    return truth if metric == "sensitivity" else ~truth


def _right(
    predictions: Predictions, model: str, metric: str, positive: Sequence[str]
) -> np.ndarray:
    if metric == "accuracy":
        return predictions.correct(model)
    truth, predicted = predictions.is_any_of(model, positive)
    return truth == predicted


def _row(
    name: str,
    was: np.ndarray,
    now: np.ndarray,
    change: np.ndarray,
    clusters: np.ndarray,
    level: float,
) -> dict:
    n = len(change)
    lost, gained = int((change < 0).sum()), int((change > 0).sum())
    effect = design_effect(change, clusters)
    low, high = paired_score_interval(lost / effect, gained / effect, n / effect, level)
    return {
        "group": name,
        "n": n,
        "clusters": len(np.unique(clusters)),
        "before": was.mean() if n else np.nan,
        "after": now.mean() if n else np.nan,
        "difference": (gained - lost) / n if n else np.nan,
        "low": float(low),
        "high": float(high),
        "lost": lost,
        "gained": gained,
        "design_effect": effect,
        "p_value": mcnemar(lost, gained) if n else np.nan,
        "estimable": n > 0,
    }
