"""Accuracy and its kin per group, with intervals; "not estimable" is a value, never 0."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy.special import ndtri

from fairquant_core.audit.bootstrap import (
    RESAMPLES,
    Bootstrap,
    group_means,
    percentile_interval,
)
from fairquant_core.audit.grouping import OVERALL, UNKNOWN, Grouping
from fairquant_core.audit.intervals import design_effect, wilson
from fairquant_core.audit.predictions import Predictions

__all__ = [
    "OVERALL",
    "UNKNOWN",
    "AccuracyTable",
    "balanced_accuracy",
    "class_rates",
    "group_accuracy",
    "wilson",
]

#: Value, low, high.
_Interval = tuple[float | None, float | None, float | None]


@dataclass(frozen=True)
class AccuracyTable:
    """Accuracy of one model, overall and per group.

    Units: fractions 0..1; NaN where not estimable.

    Attributes
    ----------
    overall:
        Same fields as a row of `by_group`, over all images, "unknown" included.
    by_group:
        Columns group, n, clusters, correct, accuracy, low, high (Wilson, at the effective sample
        size where images come in clusters), estimable (n > 0), counted (estimable, not
        "unknown" and not below the minimum).
    worst_group:
        Counted group with the lowest accuracy, the first one where groups tie; None without one.
    gap, gap_low, gap_high:
        Largest minus smallest accuracy over counted groups; None with fewer than two of them.
    macro, macro_low, macro_high:
        Unweighted mean over counted groups, so that a small group weighs as much as a large one.
    """

    model: str
    overall: pd.Series
    by_group: pd.DataFrame
    worst_group: str | None
    gap: float | None
    gap_low: float | None
    gap_high: float | None
    macro: float | None
    macro_low: float | None
    macro_high: float | None

    @property
    def worst(self) -> pd.Series | None:
        """Row of the worst group."""
        if self.worst_group is None:
            return None
        return self.by_group[self.by_group["group"] == self.worst_group].iloc[0]


def group_accuracy(
    predictions: Predictions,
    model: str,
    groups: pd.Series,
    *,
    order: Sequence[str] | None = None,
    minimum: int = 1,
    level: float = 0.95,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> AccuracyTable:
    """Accuracy of one model per group.

    Parameters
    ----------
    groups:
        Group of every image, aligned with the table; "unknown" is listed but counted in neither
        the worst group, the gap nor the macro mean.
    order:
        All groups in display order; those without an image appear as "not estimable".
    minimum:
        Smaller groups are listed with their interval but counted in neither the worst group, the gap
        nor the macro mean: one wrong image must not make a "worst group with 0 %".

    Source
    ------
    Intervals: Wilson for accuracies. The gap is a maximum over pairs of groups, whose plain
    bootstrap percentiles are never below the gap seen and miss a true gap of zero always (checked
    by simulation); its bounds therefore are the largest pairwise bounds, the lower one with the
    critical value of the bootstrapped maximum (max-t, Hothorn, Bretz & Westfall 2008).
    """
    correct = predictions.correct(model)
    clusters = predictions.frame["cluster"].to_numpy()
    grouping = Grouping.build(groups, len(predictions), order)
    rows = [
        _accuracy_row(name, correct[grouping.mask(name)], clusters[grouping.mask(name)], level)
        for name in grouping.names
    ]
    by_group = pd.DataFrame(rows, columns=list(_accuracy_row(OVERALL, correct, clusters, level)))
    by_group["counted"] &= by_group["n"] >= minimum
    counted = by_group[by_group["counted"]]
    gap: _Interval = (None, None, None)
    macro: _Interval = (None, None, None)
    worst = None
    if len(counted):
        bootstrap = Bootstrap(grouping.codes, clusters, resamples=resamples, seed=seed)
        membership = grouping.one_hot()[:, counted.index.to_numpy()]
        drawn = bootstrap.statistics(lambda counts: group_means(counts, correct, membership))
        low, high = percentile_interval(drawn.mean(axis=1, keepdims=True), level)
        macro = (float(counted["accuracy"].mean()), float(low[0]), float(high[0]))
        gap = _gap(counted, drawn, level)
        worst = str(counted["group"].iloc[int(counted["accuracy"].to_numpy().argmin())])
    overall = pd.Series(_accuracy_row(OVERALL, correct, clusters, level))
    return AccuracyTable(model, overall, by_group, worst, *gap, *macro)


def class_rates(
    predictions: Predictions,
    model: str,
    groups: pd.Series,
    classes: Sequence[str],
    *,
    order: Sequence[str] | None = None,
    level: float = 0.95,
) -> pd.DataFrame:
    """Sensitivity and specificity of the classes that must not be missed, one against the rest.

    With several classes, rows for ``"any of these"`` treat them as one: taking a melanoma for a
    basal cell carcinoma then is no miss.

    Returns
    -------
    pandas.DataFrame
        Columns class, group ("overall" first), n_positive, n_negative, true_positive,
        true_negative, sensitivity, sensitivity_low, sensitivity_high, specificity,
        specificity_low, specificity_high. A rate without a case is NaN.

    Raises
    ------
    EvaluationError
        A class is not one of the classifier's.
    """
    grouping = Grouping.build(groups, len(predictions), order)
    clusters = predictions.frame["cluster"].to_numpy()
    sets: dict[str, tuple[str, ...]] = {name: (name,) for name in classes}
    if len(sets) > 1:
        sets["any of these"] = tuple(classes)
    rows = []
    for title, names in sets.items():
        positive, predicted = predictions.is_any_of(model, names)
        for group in (OVERALL, *grouping.names):
            inside = np.ones(len(predictions), bool) if group == OVERALL else grouping.mask(group)
            row: dict[str, object] = {"class": title, "group": group}
            for rate, n, hits, cases in (
                ("sensitivity", "n_positive", "true_positive", inside & positive),
                ("specificity", "n_negative", "true_negative", inside & ~positive),
            ):
                right = predicted[cases] == positive[cases]
                value, low, high = _proportion(right, clusters[cases], level)
                row |= {n: int(cases.sum()), hits: int(right.sum())}
                row |= {rate: value, f"{rate}_low": low, f"{rate}_high": high}
            rows.append(row)
    return pd.DataFrame(rows)


def balanced_accuracy(
    predictions: Predictions,
    model: str,
    groups: pd.Series,
    *,
    order: Sequence[str] | None = None,
    level: float = 0.95,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> pd.DataFrame:
    """Mean recall over the classes that occur, per group ("overall" first).

    Returns
    -------
    pandas.DataFrame
        Columns group, n, classes (how many of the classes occur), balanced_accuracy, low, high
        (stratified, clustered bootstrap percentiles).
    """
    grouping = Grouping.build(groups, len(predictions), order)
    correct = predictions.correct(model).astype(np.float32)
    labels = np.eye(len(predictions.classes), dtype=np.float32)[predictions.labels]
    bootstrap = Bootstrap(
        grouping.codes, predictions.frame["cluster"].to_numpy(), resamples=resamples, seed=seed
    )
    masks = [np.ones(len(predictions), bool), *(grouping.mask(name) for name in grouping.names)]

    def statistic(counts: np.ndarray) -> np.ndarray:
        return np.stack(
            [_mean_recall(counts[:, mask], correct[mask], labels[mask]) for mask in masks], axis=1
        )

    value = statistic(np.ones((1, len(predictions)), np.float32))[0]
    low, high = percentile_interval(bootstrap.statistics(statistic), level)
    return pd.DataFrame(
        {
            "group": [OVERALL, *grouping.names],
            "n": [int(mask.sum()) for mask in masks],
            "classes": [int(labels[mask].any(axis=0).sum()) for mask in masks],
            "balanced_accuracy": value,
            "low": low,
            "high": high,
        }
    )


def _mean_recall(counts: np.ndarray, correct: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Shapes: counts (r, n), correct (n,), labels (n, C) one-hot -> (r,)."""
    recall = group_means(counts, correct, labels)
    present = ~np.isnan(recall)
    found = present.sum(axis=1)
    total = np.where(present, recall, 0).sum(axis=1)
    return np.divide(total, found, out=np.full(len(recall), np.nan), where=found > 0)


