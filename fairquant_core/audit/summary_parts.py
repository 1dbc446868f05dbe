"""Parts of the audit document: the metrics of one model, and the comparison of two."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from fairquant_core.audit.bootstrap import Bootstrap, group_means, percentile_interval
from fairquant_core.audit.calibration import calibration_curve, confusion
from fairquant_core.audit.comparison import GAINED, LOST, flips, paired_difference
from fairquant_core.audit.criteria import judge, overall_verdict
from fairquant_core.audit.differences import difference_table
from fairquant_core.audit.fairness import fairness_tables
from fairquant_core.audit.group_metrics import metric_table
from fairquant_core.audit.grouping import OVERALL, UNKNOWN, Grouping
from fairquant_core.audit.limits import Limits, Verdict
from fairquant_core.audit.metrics import AccuracyTable
from fairquant_core.audit.predictions import Predictions
from fairquant_core.audit.replicates import Sample
from fairquant_core.audit.spread import spread_table

#: A bootstrap over fewer changed images would give the change of the gap too narrow an interval.
MINIMUM_FLIPS = 10

#: Columns that pandas turns into fractions as soon as one row has none.
COUNTS = {"n_positive", "n_negative", "classes_estimable"}


def model_metrics(
    sample: Sample,
    classes: Sequence[str],
    must_not_miss: Sequence[str],
    limits: Limits,
    *,
    level: float,
    resamples: int,
    seed: int,
) -> dict[str, Any]:
    """All figures of one model: per group, between groups, calibration and confusion."""
    table = metric_table(sample.scores, sample.seen, sample.drawn, level=level)
    between = spread_table(
        sample,
        table,
        minimum_images=limits.minimum_images,
        minimum_positives=limits.minimum_positives,
        minimum_negatives=limits.minimum_negatives,
        level=level,
        seed=seed,
    )
    criteria, by_class = fairness_tables(
        sample.scores,
        sample.seen,
        classes,
        must_not_miss=must_not_miss,
        minimum_images=limits.minimum_images,
        minimum_positives=limits.minimum_positives,
        minimum_negatives=limits.minimum_negatives,
        level=level,
        resamples=resamples,
        seed=seed,
    )
    return {
        "by_group": records(table),
        "between_groups": records(between),
        "fairness": records(criteria),
        "fairness_by_class": records(by_class),
        "calibration": records(calibration_curve(sample.scores, level=level)),
        "confusion": {
            group: counts.tolist()
            for group, counts in confusion(sample.scores, len(classes)).items()
        },
    }


def comparison(
    predictions: Predictions,
    before: str,
    after: str,
    groups: pd.Series,
    grouping: Grouping,
    limits: Limits,
    bootstrap: Bootstrap,
    *,
    level: float = 0.95,
) -> dict[str, Any]:
    """Differences, verdicts and flips from one model to another."""
    positives, negatives = limits.class_minimums
    differences = paired_difference(
        predictions,
        before,
        after,
        groups,
        metric=limits.metric,
        positive=limits.positive,
        order=grouping.names,
        minimum_positives=positives,
        minimum_negatives=negatives,
        level=level,
        bootstrap=bootstrap,
    )
    verdicts = judge(differences, limits)
    verdict = overall_verdict(verdicts)
    changed = flips(predictions, before, after, groups)
    by_group = changed.groupby(["group", "kind"]).size()
    return {
        "before": before,
        "after": after,
        "differences": records(differences),
        "verdicts": records(verdicts),
        "verdict": verdict,
        "sentence": overall_sentence(verdicts, verdict, limits),
        "flips": {
            LOST: int((changed["kind"] == LOST).sum()),
            GAINED: int((changed["kind"] == GAINED).sum()),
            "by_group": {
                name: {kind: int(by_group.get((name, kind), 0)) for kind in (LOST, GAINED)}
                for name in grouping.names
            },
        },
        "gap_change": _gap_change(
            predictions, before, after, grouping, limits.minimum_images, bootstrap, level
        ),
    }


def metric_differences(before: Sample, after: Sample, *, level: float) -> list[dict]:
    """Change of every measure per group; the columns that a reader needs."""
    table = difference_table(before, after, level=level)
    left_out = ["clusters", "design_effect", "bootstrap_low", "bootstrap_high"]
    counted = table["design_effect"].notna()
    table[[LOST, GAINED]] = table[[LOST, GAINED]].where(counted)
    return records(table.drop(columns=left_out))


def overall_sentence(verdicts: pd.DataFrame, verdict: Verdict, limits: Limits) -> str:
    """What the verdicts of all groups together mean."""
    limit = f"{100 * limits.margin:g} points of {limits.measure.title}"
    named = verdicts[verdicts["group"] != OVERALL]
    failing = [str(name) for name in verdicts.loc[verdicts["verdict"] == verdict, "group"]]
    names = ", ".join("all images together" if name == OVERALL else name for name in failing)
    if named.empty:
        return "No image has a known group, so nothing can be said about groups."
    if verdict == Verdict.WITHIN:
        return f"No group loses {limit} or more; the data are enough to say so."
    if verdict == Verdict.OUTSIDE:
        return f"More than {limit} are lost for: {names}."
    return f"The data cannot tell whether {limit} or more are lost for: {names}."


def accuracy_json(table: AccuracyTable) -> dict[str, Any]:
    """Accuracy of one model, its worst group and its gap."""
    return {
        "overall": table.overall.to_dict(),
        "by_group": records(table.by_group),
        "worst_group": table.worst_group,
        "worst_accuracy": None if table.worst is None else table.worst["accuracy"],
        "gap": {"value": table.gap, "low": table.gap_low, "high": table.gap_high},
        "macro": {"value": table.macro, "low": table.macro_low, "high": table.macro_high},
    }


def balanced_accuracy_json(by_group: list[dict]) -> list[dict]:
    """Rows of the balanced accuracy, from the rows of all measures."""
    return [
        {
            "group": row["group"],
            "n": row["n"],
            "classes": int(row["classes_estimable"]),
            "balanced_accuracy": row["value"],
            "low": row["low"],
            "high": row["high"],
        }
        for row in by_group
        if row["measure"] == "balanced accuracy"
    ]


def records(table: pd.DataFrame) -> list[dict]:
    """Rows as dictionaries; counts are whole numbers, or None where nothing is counted."""
    rows = table.to_dict("records")
    for row in rows:
        for name in COUNTS & row.keys():
            row[name] = None if pd.isna(row[name]) else int(row[name])
    return rows


def plain(value: Any) -> Any:
    """Python values that JSON knows; NaN becomes null."""
    if isinstance(value, dict):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value if not isinstance(value, str) else str(value)


def _gap_change(
    predictions: Predictions,
    before: str,
    after: str,
    grouping: Grouping,
    minimum_images: int,
    bootstrap: Bootstrap,
    level: float,
) -> dict[str, float | None]:
    """Change of the largest gap between groups that hold enough images.

    Its interval only where enough images changed.
    """
    counted = [
        index
        for index, name in enumerate(grouping.names)
        if name != UNKNOWN and grouping.sizes[index] >= minimum_images
    ]
    empty: dict[str, float | None] = {"value": None, "low": None, "high": None}
    if len(counted) < 2:
        return empty
    membership = grouping.one_hot()[:, counted]
    was, now = predictions.correct(before), predictions.correct(after)

    def statistic(counts: np.ndarray) -> np.ndarray:
        new, old = (group_means(counts, right, membership) for right in (now, was))
        return (np.ptp(new, axis=1) - np.ptp(old, axis=1))[:, None]

    value = statistic(np.ones((1, len(predictions)), np.float32))[0, 0]
    if int((was != now).sum()) < MINIMUM_FLIPS:
        return empty | {"value": float(value)}
    low, high = percentile_interval(bootstrap.statistics(statistic), level)
    return {"value": float(value), "low": float(low[0]), "high": float(high[0])}
