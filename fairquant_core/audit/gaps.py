"""Intervals for figures that are never negative: gaps between groups and calibration errors.

Noise alone makes such a figure positive, and resampling adds noise once more, so the percentiles of
a bootstrap lie too high and never reach zero. Here the interval holds every true size under which
the size seen is no surprise.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

#: Bisection steps per bound; the bounds are then exact to about one part in ten thousand.
_STEPS = 14


class GapEstimate(NamedTuple):
    """A figure that is never negative.

    Attributes
    ----------
    by_chance:
        What would be seen on average if there were no true difference at all.
    """

    value: float
    low: float
    high: float
    by_chance: float


NO_GAP = GapEstimate(np.nan, np.nan, np.nan, np.nan)


def gap_estimate(values: np.ndarray, noise: np.ndarray, level: float = 0.95) -> GapEstimate:
    """Largest minus smallest value over groups, averaged over columns (classes).

    Parameters
    ----------
    values:
        NaN marks a cell that does not count; columns need two cells that do. Shapes: (G, K).
    noise:
        Deviations of the values from the truth, see `deviations`. Shapes: (R, G, K).

    Source
    ------
    Bootstrap test inversion (Davison & Hinkley 1997, section 5.3). The bias of a gap depends on more
    than its size: it is largest where the groups lie at two ends and few columns differ, smallest
    where one group lies at each end and all columns differ alike. The lower bound is taken in the
    first shape, the upper bound in the second. Checked by simulation: see `benchmarks.interval_coverage`.
    """
    usable = (~np.isnan(values)).sum(axis=0) >= 2
    if not usable.any():
        return NO_GAP
    values, noise = _filled(values[:, usable], noise[:, :, usable])
    top, bottom = values.max(axis=0), values.min(axis=0)
    ranges = top - bottom
    ends = np.where(values >= (top + bottom) / 2, 0.5, -0.5)
    columns = np.arange(values.shape[1])
    apart = np.zeros_like(values)
    apart[values.argmax(axis=0), columns] = 0.5
    apart[values.argmin(axis=0), columns] = -0.5
    spare = concentrated(ranges, (noise.max(axis=1) - noise.min(axis=1)).mean(axis=0))
    seen = float(ranges.mean())
    low, high, chance = inverted(_mean_range, seen, ends * spare, apart, noise, level)
    return GapEstimate(seen, low, high, chance)


def concentrated(sizes: np.ndarray, by_chance: np.ndarray) -> np.ndarray:
    """What remains of each part of a figure beyond chance; the parts themselves if nothing does."""
    beyond = np.maximum(sizes - by_chance, 0)
    return beyond if beyond.any() else sizes


def inverted(
    size: Callable[[np.ndarray], np.ndarray],
    seen: float,
    low_shape: np.ndarray,
    high_shape: np.ndarray,
    noise: np.ndarray,
    level: float = 0.95,
) -> tuple[float, float, float]:
    """Bounds of the true size, and the mean size under pure noise.

    Parameters
    ----------
    size:
        A seminorm: `size(s * shape)` is `s * size(shape)`. Maps (R, ...) to (R,).
    seen:
        The size observed.
    low_shape, high_shape:
        Where the truth is supposed to point for the lower and the upper bound. Shapes: (...).
    noise:
        Deviations of the estimate from the truth. Shapes: (R, ...).

    Source
    ------
    A size below what chance alone would show is no evidence that the truth is below it: for the
    upper bound it counts as the median under chance (power-constrained limits, Cowan, Cranmer,
    Gross & Vitells 2011).
    """
    tail = (1 - level) / 2
    noise = noise.astype(np.float32)
    pure = size(noise)

    def bound(shape: np.ndarray, quantile: float, reached: float) -> float:
        """Smallest size whose quantile under noise reaches a value; 0 if pure noise does."""
        length = float(size(shape[None].astype(np.float32))[0])
        if length == 0 or np.quantile(pure, quantile) >= reached:
            return 0.0
        shape = shape.astype(np.float32)

        def reaches(scale: float) -> bool:
            return np.quantile(size(np.float32(scale) * shape + noise), quantile) >= reached

        low, high = 0.0, 1.0
        while not reaches(high):
            low, high = high, 2 * high
        for _ in range(_STEPS):
            middle = (low + high) / 2
            low, high = (low, middle) if reaches(middle) else (middle, high)
        return length * (low + high) / 2

    low = bound(low_shape, 1 - tail, seen)
    high = bound(high_shape, tail, max(seen, float(np.median(pure))))
    return min(low, seen), max(high, seen), float(pure.mean())


def deviations(drawn: np.ndarray, errors: np.ndarray, *, seed: int = 0) -> np.ndarray:
    """Differences of the resamples from their mean, with at least the given standard errors.

    A group of two images that are both right shows no spread in any resample, though two images say
    little; normal noise makes up for what is lacking.

    Shapes: drawn (R, G), NaN where a resample holds no case; errors (G,) -> (R, G).
    """
    there = ~np.isnan(drawn)
    mean = np.where(there, drawn, 0).sum(axis=0) / np.maximum(there.sum(axis=0), 1)
    noise = np.where(there, drawn - mean, 0)
    lacking = np.sqrt(np.maximum(errors**2 - noise.std(axis=0) ** 2, 0))
    if lacking.any():
        noise += lacking * np.random.default_rng(seed).standard_normal(noise.shape)
    return noise


def _mean_range(values: np.ndarray) -> np.ndarray:
    """Shapes: (R, G, K) -> (R,)."""
    return (values.max(axis=1) - values.min(axis=1)).mean(axis=-1)


def _filled(values: np.ndarray, noise: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Cells that do not count become copies of one that does, so that no maximum sees them."""
    cells = np.isnan(values)
    if not cells.any():
        return values, noise
    source = (~cells).argmax(axis=0)
    columns = np.arange(values.shape[1])
    values = np.where(cells, values[source, columns], values)
    return values, np.where(cells, noise[:, source, columns][:, None, :], noise)
