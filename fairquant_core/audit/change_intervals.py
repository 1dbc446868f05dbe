"""The interval of a measure's paired change in every group, each measure in its own way."""

from __future__ import annotations

from functools import partial

import numpy as np
from scipy.special import ndtri

from fairquant_core.audit.bootstrap import percentile_interval, spread_of, widening
from fairquant_core.audit.group_metrics import calibration_bounds, share_counts, sizes
from fairquant_core.audit.intervals import (
    design_effect,
    mean_interval,
    paired_score_interval,
    unseen,
    wilson,
)
from fairquant_core.audit.joined_intervals import difference_of_dependent, mean_of_independent
from fairquant_core.audit.measures import CALLED, COUNTED, Measure
from fairquant_core.audit.replicates import Sample, Scores

Interval = tuple[np.ndarray, np.ndarray]
#: How many times more the largest change counts in the change of a mean (see `intervals.mean_interval`).
REPEATED = 2


def change_interval(before: Sample, after: Sample, index: int, level: float = 0.95) -> Interval:
    """Low and high of the change of one measure; NaN where a group has no value.

    Parameters
    ----------
    index:
        Position of the measure in both samples.

    Returns
    -------
    tuple
        Overall first, then every group. Shapes: (G,), (G,).

    Units
    -----
    Fractions; after minus before.

    Source
    ------
    Shares of right images: paired score interval (`intervals.paired_score_interval`); where images
    come in clusters it is taken at the effective sample size and widened to the clustered bootstrap.
    Balanced accuracy and net benefit: the same interval per class, or for positive and other images,
    joined as strata (`joined_intervals.mean_of_independent`). Predictive values, and the two calibration
    errors: the intervals before and after, joined (`joined_intervals.difference_of_dependent`), the latter
    as if they did not go together. Brier score: `intervals.mean_interval`. AUROC: bootstrap, widened
    for small groups; a loss is never ruled out sooner than by the score interval without any change.
    """
    scores, measure = before.scores, before.scores.measures[index]
    if measure.metric in COUNTED:
        return _counted_change(before, after, index, level)
    if measure.metric in CALLED:
        return _called_change(scores, after.scores, measure, level)
    if measure.metric == "balanced accuracy":
        return _recall_change(scores, after.scores, level)
    if measure.metric == "net benefit":
        return _benefit_change(scores, after.scores, measure, level)
    if measure.metric == "ece":
        return _calibration_change(before, after, index, level)
    if measure.metric == "brier":
        return _mean_change(scores, after.scores, measure, level)
    return _area_change(before, after, index, level)


def changes(before: Scores, after: Scores, measure: Measure) -> list[tuple[np.ndarray, np.ndarray]]:
    """What changed in every group among the images that the measure is about, and their patients.

    1 for an image that was gained, -1 for one that was lost, 0 for the others; for measures that do
    not count images, by its own label. Shapes: (n,), (n,) each.
    """
    own = measure.metric in COUNTED
    now, was = (
        scores.cases(measure).gained if own else scores.correct for scores in (after, before)
    )
    change = now.astype(np.int8) - was
    members = before.inside
    if own:
        counted = before.cases(measure).counted
        members = [rows[counted[rows]] for rows in members]
    return [(change[rows], before.clusters[rows]) for rows in members]


def _lost_gained(change: np.ndarray, clusters: np.ndarray) -> np.ndarray:
    """Images lost, gained and all, at the effective sample size. Shapes: (n,), (n,) -> (3,)."""
    counts = np.array([(change < 0).sum(), (change > 0).sum(), len(change)])
    return counts / design_effect(change, clusters)


def _counted_change(before: Sample, after: Sample, index: int, level: float) -> Interval:
    measure = before.scores.measures[index]
    counts = np.zeros((3, len(before.scores.inside)))
    clustered = np.zeros(len(before.scores.inside), bool)
    for position, (moved, patients) in enumerate(changes(before.scores, after.scores, measure)):
        counts[:, position] = _lost_gained(moved, patients)
        clustered[position] = len(np.unique(patients)) < len(moved)
    lost, gained, n = counts
    low, high = paired_score_interval(lost, gained, n, level)
    drawn = after.drawn.values[:, index] - before.drawn.values[:, index]
    wide = percentile_interval(drawn, level)
    return (
        np.where(clustered, np.fmin(low, wide[0]), low),
        np.where(clustered, np.fmax(high, wide[1]), high),
    )


def _recall_change(before: Scores, after: Scores, level: float) -> Interval:
    """Score interval of every class's change, joined. Shapes: (G,), (G,)."""
    shape = before.supports.shape
    counts = np.zeros((3, *shape))
    for position, rows in enumerate(before.inside):
        for code in np.flatnonzero(before.recalled[position]):
            chosen = rows[before.labels[rows] == code]
            change = after.correct[chosen].astype(np.int8) - before.correct[chosen].astype(np.int8)
            counts[:, position, code] = _lost_gained(change, before.clusters[chosen])
    lost, gained, n = counts
    value = np.divide(gained - lost, n, out=np.full(shape, np.nan), where=n > 0)
    bounds = partial(paired_score_interval, lost, gained, n)
    return mean_of_independent(value, bounds, n, before.recalled, level=level)[1:]


