"""Confidence intervals for proportions and for paired differences of proportions."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import ndtri, stdtrit

#: Bisection steps: the bracket [-1, 1] shrinks below 1e-12.
_BISECTIONS = 42
#: With fewer clusters that show any change, the design effect cannot be estimated from the data.
MINIMUM_CHANGED_CLUSTERS = 5


def wilson(
    successes: ArrayLike, n: ArrayLike, level: ArrayLike = 0.95
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
    z = ndtri(0.5 + np.asarray(level) / 2)
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
    lost: ArrayLike, gained: ArrayLike, n: ArrayLike, level: ArrayLike = 0.95
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
    z = ndtri(0.5 + np.asarray(level) / 2)
    observed = np.where(empty, 0.0, (gain - loss) / safe)
    side = _sides(np.broadcast(observed, z).ndim)
    low, high = _bisect(lambda delta: -side * _score(loss, gain, safe, delta) - z, side, observed)
    return np.where(empty, np.nan, low), np.where(empty, np.nan, high)


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

    low, high = _bisect(excess, (_sides(found.ndim) + 1) / 2, found)
    return np.where(undefined, np.nan, low), np.where(undefined, np.nan, high)


def mean_interval(
    values: np.ndarray,
    clusters: np.ndarray,
    *,
    repeated: int = 1,
    least: float = 0.0,
    level: float = 0.95,
) -> tuple[float, float]:
    """Student's interval of a mean, with the cluster that is furthest off counted more than once.

    Where few images are far off and many near, a sample that happens to hold none of the few shows
    too little spread: of the Brier score at 97 % accuracy, Student's interval of 30 images held the
    truth in 83 % of samples only, the studentised bootstrap in 91 %.

    Parameters
    ----------
    values:
        One figure per image. Shapes: (n,).
    clusters:
        Cluster of every image. Shapes: (n,).
    repeated:
        How many times more the cluster that is furthest off counts.
    least:
        How far off that cluster is taken to be at least, as a value of one image.

    Returns
    -------
    tuple
        Low and high; infinite with one cluster, NaN without an image.

    Source
    ------
    Linearised variance over clusters with the factor n / (n - 1) (Davison & Hinkley 1997, section 3.8).
    Observations added before the variance is taken: Agresti & Coull 1998, The American Statistician
    52:119, for shares; how large the added ones are is learnt from the data here. How many it takes
    was found by simulation: see `benchmarks.interval_coverage`.

    Examples
    --------
    >>> low, high = mean_interval(np.array([0.0, 0.1, 0.2, 0.9]), np.arange(4), repeated=0)
    >>> round(low, 3), round(high, 3)
    (-0.35, 0.95)
    """
    n = len(values)
    if not n:
        return np.nan, np.nan
    mean = float(values.mean())
    codes = np.unique(clusters, return_inverse=True)[1].ravel()
    off = np.abs(np.bincount(codes, weights=values - mean))
    found = len(off)
    if found < 2:
        return -np.inf, np.inf
    furthest = max(float(off.max()), least - mean)
    variance = found / (found - 1) * ((off**2).sum() + repeated * furthest**2) / n**2
    half = float(stdtrit(found - 1, 0.5 + level / 2) * np.sqrt(variance))
    return mean - half, mean + half


def unseen(n: ArrayLike, level: float = 0.95) -> np.ndarray:
    """How large a share of images may have changed, or be otherwise, although none of n is seen to.

    Examples
    --------
    >>> float(unseen(20).round(3))
    0.161
    """
    none = np.zeros_like(np.asarray(n, float))
    return paired_score_interval(none, none, n, level)[1]


def standard_errors(low: np.ndarray, high: np.ndarray, level: float = 0.95) -> np.ndarray:
    """Standard errors that intervals amount to."""
    return (high - low) / (2 * ndtri(0.5 + level / 2))


def _sides(dimensions: int) -> np.ndarray:
    """-1 for the lower bound, 1 for the upper one, before so many dimensions: both are found in one go."""
    return np.array([-1.0, 1.0]).reshape(2, *[1] * dimensions)


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


def effective(right: np.ndarray, clusters: np.ndarray) -> tuple[float, float]:
    """Right images, and images, as many as there would be if each stood for itself.

    Examples
    --------
    >>> effective(np.array([True, True, False, False]), np.array([1, 1, 2, 2]))
    (1.0, 2.0)
    """
    effect = design_effect(right, clusters)
    return float(right.sum() / effect), len(right) / effect
