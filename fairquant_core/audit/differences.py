"""Paired change of every measure from one model to another, per group, on the same images."""

from __future__ import annotations

import numpy as np
import pandas as pd
from scipy.special import ndtr

from fairquant_core.audit.bootstrap import percentile_interval, spread_of
from fairquant_core.audit.change_intervals import change_interval, changes
from fairquant_core.audit.group_metrics import sizes, why_not
from fairquant_core.audit.grouping import OVERALL, UNKNOWN
from fairquant_core.audit.intervals import design_effect
from fairquant_core.audit.measures import COUNTED, Measure
from fairquant_core.audit.paired_tests import clustered_mcnemar, holm, level_among
from fairquant_core.audit.replicates import Sample, Scores
from fairquant_core.errors import EvaluationError

NOT_PAIRED = "the two samples do not hold the same images, groups and measures; build them alike"


def difference_table(before: Sample, after: Sample, *, level: float = 0.95) -> pd.DataFrame:
    """One row per measure and group, "overall" first.

    Parameters
    ----------
    before, after:
        Two models with the same groups, measures and bootstrap.

    Returns
    -------
    pandas.DataFrame
        Columns measure, group, n (images that the measure is about), clusters, n_positive,
        n_negative, classes_estimable, before, after, difference, low, high, lost, gained (images
        that were right and are wrong now, and the reverse, among the n), design_effect (NaN where
        it plays no part), bootstrap_low, bootstrap_high, p_value, p_holm, estimable, reason.

    Units
    -----
    Fractions; after minus before.

    Raises
    ------
    EvaluationError
        The samples do not belong together.

    Source
    ------
    Intervals: `change_intervals.change_interval`. Tests: exact McNemar for shares of right images
    (`paired_tests`), which counts clusters where images come in clusters; for all others normal
    with the bootstrap's standard error. `p_holm`: Holm over the estimable known groups of one measure.
    """
    if (
        before.scores.groups != after.scores.groups
        or before.scores.measures != after.scores.measures
        or before.drawn.values.shape != after.drawn.values.shape
        or not np.array_equal(before.scores.ids, after.scores.ids)
        or not np.array_equal(before.scores.labels, after.scores.labels)
    ):
        raise EvaluationError(NOT_PAIRED)
    parts = [_part(before, after, index, level) for index in range(len(before.scores.measures))]
    return pd.DataFrame({name: np.concatenate([part[name] for part in parts]) for name in parts[0]})


def high_among(before: Sample, after: Sample, *, level: float = 0.95) -> list[list[float]]:
    """Upper bounds of the change of the first measure, for each number of groups judged together.

    Returns
    -------
    list
        For "overall" and every group: the bound where it is judged alone, as one of two, of three
        and so on, up to all known groups and "overall". NaN where not estimable.

    Units
    -----
    Fractions; after minus before.
    """
    together = sum(name != UNKNOWN for name in before.scores.groups)
    levels = [level_among(judged, level) for judged in range(1, together + 1)]
    found = {each: change_interval(before, after, 0, each)[1] for each in dict.fromkeys(levels)}
    value = after.seen.values[0, 0] - before.seen.values[0, 0]
    bounds = np.column_stack([found[each] for each in levels])
    return np.where(np.isnan(value)[:, None], np.nan, bounds).tolist()


def _part(before: Sample, after: Sample, index: int, level: float) -> dict[str, np.ndarray]:
    scores, measure = before.scores, before.scores.measures[index]
    old, new = before.seen.values[0, index], after.seen.values[0, index]
    drawn = after.drawn.values[:, index] - before.drawn.values[:, index]
    bootstrap_low, bootstrap_high = percentile_interval(drawn, level)
    about = sizes(scores, measure)
    inside = changes(scores, after.scores, measure)
    lost, gained = (
        np.array([int((moved == kind).sum()) for moved, _ in inside]) for kind in (-1, 1)
    )
    estimable = ~np.isnan(new - old)
    low, high = change_interval(before, after, index, level)
    effect = np.full(len(old), np.nan)
    if measure.metric in COUNTED:
        effect = np.array([design_effect(moved, patients) for moved, patients in inside])
        p_value = np.array([clustered_mcnemar(moved, patients) for moved, patients in inside])
    else:
        p_value = _normal_p(new - old, spread_of(drawn))
    p_value = np.where(estimable, p_value, np.nan)
    named = np.array([name not in (OVERALL, UNKNOWN) for name in scores.groups])
    p_holm = np.full(len(old), np.nan)
    p_holm[named & estimable] = holm(p_value[named & estimable])
    reasons = [
        "" if there else _reason(measure, scores, after.scores, position)
        for position, there in enumerate(estimable)
    ]
    return {
        "measure": np.array([measure.title] * len(old), dtype=object),
        "group": np.array(scores.groups, dtype=object),
        "n": about["n"],
        "clusters": np.array([len(np.unique(patients)) for _, patients in inside]),
        **{name: about[name] for name in ("n_positive", "n_negative", "classes_estimable")},
        "before": old,
        "after": new,
        "difference": new - old,
        "low": np.where(estimable, low, np.nan),
        "high": np.where(estimable, high, np.nan),
        "lost": lost,
        "gained": gained,
        "design_effect": effect,
        "bootstrap_low": bootstrap_low,
        "bootstrap_high": bootstrap_high,
        "p_value": p_value,
        "p_holm": p_holm,
        "estimable": estimable,
        "reason": np.array(reasons, dtype=object),
    }


def _normal_p(difference: np.ndarray, spread: np.ndarray) -> np.ndarray:
    still = spread < 1e-12
    ratio = np.abs(difference) / np.where(still, 1.0, spread)
    return np.where(still, 1.0, 2 * ndtr(-ratio))


def _reason(measure: Measure, before: Scores, after: Scores, position: int) -> str:
    for scores in (before, after):
        about = sizes(scores, measure)
        if not about["n"][position] or measure.metric in ("auroc", "macro auroc"):
            break
    return why_not(measure, len(before.inside[position]), float(about["n_positive"][position]))
