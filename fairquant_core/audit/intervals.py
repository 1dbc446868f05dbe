"""Confidence intervals for proportions and for paired differences of proportions."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import ndtri

#: Bisection steps: the bracket [-1, 1] shrinks below 1e-12.
_BISECTIONS = 42
#: With fewer clusters that show any change, the design effect cannot be estimated from the data.
MINIMUM_CHANGED_CLUSTERS = 5


def wilson(
    successes: ArrayLike, n: ArrayLike, level: float = 0.95
) -> tuple[np.ndarray, np.ndarray]:
    """Wilson score interval of a proportion; NaN where ``n`` is 0.

    Counts may be fractions, which is how an effective sample size enters.

    Units
    -----
    Bounds are fractions 0..1.

    Source
    ------
    Wilson 1927, JASA 22:209; equal to ``scipy.stats.binomtest(...).proportion_ci("wilson")``.

    Examples
    --------
    >>> low, high = wilson(96, 127)
    >>> round(float(low), 3), round(float(high), 3)
    (0.674, 0.822)
    """
    k, total = np.broadcast_arrays(np.asarray(successes, float), np.asarray(n, float))
    z = ndtri(0.5 + level / 2)
    with np.errstate(divide="ignore", invalid="ignore"):
        proportion = k / total
        centre = (proportion + z**2 / (2 * total)) / (1 + z**2 / total)
        half = (
            z
            * np.sqrt(proportion * (1 - proportion) / total + z**2 / (4 * total**2))
            / (1 + z**2 / total)
        )
    low = np.where(k == 0, 0.0, np.clip(centre - half, 0, 1))
    high = np.where(k == total, 1.0, np.clip(centre + half, 0, 1))
    empty = total == 0
    return np.where(empty, np.nan, low), np.where(empty, np.nan, high)


def paired_score_interval(
    lost: ArrayLike, gained: ArrayLike, n: ArrayLike, level: float = 0.95
) -> tuple[np.ndarray, np.ndarray]:
    """Score interval of the paired difference ``(gained - lost) / n``; NaN where ``n`` is 0.

    With no discordant pair it is +-z^2 / (n + z^2), not [0, 0]: having seen no change in 20 images
    does not show that there is none. A bootstrap of the same data collapses to zero width.

    Parameters
    ----------
    lost, gained:
        Images right before and wrong after, and the reverse. Fractions are allowed (effective n).

    Units
    -----
    Fractions -1..1; negative means worse after.

    Source
    ------
    Tango 1998, Statistics in Medicine 17:891; one of the intervals recommended by Fagerland,
    Lydersen & Laake 2014, Statistics in Medicine 33:2850.

    Examples
    --------
    >>> low, high = paired_score_interval(0, 0, 20)
    >>> round(float(low), 3), round(float(high), 3)
    (-0.161, 0.161)
    """
    loss, gain, total = np.broadcast_arrays(
        np.asarray(lost, float), np.asarray(gained, float), np.asarray(n, float)
    )
    empty = total <= 0
    safe = np.where(empty, 1.0, total)
    z = ndtri(0.5 + level / 2)
    observed = np.where(empty, 0.0, (gain - loss) / safe)
    low = _solve(loss, gain, safe, np.full_like(observed, -1.0), observed, z)
    high = _solve(loss, gain, safe, observed, np.full_like(observed, 1.0), -z)
    return np.where(empty, np.nan, low), np.where(empty, np.nan, high)


def mean_of_independent(
    values: np.ndarray, low: np.ndarray, high: np.ndarray, chosen: np.ndarray | None = None
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Mean over the last axis with an interval made from the intervals of its terms.

    A term whose own interval is wide (a class with one image, right or wrong) keeps its doubt,
    where a bootstrap would see no spread at all.

    Parameters
    ----------
    values, low, high:
        Terms that do not share images, with their bounds. Shapes: (..., K).
    chosen:
        Terms that count; without it, all. Shapes: (..., K) bool.

    Returns
    -------
    tuple
        Mean, low, high; NaN where no term counts. Shapes: (...).

    Source
    ------
    Variance recovery (MOVER): Zou & Donner 2008, Statistics in Medicine 27:1693.

    Examples
    --------
    >>> low, high = wilson([9, 45], [12, 50])
    >>> [round(float(x), 3) for x in mean_of_independent(np.array([0.75, 0.9]), low, high)]
    [0.825, 0.673, 0.91]
    """
    used = ~np.isnan(values) if chosen is None else chosen & ~np.isnan(values)
    terms = used.sum(axis=-1)

    def total(x: np.ndarray) -> np.ndarray:
        return np.where(used, x, 0).sum(axis=-1)

    with np.errstate(divide="ignore", invalid="ignore"):
        mean = np.where(terms > 0, total(values) / terms, np.nan)
        below = np.sqrt(total((values - low) ** 2)) / terms
        above = np.sqrt(total((high - values) ** 2)) / terms
    return mean, mean - below, mean + above