def _benefit_change(before: Scores, after: Scores, measure: Measure, level: float) -> Interval:
    """Score intervals of the positive and of the other images, joined. Shapes: (G,), (G,).

    Few images cross the threshold and each of them weighs much, which no resampling of the seen
    ones can show.
    """
    threshold = float(measure.threshold or 0)
    called = [scores.risk(measure) >= threshold for scores in (before, after)]
    change = called[1].astype(np.int8) - called[0].astype(np.int8)
    truth = before.truth(measure)
    weights = {True: 1.0, False: -threshold / (1 - threshold)}
    shape = (len(before.inside), len(weights))
    counts, share = np.zeros((3, *shape)), np.zeros(shape)
    for column, (side, weight) in enumerate(weights.items()):
        # A positive image that is called no longer is lost; so is another one that is called now.
        sign = 1 if side else -1
        for position, rows in enumerate(before.inside):
            chosen = rows[truth[rows] == side]
            moved = sign * change[chosen]
            counts[:, position, column] = _lost_gained(moved, before.clusters[chosen])
            share[position, column] = abs(weight) * len(chosen) / max(len(rows), 1)
    lost, gained, n = counts
    value = np.divide(gained - lost, n, out=np.full(shape, np.nan), where=n > 0)
    bounds = partial(paired_score_interval, lost, gained, n)
    return mean_of_independent(value, bounds, n, weights=share, level=level)[1:]


def _called_change(before: Scores, after: Scores, measure: Measure, level: float) -> Interval:
    """Wilson intervals before and after, joined with their correlation. Shapes: (G,), (G,).

    The two models call different images, so no image can be counted as lost or gained; how far the
    two shares go together is seen from what every patient adds to each of them.
    """
    either = before.cases(measure), after.cases(measure)
    counts = share_counts(before, measure), share_counts(after, measure)
    with np.errstate(invalid="ignore"):
        sides = [(right / n, *wilson(right, n, level)) for right, n in counts]
    correlation, still = np.zeros((2, len(before.inside)))
    for position, rows in enumerate(before.inside):
        called = [cases.counted[rows] for cases in either]
        if not all(side.any() for side in called):
            continue
        patients = np.unique(before.clusters[rows], return_inverse=True)[1].ravel()
        added = []
        for cases, side in zip(either, sides, strict=True):
            off = cases.counted[rows] * (cases.gained[rows] - side[0][position])
            added.append(np.bincount(patients, weights=off / cases.counted[rows].sum()))
        size = np.sqrt((added[0] ** 2).sum() * (added[1] ** 2).sum())
        correlation[position] = added[0] @ added[1] / size if size > 0 else 0
        if (called[0] == called[1]).all():
            # The same images are called, so none of them shows what a change would do.
            still[position] = unseen(len(np.unique(patients[called[0]])), level)
    low, high = difference_of_dependent(sides[0], sides[1], correlation)
    change = sides[1][0] - sides[0][0]
    return np.fmin(low, change - still), np.fmax(high, change + still)


def _mean_change(before: Scores, after: Scores, measure: Measure, level: float) -> Interval:
    """Bounds of the mean change. Shapes: (G,), (G,)."""
    change = after.cases(measure).gained - before.cases(measure).gained
    span = measure.kind.high - measure.lowest
    low, high = (np.full(len(before.inside), np.nan) for _ in range(2))
    for position, rows in enumerate(before.inside):
        own, clusters = change[rows], before.clusters[rows]
        low[position], high[position] = mean_interval(own, clusters, repeated=REPEATED, level=level)
        if len(rows) and np.ptp(own) == 0:
            apart = float(unseen(len(np.unique(clusters)), level))
            low[position], high[position] = own[0] - apart, own[0] + apart
    return np.maximum(low, -span), np.minimum(high, span)


def _calibration_change(before: Sample, after: Sample, index: int, level: float) -> Interval:
    """Bounds of two errors that are both biased, but not alike, joined. Shapes: (G,), (G,)."""
    old, new = (
        (
            sample.seen.values[0, index],
            *calibration_bounds(sample.scores, sample.seen, sample.drawn, index, level),
        )
        for sample in (before, after)
    )
    return difference_of_dependent(old, new, np.zeros(len(old[0])))


def _area_change(before: Sample, after: Sample, index: int, level: float) -> Interval:
    """Student's interval with the bootstrap's standard error. Shapes: (G,), (G,)."""
    scores, measure = before.scores, before.scores.measures[index]
    difference = after.seen.values[0, index] - before.seen.values[0, index]
    drawn = after.drawn.values[:, index] - before.drawn.values[:, index]
    about = sizes(scores, measure)
    clusters = np.array([len(np.unique(scores.clusters[rows])) for rows in scores.inside])
    n = np.fmin(clusters, about["n"])
    if measure.metric == "auroc":
        n = np.fmin(n, np.fmin(about["n_positive"], about["n_negative"]))
    spread = spread_of(drawn)
    half = ndtri(0.5 + level / 2) * np.where(spread > 0, widening(n, level), 0) * spread
    missed = unseen(n, level)
    high = difference + np.where(spread < 1e-12, missed, half)
    # A few images that are ranked the wrong way round, and that these n happen not to hold, can
    # be missed just as well where many others moved a little: no loss is ruled out sooner.
    low = difference - np.maximum(half, missed)
    return np.maximum(low, -1), np.minimum(high, 1)
