"""Intervals of a mean or a difference that are made from the intervals of its parts."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from scipy.special import ndtr, ndtri

#: Rounds in which the common quantile of a mean settles; the bounds then change by less than 0.001.
_ROUNDS = 5

#: Low and high of all terms, at levels that broadcast against them.
Bounds = Callable[[np.ndarray], tuple[np.ndarray, np.ndarray]]


def mean_of_independent(
    values: np.ndarray,
    bounds: Bounds,
    sizes: np.ndarray,
    chosen: np.ndarray | None = None,
    *,
    weights: np.ndarray | None = None,
    level: float = 0.95,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Mean over the last axis with an interval made from the intervals of its terms.

    A term whose own interval is wide (a class with one image, right or wrong) keeps its doubt,
    where a bootstrap would see no spread at all. The terms are not all as far off as they can be at
    once, so each goes only part of the way to its own bound, and its interval is made at that part.

    Parameters
    ----------
    values:
        Terms that do not share images. Shapes: (..., K).
    bounds:
        Low and high of every term at the levels (2, ..., 1) that it is asked for: first those for the low ones.
    sizes:
        Independent images behind every term. Shapes: (..., K).
    chosen:
        Terms that count; without it, all. Shapes: (..., K) bool.
    weights:
        What every term counts; without it, 1 / number of terms. Shapes: (..., K).

    Returns
    -------
    tuple
        Mean, low, high; NaN where no term counts. Shapes: (...).

    Source
    ------
    Stratified Wilson and Newcombe intervals: Yan & Su 2010, Statistics in Biopharmaceutical Research
    2:329 (one common, smaller normal quantile for all terms, found by iteration). For one term it is
    the term's own interval. The bounds of many small terms lack the factor n / (n - 1) of a variance,
    which Wilson's and Tango's intervals make up for at the full quantile only: it is put back in
    as far as the quantile is smaller.

    Examples
    --------
    >>> from functools import partial
    >>> from fairquant_core.audit.intervals import wilson
    >>> hits, n = np.array([9, 45]), np.array([12, 50])
    >>> found = mean_of_independent(hits / n, partial(wilson, hits, n), n)
    >>> [round(float(x), 3) for x in found]
    [0.825, 0.672, 0.92]
    """
    used = ~np.isnan(values) if chosen is None else chosen & ~np.isnan(values)
    terms = used.sum(axis=-1, keepdims=True)
    share = 1 / np.maximum(terms, 1) if weights is None else weights
    full = ndtri(0.5 + level / 2)
    spare = np.where(used, 1 / np.maximum(sizes - 1, 1), 0)

    def away(quantile: np.ndarray) -> np.ndarray:
        """How far every term goes down and up. Shapes: (2, ..., 1) -> (2, ..., K)."""
        low, high = bounds(2 * ndtr(quantile) - 1)
        return np.where(used, share * np.abs(values - np.stack([low[0], high[1]])), 0)

    quantile = np.full((2, *terms.shape), full)
    for _ in range(_ROUNDS):
        unit = away(quantile) / quantile
        lacking = 1 + spare * (1 - (quantile / full) ** 2)
        total = unit.sum(axis=-1, keepdims=True)
        joined = np.sqrt((unit**2 * lacking).sum(axis=-1, keepdims=True))
        quantile = np.where(total > 0, full * joined / np.where(total > 0, total, 1), full)
    below, above = away(quantile).sum(axis=-1)

    mean = np.where(used, share * values, 0).sum(axis=-1)
    mean = np.where(terms[..., 0] > 0, mean, np.nan)
    return mean, mean - below, mean + above


def scaled(values: np.ndarray, low: np.ndarray, high: np.ndarray, level: float = 0.95) -> Bounds:
    """Bounds for `mean_of_independent` where only those of one level are known: they go as the quantile does.

    Source
    ------
    The mean then has the interval of Zou & Donner 2008, Statistics in Medicine 27:1693 (MOVER).
    """

    def bounds(other: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        part = ndtri(0.5 + other / 2) / ndtri(0.5 + level / 2)
        return values - part * (values - low), values + part * (high - values)

    return bounds


def difference_of_dependent(
    first: tuple[np.ndarray, np.ndarray, np.ndarray],
    second: tuple[np.ndarray, np.ndarray, np.ndarray],
    correlation: np.ndarray,
) -> tuple[np.ndarray, np.ndarray]:
    """Interval of second - first, made from the intervals of two estimates that go together.

    Parameters
    ----------
    first, second:
        Value, low and high of each. Shapes: (...) each.
    correlation:
        Of the two estimates. Shapes: (...).

    Source
    ------
    Variance recovery: Zou & Donner 2008, Statistics in Medicine 27:1693; for shares it is the paired
    interval of Newcombe 1998, Statistics in Medicine 17:2635, method 8.

    Examples
    --------
    >>> one, two = (0.9, 0.8, 0.95), (0.8, 0.7, 0.87)
    >>> [round(float(bound), 3) for bound in difference_of_dependent(one, two, 0.5)]
    [-0.187, -0.011]
    """
    (old, old_low, old_high), (new, new_low, new_high) = first, second

    def joined(own: np.ndarray, other: np.ndarray) -> np.ndarray:
        return np.sqrt(np.maximum(own**2 - 2 * correlation * own * other + other**2, 0))

    low = new - old - joined(new - new_low, old_high - old)
    return low, new - old + joined(new_high - new, old - old_low)
