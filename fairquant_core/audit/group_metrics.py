"""Every measure per group with its 95 % interval; "not estimable" is a value with a reason."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import numpy as np
import pandas as pd
from scipy.special import expit, logit, ndtri

from fairquant_core.audit.bootstrap import spread_of, widening
from fairquant_core.audit.gaps import concentrated, inverted
from fairquant_core.audit.intervals import (
    area_interval,
    effective,
    mean_interval,
    standard_errors,
    unseen,
    wilson,
)
from fairquant_core.audit.joined_intervals import mean_of_independent, scaled
from fairquant_core.audit.measures import Measure
from fairquant_core.audit.replicates import MEANS, Replicates, Scores

#: What the image that is furthest off may be taken for at least: a Brier score of 1 is about that of
#: a wrong answer, and a group may happen to hold none.
LEAST = {"brier": 1.0}

NO_IMAGE = "no image"
NO_POSITIVE = "no image of {classes}"
NO_NEGATIVE = "every image is of {classes}"
NOT_CALLED = "no image is called {classes}"
ALL_CALLED = "every image is called {classes}"
NO_CLASS = "no class has enough images"


def metric_table(
    scores: Scores, seen: Replicates, drawn: Replicates, *, level: float = 0.95
) -> pd.DataFrame:
    """One row per measure and group, "overall" first.

    Parameters
    ----------
    seen, drawn:
        `replicates.observed` and `replicates.resampled` of the same scores.

    Returns
    -------
    pandas.DataFrame
        Columns measure, group, n (images that enter: for a sensitivity those of its classes),
        n_positive, n_negative (images of the group with and without the measure's classes; NaN for
        measures over all classes), classes_estimable (classes that enter a mean over classes; else
        NaN), value, low, high, estimable, reason ("" or why there is no value).

    Units
    -----
    Shares and areas 0..1; Brier score 0..2; net benefit per image. NaN = not estimable.

    Source
    ------
    The interval of each metric is named in `measures.METRICS`; coverage is checked by simulation.
    """
    rows = []
    for index, measure in enumerate(scores.measures):
        value = seen.values[0, index]
        low, high = (
            np.where(np.isnan(value), np.nan, np.clip(bound, measure.lowest, measure.kind.high))
            for bound in _interval(scores, measure, index, seen, drawn, level)
        )
        about = sizes(scores, measure)
        for position, group in enumerate(scores.groups):
            estimable = not np.isnan(value[position])
            row = {"measure": measure.title, "group": group}
            row |= {name: column[position] for name, column in about.items()}
            row |= {"value": value[position], "low": low[position], "high": high[position]}
            size = len(scores.inside[position])
            reason = "" if estimable else why_not(measure, size, about["n_positive"][position])
            rows.append(row | {"estimable": estimable, "reason": reason})
    return pd.DataFrame(rows)


def _interval(
    scores: Scores,
    measure: Measure,
    index: int,
    seen: Replicates,
    drawn: Replicates,
    level: float,
) -> tuple[np.ndarray, np.ndarray]:
    value, sample = seen.values[0, index], drawn.values[:, index]
    if measure.metric == "balanced accuracy":
        return _mean_recall(scores, level)
    if measure.metric == "ece":
        return calibration_bounds(scores, seen, drawn, index, level)
    if measure.metric == "macro auroc":
        return _macro_area(scores, value, sample, seen.areas[0], drawn.areas, level)
    if measure.metric == "auroc":
        truth = scores.truth(measure)
        cases = [[int((truth[rows] == side).sum()) for rows in scores.inside] for side in (1, 0)]
        return _area(value, sample, np.array(cases[0]), np.array(cases[1]), level)
    if measure.metric in MEANS:
        return _mean(scores, measure, level)
    return wilson(*share_counts(scores, measure), level)


def share_counts(scores: Scores, measure: Measure) -> tuple[np.ndarray, np.ndarray]:
    """Right images and images of every group at the effective sample size. Shapes: (G,), (G,)."""
    found = scores.cases(measure)
    counts = np.zeros((2, len(scores.inside)))
    for position, rows in enumerate(scores.inside):
        chosen = rows[found.counted[rows]]
        counts[:, position] = effective(found.gained[chosen], scores.clusters[chosen])
    return counts[0], counts[1]


def _mean(scores: Scores, measure: Measure, level: float) -> tuple[np.ndarray, np.ndarray]:
    """Bounds of a mean over images; one large term among many small ones makes it skewed.

    Where all images are alike, one that differs may just not have been seen, as in Wilson's interval
    of 0 of n.
    """
    figures = scores.cases(measure).gained
    low, high = (np.full(len(scores.inside), np.nan) for _ in range(2))
    for position, rows in enumerate(scores.inside):
        own, clusters = figures[rows], scores.clusters[rows]
        least = LEAST.get(measure.metric)
        repeated, furthest = (2, 0.0) if least is None else (1, least)
        low[position], high[position] = mean_interval(
            own, clusters, repeated=repeated, least=furthest, level=level
        )
        if len(rows) and np.ptp(own) == 0:
            missed = float(unseen(len(np.unique(clusters)), level))
            low[position] = min(low[position], own[0] + missed * (measure.lowest - own[0]))
            high[position] = max(high[position], own[0] + missed * (measure.kind.high - own[0]))
    return low, high


def _area(
    value: np.ndarray,
    sample: np.ndarray,
    positives: np.ndarray,
    negatives: np.ndarray,
    level: float,
) -> tuple[np.ndarray, np.ndarray]:
    """Logit interval with the bootstrap's standard error; a score interval where that is 0."""
    score = area_interval(value, positives, negatives, level)
    return _logit(value, spread_of(sample), np.minimum(positives, negatives), score, level)


