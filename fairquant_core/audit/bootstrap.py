"""Stratified, cluster-aware bootstrap that hands out how often each image was drawn.

Counts instead of index lists: a statistic over all resamples is then one matrix product, and using
the same counts for two models makes the comparison paired.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
import pandas as pd
from scipy.special import ndtri, stdtrit

#: Resamples of the usual interval; the bounds then vary by about 0.05 standard errors.
RESAMPLES = 2000
#: Upper bound on the numbers held at once (float32), so the web process stays small.
_BLOCK = 4_000_000
#: Counts up to this many (one byte each) are kept for the next statistic of the same plan.
_KEPT = 50_000_000


class Bootstrap:
    """Resampling plan of one predictions table.

    Clusters (patients, duplicates) are drawn with replacement within strata; a cluster belongs to
    the stratum that most of its images are in. With clusters of one image this is the ordinary
    stratified bootstrap with fixed group sizes.

    Parameters
    ----------
    strata:
        Stratum of each image, usually the group. Shapes: (N,).
    clusters:
        Cluster of each image, or None when each image stands alone. Shapes: (N,).
    resamples, seed:
        The same seed gives the same counts, whatever the block size.

    Source
    ------
    Davison & Hinkley 1997, sections 3.2 and 3.8 (strata, clusters).
    """

    def __init__(
        self,
        strata: np.ndarray,
        clusters: np.ndarray | None = None,
        *,
        resamples: int = RESAMPLES,
        seed: int = 0,
    ) -> None:
        self.images = len(strata)
        self.resamples = resamples
        self.seed = seed
        stratum = pd.factorize(np.asarray(strata), sort=True)[0]
        keys = np.arange(self.images) if clusters is None else np.asarray(clusters)
        self._cluster = pd.factorize(keys)[0]
        self.clusters = int(self._cluster.max()) + 1 if self.images else 0
        #: Whether any cluster holds more than one image.
        self.clustered = self.clusters < self.images
        self._members = _clusters_by_stratum(self._cluster, stratum, self.clusters)
        self._drawn: list[np.ndarray] = []

    def blocks(self) -> Iterator[np.ndarray]:
        """Counts in blocks of resamples. Shapes: (r, N) float32, r chosen to bound memory."""
        if self.images == 0:
            return
        if self._drawn:
            yield from (block.astype(np.float32) for block in self._drawn)
            return
        kept = []
        for block in self._draw():
            if self.resamples * self.images <= _KEPT:
                # An image drawn 256 times does not occur: the chance is below 1 in 10^500.
                kept.append(block.astype(np.uint8))
            yield block
        self._drawn = kept

    def _draw(self) -> Iterator[np.ndarray]:
        rows = max(1, _BLOCK // self.images)
        # One generator per stratum: the draw does not depend on how resamples are cut in blocks.
        generators = [
            np.random.default_rng([self.seed, index]) for index in range(len(self._members))
        ]
        for start in range(0, self.resamples, rows):
            count = min(rows, self.resamples - start)
            drawn = np.zeros((count, self.clusters), dtype=np.float32)
            for generator, members in zip(generators, self._members, strict=True):
                size = len(members)
                drawn[:, members] = generator.multinomial(size, np.full(size, 1 / size), count)
            yield drawn[:, self._cluster] if self.clustered else drawn

    def counts(self) -> np.ndarray:
        """All counts at once, for small tables. Shapes: (resamples, N) float32."""
        return np.concatenate(list(self.blocks()) or [np.zeros((self.resamples, 0), np.float32)])

    def statistics(self, statistic: Callable[[np.ndarray], np.ndarray]) -> np.ndarray:
        """Evaluate a statistic on every resample.

        Parameters
        ----------
        statistic:
            Maps counts (r, N) to values (r, ...).

        Returns
        -------
        numpy.ndarray
            Shapes: (resamples, ...).
        """
        blocks = self.blocks() if self.images else [np.zeros((1, 0), np.float32)]
        return np.concatenate([statistic(block) for block in blocks])


def percentile_interval(values: np.ndarray, level: float = 0.95) -> tuple[np.ndarray, np.ndarray]:
    """Percentile bounds over the first axis, ignoring resamples where the value is undefined.

    Columns that are undefined in every resample give NaN. Shapes: (R, ...) -> (...), (...).
    """
    tail = 50 * (1 - level)
    defined = ~np.isnan(values).all(axis=0)
    low = np.full(values.shape[1:], np.nan)
    high = np.full(values.shape[1:], np.nan)
    if defined.any():
        bounds = np.nanpercentile(values[:, defined], [tail, 100 - tail], axis=0)
        low[defined], high[defined] = bounds
    return low, high


def widening(n: np.ndarray, level: float = 0.95) -> np.ndarray:
    """How much wider than its percentiles a bootstrap interval of a mean of n must be.

    Examples
    --------
    >>> widening(np.array([5.0, 30.0, 500.0])).round(3).tolist()
    [1.584, 1.061, 1.003]

    Source
    ------
    Hesterberg 2015, The American Statistician 69:371, section 3.2 (the bootstrap variance lacks the
    factor n / (n - 1), and its quantiles are normal where Student's are due).
    """
    n = np.maximum(n, 1)
    with np.errstate(divide="ignore", invalid="ignore"):
        factor = np.sqrt(n / (n - 1)) * stdtrit(n - 1, 0.5 + level / 2) / ndtri(0.5 + level / 2)
    return np.where(n > 1, factor, np.inf)


def widened(
    value: np.ndarray, drawn: np.ndarray, n: np.ndarray, level: float = 0.95
) -> tuple[np.ndarray, np.ndarray]:
    """Percentile bounds, moved away from the value as far as n independent images need.

    One image says nothing about others, so its bounds are infinite. Shapes: (...), (R, ...), (...).
    """
    low, high = percentile_interval(drawn, level)
    factor = np.broadcast_to(widening(n, level), value.shape)
    finite = np.where(factor < np.inf, factor, 0)
    below = np.where(factor < np.inf, (value - low) * finite, np.inf)
    above = np.where(factor < np.inf, (high - value) * finite, np.inf)
    return value - below, value + above


def spread_of(drawn: np.ndarray) -> np.ndarray:
    """Standard deviation over the first axis, undefined resamples left out; 0 without any."""
    there = ~np.isnan(drawn)
    found = np.maximum(there.sum(axis=0), 1)
    mean = np.where(there, drawn, 0).sum(axis=0) / found
    return np.sqrt((np.where(there, drawn - mean, 0) ** 2).sum(axis=0) / found)


def group_means(counts: np.ndarray, outcome: np.ndarray, membership: np.ndarray) -> np.ndarray:
    """Mean outcome per group in each resample; NaN where the resample holds no image of a group.

    Shapes: counts (r, N), outcome (N,), membership (N, G) -> (r, G).
    """
    # Sums of whole numbers are exact in float32; only the division needs the longer type.
    totals = (counts @ membership).astype(np.float64)
    sums = (counts @ (membership * outcome[:, None].astype(np.float32))).astype(np.float64)
    return np.divide(sums, totals, out=np.full_like(sums, np.nan), where=totals > 0)


def _clusters_by_stratum(
    cluster: np.ndarray, stratum: np.ndarray, clusters: int
) -> list[np.ndarray]:
    """Cluster numbers of each stratum; a cluster is in the stratum of most of its images."""
    if clusters == 0:
        return []
    votes = np.zeros((clusters, int(stratum.max()) + 1), dtype=np.int64)
    np.add.at(votes, (cluster, stratum), 1)
    home = votes.argmax(axis=1)
    return [np.flatnonzero(home == index) for index in np.unique(home)]