def area_interval(
    area: ArrayLike, positives: ArrayLike, negatives: ArrayLike, level: float = 0.95
) -> tuple[np.ndarray, np.ndarray]:
    """Score interval of one AUROC, also for an area of exactly 1; NaN without positives or negatives.

    Source
    ------
    Newcombe 2006, Statistics in Medicine 25:559, method 5 (the variance of Hanley & McNeil 1982 at
    the bound itself, with both group sizes replaced by their mean).
    """
    found, m, n = np.broadcast_arrays(
        np.asarray(area, float), np.asarray(positives, float), np.asarray(negatives, float)
    )
    undefined = (m <= 0) | (n <= 0) | np.isnan(found)
    pairs = np.where(undefined, 1.0, m * n)
    others = (m + n) / 2 - 1
    z = ndtri(0.5 + level / 2)

    def excess(bound: np.ndarray) -> np.ndarray:
        spread = 1 + others * ((1 - bound) / (2 - bound) + bound / (1 + bound))
        return np.abs(found - bound) - z * np.sqrt(bound * (1 - bound) * spread / pairs)

    low = _bisect(excess, np.zeros_like(found), found)
    high = _bisect(excess, np.ones_like(found), found)
    return np.where(undefined, np.nan, low), np.where(undefined, np.nan, high)


def standard_errors(low: np.ndarray, high: np.ndarray, level: float = 0.95) -> np.ndarray:
    """Standard errors that intervals amount to."""
    return (high - low) / (2 * ndtri(0.5 + level / 2))


def _bisect(
    excess: Callable[[np.ndarray], np.ndarray], outside: np.ndarray, inside: np.ndarray
) -> np.ndarray:
    """Where `excess` falls below zero between a point outside and a point inside the interval."""
    for _ in range(_BISECTIONS):
        middle = (outside + inside) / 2
        beyond = excess(middle) > 0
        outside, inside = np.where(beyond, middle, outside), np.where(beyond, inside, middle)
    return (outside + inside) / 2


def _score(loss: np.ndarray, gain: np.ndarray, n: np.ndarray, delta: np.ndarray) -> np.ndarray:
    """Tango's standardised statistic for the hypothesis "difference = delta"; falls with delta."""
    b = -gain - loss + (2 * n - gain + loss) * delta
    c = -loss * delta * (1 - delta)
    # Probability of "lost" that is most likely under the hypothesis (root of A q^2 + B q + C).
    q = (np.sqrt(np.maximum(b**2 - 8 * n * c, 0)) - b) / (4 * n)
    variance = n * np.maximum(2 * q + delta * (1 - delta), 0)
    numerator = gain - loss - n * delta
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(variance > 0, numerator / np.sqrt(variance), np.sign(numerator) * np.inf)


def _solve(
    loss: np.ndarray,
    gain: np.ndarray,
    n: np.ndarray,
    left: np.ndarray,
    right: np.ndarray,
    target: float,
) -> np.ndarray:
    for _ in range(_BISECTIONS):
        middle = (left + right) / 2
        above = _score(loss, gain, n, middle) > target
        left, right = np.where(above, middle, left), np.where(above, right, middle)
    return (left + right) / 2


def independent_share(clusters: np.ndarray) -> float:
    """Independent images per image, if images of one cluster were copies of each other (0..1).

    Examples
    --------
    >>> independent_share(np.array(["a", "a", "b", "c"])).__round__(3)
    0.667
    """
    sizes = np.unique(clusters, return_counts=True)[1].astype(float)
    return float(sizes.sum() / (sizes**2).sum()) if len(sizes) else 1.0


def design_effect(values: np.ndarray, clusters: np.ndarray) -> float:
    """How many times larger the variance of the mean is because images come in clusters.

    Parameters
    ----------
    values:
        One outcome per image. Shapes: (n,).
    clusters:
        Integer cluster of every image. Shapes: (n,).

    Returns
    -------
    float
        At least 1; 1 when every image is its own cluster. Where fewer than
        `MINIMUM_CHANGED_CLUSTERS` clusters differ from the commonest outcome, the value for fully
        dependent images (sum of squared cluster sizes / n) is used: nothing can be estimated from
        so few, and the larger value is the honest one.

    Source
    ------
    Linearised (Taylor) variance of a ratio; Kish 1965 for the upper value.
    """
    n = len(values)
    _, codes, sizes = np.unique(clusters, return_inverse=True, return_counts=True)
    if n == 0 or sizes.max() == 1:
        return 1.0
    dependent = float((sizes.astype(float) ** 2).sum() / n)
    outcomes, counts = np.unique(values, return_counts=True)
    changed = np.unique(codes[values != outcomes[counts.argmax()]])
    if len(changed) < MINIMUM_CHANGED_CLUSTERS:
        return dependent
    deviation = values - values.mean()
    totals = np.bincount(codes, weights=deviation)
    clustered = len(sizes) / (len(sizes) - 1) * float((totals**2).sum())
    return max(1.0, clustered / float((deviation**2).sum()))
