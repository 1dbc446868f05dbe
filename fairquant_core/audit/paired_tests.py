"""Tests of a paired change: exact McNemar per group, and Holm over groups."""

from __future__ import annotations

import numpy as np


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
