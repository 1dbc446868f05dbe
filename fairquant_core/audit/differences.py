"""Paired change of every measure from one model to another, per group, on the same images."""

from __future__ import annotations

import numpy as np
import pandas as pd
from scipy.special import ndtr, ndtri

from fairquant_core.audit.bootstrap import percentile_interval, spread_of, widened, widening
from fairquant_core.audit.group_metrics import calibration_bounds, sizes, why_not
from fairquant_core.audit.grouping import OVERALL, UNKNOWN
from fairquant_core.audit.intervals import (
    design_effect,
    mean_of_independent,
    paired_score_interval,
)
from fairquant_core.audit.measures import COUNTED, Measure
from fairquant_core.audit.paired_tests import clustered_mcnemar, holm
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
    Shares of right images: paired score interval and exact McNemar (`intervals`, `paired_tests`);
    where images come in clusters the test counts clusters, and the interval is taken at the
    effective sample size and widened to the clustered bootstrap. Balanced accuracy and net benefit:
    the same interval per class, or for positive and other images, joined by variance recovery; so
    are the two calibration errors, which is cautious. Other measures: paired bootstrap, widened for
    small groups; a loss of AUROC is never ruled out sooner than by the score interval without any
    change. Their p-value, and that of the joined ones, is normal with the bootstrap's standard
    error. `p_holm`: Holm over the estimable known groups of one measure.
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


def _part(before: Sample, after: Sample, index: int, level: float) -> dict[str, np.ndarray]:
    scores, measure = before.scores, before.scores.measures[index]
    old, new = before.seen.values[0, index], after.seen.values[0, index]
    drawn = after.drawn.values[:, index] - before.drawn.values[:, index]
    bootstrap_low, bootstrap_high = percentile_interval(drawn, level)
    about = sizes(scores, measure)
    # 1 for an image that was gained, -1 for one that was lost.
    change = _right(after.scores, measure).astype(np.int8) - _right(scores, measure)
    inside = [(change[rows], scores.clusters[rows]) for rows in _members(scores, measure)]
    lost, gained = (
        np.array([int((moved == kind).sum()) for moved, _ in inside]) for kind in (-1, 1)
    )
    estimable = ~np.isnan(new - old)
    clusters = np.array([len(np.unique(patients)) for _, patients in inside])
    if measure.metric in COUNTED:
        effect = np.array([design_effect(moved, patients) for moved, patients in inside])
        low, high = paired_score_interval(
            lost / effect, gained / effect, about["n"] / effect, level
        )
        clustered = clusters < about["n"]
        low = np.where(clustered, np.fmin(low, bootstrap_low), low)
        high = np.where(clustered, np.fmax(high, bootstrap_high), high)
        chances = [clustered_mcnemar(moved, patients) for moved, patients in inside]
        p_value = np.where(estimable, chances, np.nan)
    else:
        effect = np.full(len(old), np.nan)
        spread = spread_of(drawn)
        p_value = np.where(estimable, _normal_p(new - old, spread), np.nan)
        if measure.metric == "balanced accuracy":
            low, high = _recall_change(scores, after.scores, level)
        elif measure.metric == "net benefit":
            low, high = _benefit_change(scores, after.scores, measure, level)
        elif measure.metric == "ece":
            low, high = _calibration_change(before, after, index, level)
        else:
            low, high = _bootstrapped(scores, measure, new - old, drawn, about, level)
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
        "clusters": clusters,
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


def _members(scores: Scores, measure: Measure) -> list[np.ndarray]:
    """Images of every group that the measure is about."""
    if measure.metric not in COUNTED:
        return scores.inside
    counted = scores.cases(measure).counted
    return [rows[counted[rows]] for rows in scores.inside]


def _right(scores: Scores, measure: Measure) -> np.ndarray:
    """Whether each image is right; for measures that do not count images, by its own label."""
    return scores.cases(measure).gained if measure.metric in COUNTED else scores.correct


