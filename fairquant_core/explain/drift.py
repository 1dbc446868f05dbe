"""How far a saliency map moved from one classifier to another; numpy and scipy only."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
from scipy.special import stdtrit

from fairquant_core.audit.bootstrap import (
    RESAMPLES,
    Bootstrap,
    group_means,
    percentile_interval,
)
from fairquant_core.audit.grouping import Grouping
from fairquant_core.errors import EvaluationError

#: Maps are compared on 14 x 14 cells: finer cells compare noise, coarser ones lose a small lesion.
CELLS = 14
#: Share of the cells that count as "most important".
TOP = 0.10
#: A map whose cells differ by less than this share of its size is constant up to rounding.
_FLAT = 1e-6


def pooled(maps: np.ndarray, cells: int = CELLS) -> np.ndarray:
    """Mean magnitude per cell.

    Shapes: (N, S, S) -> (N, c, c), c = min(cells, S). Cells differ by at most one pixel in width
    where S is no multiple of them.
    """
    maps = np.abs(np.asarray(maps, dtype=np.float64))
    if maps.ndim != 3:
        raise EvaluationError(f"saliency maps must have the shape (N, S, S), not {maps.shape}")
    for axis in (1, 2):
        size = maps.shape[axis]
        count = min(cells, size)
        edges = np.linspace(0, size, count + 1).round().astype(int)
        shape = [1, 1, 1]
        shape[axis] = count
        widths = np.diff(edges).reshape(shape)
        maps = np.add.reduceat(maps, edges[:-1], axis=axis) / widths
    return maps


def image_drift(
    before: np.ndarray, after: np.ndarray, *, cells: int = CELLS, top: float = TOP
) -> pd.DataFrame:
    """Change of each image's map, on the magnitudes of the pooled maps.

    Parameters
    ----------
    before, after:
        Maps of the same images and target classes. Shapes: (N, S, S).

    Returns
    -------
    pandas.DataFrame
        One row per image: drift (1 - Spearman correlation; 0 same order, 1 unrelated, 2 reversed),
        overlap (of the `top` share of cells, intersection over union), estimable. A map that is
        constant or not finite has no order: NaN and False, never 0.

    Source
    ------
    METHOD section 7; rank correlation as in Adebayo et al. 2018 (arXiv 1810.03292).
    """
    if np.shape(before) != np.shape(after):
        raise EvaluationError(
            f"the saliency maps have different shapes, {np.shape(before)} and {np.shape(after)}; "
            "compute both for the same images at the same size"
        )
    count = len(before)
    flat = [pooled(maps, cells).reshape(count, -1) for maps in (before, after)]
    estimable = np.ones(count, dtype=bool)
    for values in flat:
        estimable &= has_order(values)
    drift, overlap = np.full(count, np.nan), np.full(count, np.nan)
    if estimable.any():
        one, other = (values[estimable] for values in flat)
        drift[estimable] = 1 - _spearman(one, other)
        chosen, others = _top(one, top), _top(other, top)
        overlap[estimable] = (chosen & others).sum(axis=1) / (chosen | others).sum(axis=1)
    return pd.DataFrame({"drift": drift, "overlap": overlap, "estimable": estimable})


def has_order(cells: np.ndarray) -> np.ndarray:
    """Whether a map says that one place matters more than another: finite and not constant.

    Shapes: (N, K) -> (N,) bool.
    """
    with np.errstate(invalid="ignore"):
        spread = np.ptp(cells, axis=1)
    return np.isfinite(cells).all(axis=1) & (spread > _FLAT * np.abs(cells).max(axis=1, initial=0))


def group_drift(
    drift: pd.DataFrame,
    groups: pd.Series,
    *,
    clusters: np.ndarray | None = None,
    order: Sequence[str] | None = None,
    level: float = 0.95,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> pd.DataFrame:
    """Mean drift and overlap per group.

    The images must be a random sample of each group: chosen ones (flips first) drift more and say
    nothing about the group.

    Parameters
    ----------
    drift:
        Result of `image_drift`.
    groups:
        Group of every image, aligned.
    clusters:
        Patient or duplicate group of every image.

    Returns
    -------
    pandas.DataFrame
        Columns group, images, n (of them estimable), drift, drift_low, drift_high, overlap,
        overlap_low, overlap_high. The bounds are the wider of the bootstrap and Student's t, since
        a bootstrap of a handful of images is too narrow; NaN with fewer than two images.
    """
    grouping = Grouping.build(groups, len(drift), order)
    known = drift["estimable"].to_numpy(bool)
    columns: dict[str, object] = {
        "group": list(grouping.names),
        "images": grouping.sizes,
        "n": [int((grouping.mask(name) & known).sum()) for name in grouping.names],
    }
    membership = grouping.one_hot()[known]
    chosen = None if clusters is None else np.asarray(clusters)[known]
    bootstrap = Bootstrap(grouping.codes[known], chosen, resamples=resamples, seed=seed)
    for measure, limits in (("drift", (0, 2)), ("overlap", (0, 1))):
        values = drift[measure].to_numpy(float)[known]
        columns |= mean_with_interval(measure, values, membership, bootstrap, limits, level)
    return pd.DataFrame(columns)


def mean_with_interval(
    measure: str,
    values: np.ndarray,
    membership: np.ndarray,
    bootstrap: Bootstrap,
    limits: tuple[float, float],
    level: float,
) -> dict[str, np.ndarray]:
    """Mean per group and the wider of its bootstrap and Student intervals, inside `limits`.

    Shapes: values (N,), membership (N, G) -> measure, measure_low and measure_high, each (G,).
    """
    groups = membership.shape[1]
    mean = np.full(groups, np.nan)
    low, high = mean.copy(), mean.copy()
    if len(values):
        drawn = bootstrap.statistics(lambda counts: group_means(counts, values, membership))
        low, high = percentile_interval(drawn, level)
    for group in range(groups):
        inside = values[membership[:, group] > 0]
        n = len(inside)
        if n:
            mean[group] = inside.mean()
        if n < 2:
            low[group] = high[group] = np.nan
            continue
        half = stdtrit(n - 1, 0.5 + level / 2) * inside.std(ddof=1) / np.sqrt(n)
        low[group] = max(min(low[group], mean[group] - half), limits[0])
        high[group] = min(max(high[group], mean[group] + half), limits[1])
    return {measure: mean, f"{measure}_low": low, f"{measure}_high": high}


def _spearman(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    """Rank correlation row by row, ties sharing their mean rank. Shapes: (N, K) -> (N,)."""
    # Imported here: scipy.stats takes half a second, which every page would pay for.
    from scipy.stats import rankdata

    ranks = [rankdata(values, axis=1) for values in (one, other)]
    centred = [values - values.mean(axis=1, keepdims=True) for values in ranks]
    norms = np.sqrt((centred[0] ** 2).sum(axis=1) * (centred[1] ** 2).sum(axis=1))
    return (centred[0] * centred[1]).sum(axis=1) / norms


def _top(values: np.ndarray, share: float) -> np.ndarray:
    """The largest cells of each row, never one at the row's minimum (Grad-CAM has many zeros).

    Shapes: (N, K) -> (N, K) bool.
    """
    count = max(1, round(share * values.shape[1]))
    order = np.argsort(-values, axis=1, kind="stable")[:, :count]
    chosen = np.zeros(values.shape, dtype=bool)
    np.put_along_axis(chosen, order, True, axis=1)
    return chosen & (values > values.min(axis=1, keepdims=True))
