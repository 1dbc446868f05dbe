"""Tests of a paired change: exact McNemar per group, and Holm over groups."""

from __future__ import annotations

import numpy as np

#: How often any of the groups that are judged together may be called harmed though none is.
FAMILY = 0.05


def level_among(judged: int, level: float = 0.95) -> float:
    """Confidence level at which one of so many groups that are judged together shows a harm.

    For up to two it is the usual one, which leaves 2.5 % on the side of the harm.

    Examples
    --------
    >>> [round(level_among(judged), 4) for judged in (1, 2, 4, 7)]
    [0.95, 0.95, 0.975, 0.9857]

    Source
    ------
    Bonferroni, one-sided: 5 % are shared by the groups. Judged again with the groups that are left
    once one of them is found harmed, it is Holm's procedure (see `holm`).
    """
    return max(level, 1 - 2 * FAMILY / max(judged, 1))


def holm(p_values: np.ndarray) -> np.ndarray:
    """Holm's step-down adjustment (Holm 1979, Scandinavian Journal of Statistics 6:65).

    Examples
    --------
    >>> holm(np.array([0.01, 0.04, 0.03])).round(3).tolist()
    [0.03, 0.06, 0.06]
    """
    order = np.argsort(p_values, kind="stable")
    steps = p_values[order] * np.arange(len(p_values), 0, -1)
    adjusted = np.empty(len(p_values))
    adjusted[order] = np.minimum(np.maximum.accumulate(steps), 1.0)
    return adjusted


def mcnemar(lost: int, gained: int) -> float:
    """Exact two-sided p-value of McNemar's test: are losses as frequent as gains?"""
    discordant = lost + gained
    # Imported here: scipy.stats takes half a second, which the first page would pay for.
    from scipy.stats import binomtest

    return float(binomtest(lost, discordant).pvalue) if discordant else 1.0


def clustered_mcnemar(change: np.ndarray, clusters: np.ndarray) -> float:
    """The same where images come in clusters: are the net changes of patients as often losses as gains?

    Several photographs of one patient change together, and counting each as evidence of its own finds
    differences where there are none.

    Parameters
    ----------
    change:
        1 for a gained image, -1 for a lost one, 0 for the others. Shapes: (N,).
    clusters:
        Patient of every image. Shapes: (N,).

    Source
    ------
    Randomisation test: without a true change the net change of every cluster may as well have the
    other sign. All sign patterns are counted, exactly; with clusters of one image that is McNemar's
    exact test.

    Examples
    --------
    >>> clustered_mcnemar(np.array([-1, -1, -1, -1, -1, 1]), np.arange(6)) == mcnemar(5, 1)
    True
    >>> clustered_mcnemar(np.array([-1, -1, -1, -1, -1, 1]), np.array([1, 1, 1, 1, 1, 2]))
    1.0
    """
    nets = np.bincount(np.unique(clusters, return_inverse=True)[1].ravel(), weights=change)
    sizes = np.abs(nets[nets != 0]).astype(int)
    if (sizes == 1).all():
        return mcnemar(int((nets < 0).sum()), int((nets > 0).sum()))
    # Chance of every sum of signed sizes, shifted by their total so that it starts at 0.
    chances = np.ones(1)
    for size in sizes:
        chances = (np.pad(chances, (0, 2 * size)) + np.pad(chances, (2 * size, 0))) / 2
    total = int(sizes.sum())
    extreme = np.abs(np.arange(-total, total + 1)) >= abs(int(nets.sum()))
    return min(1.0, float(chances[extreme].sum()))
