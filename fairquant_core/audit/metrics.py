"""Accuracy and its kin per group, with intervals; "not estimable" is a value, never 0."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from fairquant_core.audit.bootstrap import RESAMPLES, Bootstrap, group_means
from fairquant_core.audit.grouping import OVERALL, UNKNOWN, Grouping
from fairquant_core.audit.intervals import effective, wilson
from fairquant_core.audit.predictions import Predictions
from fairquant_core.audit.spread import spread

__all__ = [
    "OVERALL",
    "UNKNOWN",
    "AccuracyTable",
    "class_rates",
    "group_accuracy",
    "wilson",
]


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
    bootstrap: Bootstrap | None = None,
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
    bootstrap:
        Resampling plan of the same images and groups, if there is one already.

    Source
    ------
    Intervals: Wilson for accuracies; gap and mean over groups as in `spread.spread`.
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
    plan = bootstrap or Bootstrap(grouping.codes, clusters, resamples=resamples, seed=seed)
    drawn = plan.statistics(lambda counts: group_means(counts, correct, grouping.one_hot()))
    value, low, high = (by_group[name].to_numpy(float) for name in ("accuracy", "low", "high"))
    counted = by_group["counted"].to_numpy(bool)
    own = [grouping.mask(name) for name in grouping.names]
    shares = np.array([effective(correct[mask], clusters[mask]) for mask in own]).T
    found = spread(
        value, low, high, drawn, counted, shares=(shares[0], shares[1]), level=level, seed=seed
    )
    overall = pd.Series(_accuracy_row(OVERALL, correct, clusters, level))
    return AccuracyTable(
        model,
        overall,
        by_group,
        None if found.worst is None else grouping.names[found.worst],
        *(_or_none(figure) for figure in (found.gap.value, found.gap.low, found.gap.high)),
        *(_or_none(figure) for figure in (found.macro, found.macro_low, found.macro_high)),
    )


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


def _proportion(
    right: np.ndarray, clusters: np.ndarray, level: float
) -> tuple[float, float, float]:
    """Share of True with its Wilson interval at the effective sample size; NaN without a case."""
    low, high = wilson(*effective(right, clusters), level)
    return (float(right.mean()) if len(right) else np.nan), float(low), float(high)


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


def _or_none(figure: float) -> float | None:
    return None if np.isnan(figure) else figure