def _proportion(
    right: np.ndarray, clusters: np.ndarray, level: float
) -> tuple[float, float, float]:
    """Share of True with its Wilson interval at the effective sample size; NaN without a case."""
    n, hits = len(right), int(right.sum())
    effect = design_effect(right, clusters)
    low, high = wilson(hits / effect, n / effect, level)
    return (hits / n if n else np.nan), float(low), float(high)


def _accuracy_row(
    name: str, correct: np.ndarray, clusters: np.ndarray, level: float
) -> dict[str, object]:
    accuracy, low, high = _proportion(correct, clusters, level)
    estimable = len(correct) > 0
    return {
        "group": name,
        "n": len(correct),
        "clusters": len(np.unique(clusters)),
        "correct": int(correct.sum()),
        "accuracy": accuracy,
        "low": low,
        "high": high,
        "estimable": estimable,
        "counted": estimable and name != UNKNOWN,
    }


def _gap(counted: pd.DataFrame, drawn: np.ndarray, level: float) -> _Interval:
    """Largest minus smallest accuracy with bounds; see the Source of `group_accuracy`."""
    if len(counted) < 2:
        return None, None, None
    accuracy = counted["accuracy"].to_numpy(float)
    n = counted["n"].to_numpy(float)
    # Agresti-Coull keeps a spread for groups that are all right or tiny, where resampling has none.
    smooth = (counted["correct"].to_numpy(float) + 2) / (n + 4)
    spread = np.maximum(np.nanstd(drawn, axis=0), np.sqrt(smooth * (1 - smooth) / (n + 4)))
    pairs = ~np.eye(len(n), dtype=bool)
    difference = (accuracy[:, None] - accuracy[None, :])[pairs]
    scale = np.hypot(spread[:, None], spread[None, :])[pairs]
    deviation = drawn - accuracy
    largest = ((deviation[:, :, None] - deviation[:, None, :])[:, pairs] / scale).max(axis=1)
    tail = 0.5 + level / 2
    low = (difference - np.nanquantile(largest, tail) * scale).max()
    high = (difference + ndtri(tail) * scale).max()
    return float(difference.max()), float(max(low, 0)), float(min(high, 1))
