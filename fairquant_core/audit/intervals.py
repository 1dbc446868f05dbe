"""Confidence intervals for proportions and for paired differences of proportions."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import ndtri

#: Bisection steps: the bracket [-1, 1] shrinks below 1e-15.
_BISECTIONS = 52
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
