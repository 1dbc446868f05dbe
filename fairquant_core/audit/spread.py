"""Worst group, largest gap and mean over groups, for every measure."""

from __future__ import annotations

from functools import partial
from typing import NamedTuple

import numpy as np
import pandas as pd

from fairquant_core.audit.gaps import NO_GAP, GapEstimate, deviations, gap_estimate
from fairquant_core.audit.group_metrics import mean_calibration_bounds, share_counts
from fairquant_core.audit.grouping import OVERALL, UNKNOWN
from fairquant_core.audit.intervals import standard_errors, wilson
from fairquant_core.audit.joined_intervals import mean_of_independent, scaled
from fairquant_core.audit.measures import SHARES
from fairquant_core.audit.replicates import Sample

TWO_GROUPS = "fewer than two groups hold enough images"


class Spread(NamedTuple):
    """How far groups are apart; NaN where not estimable.

    Attributes
    ----------
    worst:
        Position of the worst group, the first one where groups tie; None without any.
    gap:
        Largest minus smallest value.
    macro, macro_low, macro_high:
        Unweighted mean, so that a small group weighs as much as a large one.
    """

    worst: int | None
    gap: GapEstimate
    macro: float
    macro_low: float
    macro_high: float


def spread(
    value: np.ndarray,
    low: np.ndarray,
    high: np.ndarray,
    drawn: np.ndarray,
    counted: np.ndarray,
    *,
    shares: tuple[np.ndarray, np.ndarray] | None = None,
    higher_is_better: bool = True,
    level: float = 0.95,
    seed: int = 0,
) -> Spread:
    """Summary over the counted groups.

    Parameters
    ----------
    value, low, high:
        Estimate of each group with its interval. Shapes: (G,).
    drawn:
        Shapes: (R, G).
    counted:
        Groups that count. Shapes: (G,) bool.
    shares:
        Where the values are shares of images: right images and images of each group, at the
        effective sample size. Shapes: (G,), (G,).

    Source
    ------
    Gap: see `gaps.gap_estimate`; every group has at least the standard error that its own interval
    amounts to. Mean: `joined_intervals.mean_of_independent`, since groups share no image.
    """
    chosen = np.flatnonzero(counted & ~np.isnan(value))
    if not len(chosen):
        return Spread(None, NO_GAP, np.nan, np.nan, np.nan)
    value, low, high, drawn = value[chosen], low[chosen], high[chosen], drawn[:, chosen]
    worst = chosen[int((value if higher_is_better else -value).argmin())]
    noise = deviations(drawn, standard_errors(low, high, level), seed=seed)
    gap = gap_estimate(value[:, None], noise[:, :, None], level)
    bounds, sizes = scaled(value, low, high, level), np.full(len(value), np.inf)
    if shares is not None:
        right, sizes = (part[chosen] for part in shares)
        bounds = partial(wilson, right, sizes)
    macro = mean_of_independent(value, bounds, sizes, level=level)
    return Spread(int(worst), gap, *(float(figure) for figure in macro))


def spread_table(
    sample: Sample,
    table: pd.DataFrame,
    *,
    minimum_images: int = 1,
    minimum_positives: int = 1,
    minimum_negatives: int = 1,
    level: float = 0.95,
    seed: int = 0,
) -> pd.DataFrame:
    """One row per measure: the worst group, the gap and the mean over groups.

    Parameters
    ----------
    table:
        `group_metrics.metric_table` of the same sample.
    minimum_images, minimum_positives, minimum_negatives:
        Groups with fewer images that enter the measure, or with fewer images with or without its
        classes, do not count; nor does "unknown".

    Source
    ------
    `spread`, but for the mean calibration error: `group_metrics.mean_calibration_bounds`.

    Returns
    -------
    pandas.DataFrame
        Columns measure, groups_counted, worst_group, worst_value, gap, gap_low, gap_high,
        gap_by_chance (mean gap if groups did not differ), macro, macro_low, macro_high, estimable
        (whether there is a gap), reason.
    """
    rows = []
    scores, drawn = sample.scores, sample.drawn
    named = np.array([name not in (OVERALL, UNKNOWN) for name in scores.groups])
    for index, measure in enumerate(scores.measures):
        part = table[table["measure"] == measure.title]
        counted = (
            named
            & (part["n"].to_numpy() >= minimum_images)
            & (part["n_positive"].fillna(np.inf).to_numpy(float) >= minimum_positives)
            & (part["n_negative"].fillna(np.inf).to_numpy(float) >= minimum_negatives)
            & part["estimable"].to_numpy(bool)
        )
        value, low, high = (part[name].to_numpy(float) for name in ("value", "low", "high"))
        better = measure.kind.higher_is_better
        found = spread(
            value,
            low,
            high,
            drawn.values[:, index],
            counted,
            shares=share_counts(scores, measure) if measure.metric in SHARES else None,
            higher_is_better=better,
            level=level,
            seed=seed,
        )
        if measure.metric == "ece" and counted.any():
            chosen = np.flatnonzero(counted).tolist()
            bounds = mean_calibration_bounds(scores, sample.seen, drawn, index, chosen, level)
            found = found._replace(macro_low=bounds[0], macro_high=bounds[1])
        estimable = not np.isnan(found.gap.value)
        rows.append(
            {
                "measure": measure.title,
                "groups_counted": int(counted.sum()),
                "worst_group": None if found.worst is None else scores.groups[found.worst],
                "worst_value": np.nan if found.worst is None else value[found.worst],
                "gap": found.gap.value,
                "gap_low": found.gap.low,
                "gap_high": found.gap.high,
                "gap_by_chance": found.gap.by_chance,
                "macro": found.macro,
                "macro_low": found.macro_low,
                "macro_high": found.macro_high,
                "estimable": estimable,
                "reason": "" if estimable else TWO_GROUPS,
            }
        )
    return pd.DataFrame(rows)