def _recall_change(before: Scores, after: Scores, level: float) -> tuple[np.ndarray, np.ndarray]:
    """Score interval of every class's change, joined. Shapes: (G,), (G,)."""
    shape = before.supports.shape
    lost, gained, n = (np.zeros(shape) for _ in range(3))
    for position, rows in enumerate(before.inside):
        for code in np.flatnonzero(before.recalled[position]):
            chosen = rows[before.labels[rows] == code]
            change = after.correct[chosen].astype(np.int8) - before.correct[chosen].astype(np.int8)
            effect = design_effect(change, before.clusters[chosen])
            lost[position, code] = (change < 0).sum() / effect
            gained[position, code] = (change > 0).sum() / effect
            n[position, code] = len(chosen) / effect
    low, high = paired_score_interval(lost, gained, n, level)
    with np.errstate(invalid="ignore"):
        return mean_of_independent((gained - lost) / n, low, high, before.recalled)[1:]


def _benefit_change(
    before: Scores, after: Scores, measure: Measure, level: float
) -> tuple[np.ndarray, np.ndarray]:
    """Score intervals of the positive and of the other images, joined. Shapes: (G,), (G,).

    Few images cross the threshold and each of them weighs much, which no resampling of the seen
    ones can show.
    """
    threshold = float(measure.threshold or 0)
    called = [scores.risk(measure) >= threshold for scores in (before, after)]
    change = called[1].astype(np.int8) - called[0].astype(np.int8)
    truth = before.truth(measure)
    weights = {True: 1.0, False: -threshold / (1 - threshold)}
    terms = []
    for side, weight in weights.items():
        # A positive image that is called no longer is lost; so is another one that is called now.
        sign = 1 if side else -1
        members = [rows[truth[rows] == side] for rows in before.inside]
        effect = np.array([design_effect(change[rows], before.clusters[rows]) for rows in members])
        lost, gained = (
            np.array([int((sign * change[rows] == kind).sum()) for rows in members])
            for kind in (-1, 1)
        )
        n = np.array([len(rows) for rows in members])
        low, high = paired_score_interval(lost / effect, gained / effect, n / effect, level)
        share = abs(weight) * n / np.maximum([len(rows) for rows in before.inside], 1)
        centre = np.divide(gained - lost, n, out=np.zeros(len(n)), where=n > 0)
        terms.append([np.nan_to_num(share * bound) for bound in (centre, low, high)])
    # A sum of two terms is twice their mean.
    value, low, high = (np.stack(part, axis=-1) for part in zip(*terms, strict=True))
    _, below, above = mean_of_independent(value, low, high)
    return 2 * below, 2 * above


def _calibration_change(
    before: Sample, after: Sample, index: int, level: float
) -> tuple[np.ndarray, np.ndarray]:
    """Bounds of two errors that are both biased, but not alike, joined. Shapes: (G,), (G,)."""
    old, new = before.seen.values[0, index], after.seen.values[0, index]
    (old_low, old_high), (new_low, new_high) = (
        calibration_bounds(sample.scores, sample.seen, sample.drawn, index, level)
        for sample in (before, after)
    )
    low = new - old - np.hypot(new - new_low, old_high - old)
    return low, new - old + np.hypot(new_high - new, old - old_low)


def _bootstrapped(
    scores: Scores,
    measure: Measure,
    difference: np.ndarray,
    drawn: np.ndarray,
    about: dict[str, np.ndarray],
    level: float,
) -> tuple[np.ndarray, np.ndarray]:
    clusters = np.array([len(np.unique(scores.clusters[rows])) for rows in scores.inside])
    n = np.fmin(clusters, about["n"])
    if measure.metric == "auroc":
        n = np.fmin(n, np.fmin(about["n_positive"], about["n_negative"]))
    spread = spread_of(drawn)
    factor = np.where(spread > 0, widening(n, level), 0)
    half = ndtri(0.5 + level / 2) * factor * spread
    low, high = difference - half, difference + half
    ranked = measure.metric in ("auroc", "macro auroc")
    if not ranked:
        # Skewed by few images that weigh much: the wider of the normal bounds and the percentiles.
        below, above = widened(difference, drawn, n, level)
        low, high = np.fmin(low, below), np.fmax(high, above)
    # Where no resample shows a change, as much may have been missed as in any share of n images.
    still = spread < 1e-12
    unseen = paired_score_interval(0 * n, 0 * n, n, level)[1]
    span = measure.kind.high - measure.lowest
    low, high = (
        np.where(still, difference - unseen, low),
        np.where(still, difference + unseen, high),
    )
    if ranked:
        # A few images that are ranked the wrong way round, and that these n happen not to hold, can
        # be missed just as well where many others moved a little: no loss is ruled out sooner.
        low = np.fmin(low, difference - unseen)
    return np.maximum(low, -span), np.minimum(high, span)


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