def _macro_area(
    scores: Scores,
    value: np.ndarray,
    sample: np.ndarray,
    areas: np.ndarray,
    drawn_areas: np.ndarray,
    level: float,
) -> tuple[np.ndarray, np.ndarray]:
    supports = scores.supports
    others = supports.sum(axis=1, keepdims=True) - supports
    low, high = area_interval(areas, supports, others, level)
    used = scores.ranked & ~np.isnan(areas)
    # A class that is perfect on every resample has no spread there, but its score interval has one.
    still = used & (spread_of(drawn_areas) < 1e-12)
    terms = np.maximum(used.sum(axis=1), 1)
    extra = np.where(still, standard_errors(low, high, level) ** 2, 0).sum(axis=1) / terms**2
    bounds = scaled(areas, low, high, level)
    _, below, above = mean_of_independent(areas, bounds, np.full(areas.shape, np.inf), used)
    spread = np.sqrt(spread_of(sample) ** 2 + extra)
    return _logit(value, spread, supports.sum(axis=1), (below, above), level)


def _logit(
    value: np.ndarray,
    spread: np.ndarray,
    n: np.ndarray,
    otherwise: tuple[np.ndarray, np.ndarray],
    level: float,
) -> tuple[np.ndarray, np.ndarray]:
    """Normal interval on the logit scale, or the other one where there is no spread."""
    plain = (value > 0) & (value < 1) & (spread > 0) & (n > 1)
    safe = np.where(plain, value, 0.5)
    factor = np.where(plain, widening(n, level), 0)
    half = ndtri(0.5 + level / 2) * factor * spread / (safe * (1 - safe))
    low, high = expit(logit(safe) - half), expit(logit(safe) + half)
    return np.where(plain, low, otherwise[0]), np.where(plain, high, otherwise[1])


def _mean_recall(scores: Scores, level: float) -> tuple[np.ndarray, np.ndarray]:
    shape = scores.supports.shape
    hits, n = np.zeros(shape), np.zeros(shape)
    for position, rows in enumerate(scores.inside):
        for code in np.flatnonzero(scores.recalled[position]):
            chosen = rows[scores.labels[rows] == code]
            hits[position, code], n[position, code] = effective(
                scores.correct[chosen], scores.clusters[chosen]
            )
    recall = np.divide(hits, n, out=np.full(shape, np.nan), where=n > 0)
    return mean_of_independent(recall, partial(wilson, hits, n), n, scores.recalled, level=level)[
        1:
    ]


def calibration_bounds(
    scores: Scores, seen: Replicates, drawn: Replicates, index: int, level: float
) -> tuple[np.ndarray, np.ndarray]:
    """Bounds of the calibration error of every group. Shapes: (G,), (G,)."""
    groups = range(len(scores.inside))
    found = [mean_calibration_bounds(scores, seen, drawn, index, [g], level) for g in groups]
    low, high = np.array(found).T
    return low, high


def mean_calibration_bounds(
    scores: Scores,
    seen: Replicates,
    drawn: Replicates,
    index: int,
    groups: Sequence[int],
    level: float = 0.95,
) -> tuple[float, float]:
    """Bounds of the mean calibration error of some groups.

    The error of every group is seen too large, so the mean is judged as one figure: bounds that are joined from
    those of its groups would close in on what is common to all of them, the bias.

    Source: `gaps.inverted`, since an error is never below zero and chance alone makes one; few images as in
    `bootstrap.widening`.
    """
    clusters = np.array([len(np.unique(scores.clusters[scores.inside[g]])) for g in groups])
    # A single image says nothing about others.
    if (clusters < 2).any():
        return 0.0, 1.0
    shift = seen.miscalibration[0, groups]
    noise = (drawn.miscalibration[:, groups] - shift) * widening(clusters, level)[:, None]
    few = np.copysign(concentrated(np.abs(shift), np.abs(noise).mean(axis=0)), shift)
    all_alike = np.copysign(noise.std(axis=0), shift)
    size = float(seen.values[0, index, groups].mean())
    return inverted(_mean_size, size, few, all_alike, noise, level)[:2]


def _mean_size(bins: np.ndarray) -> np.ndarray:
    """Shapes: (R, G, BINS) -> (R,)."""
    return np.abs(bins).sum(axis=-1).mean(axis=-1)


def sizes(scores: Scores, measure: Measure) -> dict[str, np.ndarray]:
    """How many images (and classes) a measure is about in every group. Shapes: (G,) each."""
    n = np.array([len(rows) for rows in scores.inside])
    none = np.full(len(n), np.nan)
    found = {"n": n, "n_positive": none, "n_negative": none, "classes_estimable": none}
    if measure.positive:
        truth = scores.truth(measure)
        positive = np.array([int(truth[rows].sum()) for rows in scores.inside])
        found |= {"n_positive": positive, "n_negative": n - positive}
        if measure.metric != "auroc":
            counted = scores.cases(measure).counted
            found["n"] = np.array([int(counted[rows].sum()) for rows in scores.inside])
    if measure.metric == "balanced accuracy":
        found["classes_estimable"] = scores.recalled.sum(axis=1)
    if measure.metric == "macro auroc":
        found["classes_estimable"] = scores.ranked.sum(axis=1)
    return found


def why_not(measure: Measure, images: int, positives: float) -> str:
    """Why a measure has no value in a group of that many images."""
    if not images:
        return NO_IMAGE
    if not measure.positive:
        return NO_CLASS
    if measure.metric in ("ppv", "npv"):
        template = NOT_CALLED if measure.metric == "ppv" else ALL_CALLED
    else:
        lacking = measure.metric == "specificity" or positives
        template = NO_NEGATIVE if lacking else NO_POSITIVE
    return template.format(classes=measure.about)
