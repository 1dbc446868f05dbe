"""Equal opportunity, equalised odds and demographic parity, over classes that can be estimated.

A class with positives in only one group says nothing about a gap between groups. Counting it as a
gap of zero, as some tools do, hides real gaps of the other classes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from fairquant_core.audit.bootstrap import RESAMPLES
from fairquant_core.audit.gaps import NO_GAP, GapEstimate, gap_estimate
from fairquant_core.audit.grouping import OVERALL, UNKNOWN
from fairquant_core.audit.intervals import independent_share
from fairquant_core.audit.measures import ANY
from fairquant_core.audit.replicates import Replicates, Scores

EQUAL_OPPORTUNITY = "equal opportunity"
EQUALISED_ODDS = "equalised odds"
DEMOGRAPHIC_PARITY = "demographic parity"

TOO_FEW_GROUPS = "fewer than two groups hold {count} or more images of the class"
TWO_GROUPS = "fewer than two groups hold enough images"
NO_CLASS = "no class can be estimated in two groups"
NOTHING_MARKED = "no class is marked as one that must not be missed"

TPR, FPR, CALLED = "true positive rate", "false positive rate", "share called the class"
#: A cell leans on the rate of all groups as if it had seen this many more images at that rate.
_LEAN = 20


def fairness_tables(
    scores: Scores,
    seen: Replicates,
    classes: Sequence[str],
    *,
    must_not_miss: Sequence[str] = (),
    minimum_images: int = 1,
    minimum_positives: int = 1,
    minimum_negatives: int = 1,
    level: float = 0.95,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """The fairness criteria, and the gaps of every class that they are made of.

    Parameters
    ----------
    seen:
        `replicates.observed` of the scores.
    classes:
        Classes of the classifier.
    minimum_images:
        Groups with fewer images do not count; nor does "unknown".
    minimum_positives, minimum_negatives:
        A class is estimable in a group from this many images of it (and of other classes).

    Returns
    -------
    tuple of pandas.DataFrame
        First: columns criterion, about (the class; "" for a mean over classes), value, low, high,
        by_chance (mean value if groups did not differ), classes_estimable, classes, estimable,
        reason. Second: columns class, tpr_gap, fpr_gap, called_gap, tpr_groups, fpr_groups (in how
        many groups the rate is estimable), estimable, reason.

    Units
    -----
    Differences of rates, fractions 0..1; 0 = no difference.

    Source
    ------
    Hardt, Price & Srebro 2016 for both odds criteria; a gap is the largest minus the smallest rate
    over groups, as in fairlearn; equalised odds is the mean of the gaps of the true positive and
    the false positive rate (fairlearn's `agg="mean"`), averaged over estimable classes. Intervals:
    see `gaps.gap_estimate`, with binomial noise; images of one patient count as fully dependent.
    """
    keep = [
        index
        for index, name in enumerate(scores.groups)
        if name not in (OVERALL, UNKNOWN) and len(scores.inside[index]) >= minimum_images
    ]
    cells = _cells(scores, seen, keep)
    needed = {TPR: minimum_positives, FPR: minimum_negatives, CALLED: 1}
    rates = {
        name: _Rate.build(cells[name], max(needed[name], 1), resamples, seed) for name in cells
    }
    opportunity = rates[TPR].groups >= 2
    odds = opportunity & (rates[FPR].groups >= 2)

    def estimate(names: Sequence[str], chosen: np.ndarray) -> GapEstimate:
        values = np.concatenate([rates[name].value[:, chosen] for name in names], axis=1)
        noise = np.concatenate([rates[name].noise[:, :, chosen] for name in names], axis=2)
        return gap_estimate(values, noise, level)

    of = len(classes)
    rows = [
        _row(EQUAL_OPPORTUNITY, "", estimate([TPR], opportunity), opportunity.sum(), of, NO_CLASS),
        _row(EQUALISED_ODDS, "", estimate([TPR, FPR], odds), odds.sum(), of, NO_CLASS),
    ]
    sets = {name: [name] for name in must_not_miss}
    if len(sets) > 1:
        sets[ANY] = list(sets)
    for about, names in sets.items():
        called = cells[CALLED].only([list(classes).index(name) for name in names])
        rate = _Rate.build(called, 1, resamples, seed)
        found = gap_estimate(rate.value, rate.noise, level)
        rows.append(_row(DEMOGRAPHIC_PARITY, about, found, rate.groups[0] >= 2, 1, TWO_GROUPS))
    if not sets:
        rows.append(_row(DEMOGRAPHIC_PARITY, "", NO_GAP, 0, 0, NOTHING_MARKED))
    return pd.DataFrame(rows), _by_class(rates, classes, needed[TPR])


@dataclass(frozen=True)
class _Cells:
    """Rate, cases and independent cases of every group and class. Shapes: (G, C) each."""

    rate: np.ndarray
    n: np.ndarray
    independent: np.ndarray

    def only(self, columns: Sequence[int]) -> _Cells:
        """Several classes as one; an image is called one class only, so the shares add up."""
        total = self.rate[:, columns].sum(axis=1, keepdims=True)
        return _Cells(total, self.n[:, :1], self.independent[:, :1])


@dataclass(frozen=True)
class _Rate:
    """A rate per group and class, and how far it may be off.

    Shapes: value (G, C), NaN where it has too few cases; noise (R, G, C); groups (C,).
    """

    value: np.ndarray
    noise: np.ndarray
    groups: np.ndarray

    @classmethod
    def build(cls, cells: _Cells, needed: int, resamples: int, seed: int) -> _Rate:
        """Binomial noise, at a rate that leans on the other groups where a cell has few cases.

        Resampling the cell itself would not do: one image that is right stays right in every
        resample, though the next one may well be wrong.
        """
        used = cells.n >= needed
        n = np.where(used, cells.n, 0)
        hits = np.where(used, np.nan_to_num(cells.rate) * cells.n, 0)
        pooled = (hits.sum(axis=0) + 1) / (n.sum(axis=0) + 2)
        rate = (hits + _LEAN * pooled) / (n + _LEAN)
        size = np.maximum(cells.independent, 1)
        draws = np.random.default_rng(seed).binomial(size, rate, (resamples, *rate.shape))
        return cls(np.where(used, cells.rate, np.nan), draws / size - rate, used.sum(axis=0))


def _cells(scores: Scores, seen: Replicates, keep: Sequence[int]) -> dict[str, _Cells]:
    positives = scores.supports[keep]
    sizes = np.broadcast_to(positives.sum(axis=1, keepdims=True), positives.shape)
    of_class = np.ones(positives.shape)
    of_group = np.ones(positives.shape)
    for row, index in enumerate(keep):
        members = scores.inside[index]
        of_group[row] = independent_share(scores.clusters[members])
        for column in np.flatnonzero(positives[row]):
            chosen = members[scores.labels[members] == column]
            of_class[row, column] = independent_share(scores.clusters[chosen])

    def cells(rate: np.ndarray, n: np.ndarray, share: np.ndarray) -> _Cells:
        return _Cells(rate[0, keep], n, np.round(n * share).astype(np.int64))

    return {
        TPR: cells(seen.true_positive_rate, positives, of_class),
        FPR: cells(seen.false_positive_rate, sizes - positives, of_group),
        CALLED: cells(seen.called_rate, sizes, of_group),
    }


def _row(
    criterion: str, about: str, found: GapEstimate, estimable: int, of: int, reason: str
) -> dict[str, object]:
    there = not np.isnan(found.value)
    return {
        "criterion": criterion,
        "about": about,
        **found._asdict(),
        "classes_estimable": int(estimable),
        "classes": of,
        "estimable": there,
        "reason": "" if there else reason,
    }


def _by_class(
    rates: dict[str, _Rate], classes: Sequence[str], minimum_positives: int
) -> pd.DataFrame:
    gaps = {name: _ranges(rate) for name, rate in rates.items()}
    rows = []
    for column, label in enumerate(classes):
        estimable = bool(rates[TPR].groups[column] >= 2)
        rows.append(
            {
                "class": label,
                "tpr_gap": gaps[TPR][column],
                "fpr_gap": gaps[FPR][column],
                "called_gap": gaps[CALLED][column],
                "tpr_groups": int(rates[TPR].groups[column]),
                "fpr_groups": int(rates[FPR].groups[column]),
                "estimable": estimable,
                "reason": "" if estimable else TOO_FEW_GROUPS.format(count=minimum_positives),
            }
        )
    return pd.DataFrame(rows)


def _ranges(rate: _Rate) -> np.ndarray:
    """Largest minus smallest value over groups; NaN with fewer than two. Shapes: (C,)."""
    largest = np.where(np.isnan(rate.value), -np.inf, rate.value).max(axis=0, initial=-np.inf)
    smallest = np.where(np.isnan(rate.value), np.inf, rate.value).min(axis=0, initial=np.inf)
    return np.where(rate.groups >= 2, largest - smallest, np.nan)
