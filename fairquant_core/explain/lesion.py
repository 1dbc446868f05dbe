"""How much of a saliency map lies on the lesion; numpy and scipy only.

The shares are taken on the maps at their full size and not on the 14 x 14 cells of the drift: a small
lesion is no larger than a few cells, which would also count the skin beside it. The drift needs cells
because the order of single pixels is noise; a sum over pixels is not.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from fairquant_core.audit.bootstrap import RESAMPLES, Bootstrap
from fairquant_core.audit.grouping import Grouping
from fairquant_core.errors import EvaluationError
from fairquant_core.explain.drift import has_order, mean_with_interval, pooled

OTHER_SIZE = (
    "the mask of image {place} has the shape {found}, the saliency map {wanted}; both must be what the "
    "classifier sees"
)


@dataclass(frozen=True)
class LesionShares:
    """Where the lesion is in the images, and how much of every map lies on it.

    Attributes
    ----------
    covers:
        Share of every pixel that lies on the lesion, at the size of the kept pictures; NaN without a
        mask. Shapes: (N, P, P).
    area:
        Share of the picture that is lesion, which is what a map that knows nothing would give; NaN
        without a mask. Shapes: (N,).
    inside:
        Share of each map's magnitude that lies on the lesion, the reference first; NaN where not
        estimable. Shapes: (M, N).
    """

    covers: np.ndarray
    area: np.ndarray
    inside: np.ndarray


def lesion_area(covers: Sequence[np.ndarray | None]) -> np.ndarray:
    """Share of every picture that is lesion; NaN without a mask. Shapes: N of (S, S) -> (N,)."""
    return np.array([np.nan if cover is None else float(np.mean(cover)) for cover in covers])


def share_inside(maps: np.ndarray, covers: Sequence[np.ndarray | None]) -> np.ndarray:
    """Share of every map's magnitude that lies on the lesion.

    Parameters
    ----------
    maps:
        At the size that the classifier sees.
    covers:
        Share of every pixel that lies on the lesion; None where there is no mask.

    Returns
    -------
    numpy.ndarray
        NaN without a mask, and for a map that is constant or not finite: it looks nowhere.

    Shapes
    ------
    maps (N, S, S), covers N of (S, S) -> (N,)

    Raises
    ------
    EvaluationError
        A mask has another size than the maps, or there is not one for each.

    Source
    ------
    METHOD section 7; for boxes instead of masks the "energy-based pointing game" of Wang et al. 2020
    (arXiv 1910.01279), section 4.3.
    """
    if len(maps) != len(covers):
        raise EvaluationError(f"{len(maps)} saliency maps need as many masks, not {len(covers)}")
    found = np.full(len(maps), np.nan)
    tells = has_order(pooled(maps).reshape(len(maps), -1)) if len(maps) else found
    for place, cover in enumerate(covers):
        if cover is None:
            continue
        if cover.shape != maps[place].shape:
            raise EvaluationError(
                OTHER_SIZE.format(place=place + 1, found=cover.shape, wanted=maps[place].shape)
            )
        if tells[place]:
            size = np.abs(np.asarray(maps[place], dtype=np.float64))
            found[place] = (size * cover).sum() / size.sum()
    return found


def group_shares(
    area: np.ndarray,
    before: np.ndarray,
    after: np.ndarray,
    groups: pd.Series,
    *,
    clusters: np.ndarray | None = None,
    order: Sequence[str] | None = None,
    level: float = 0.95,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> pd.DataFrame:
    """Mean share on the lesion per group, before and after, and the paired change.

    All figures of a group are of the same images: those with a mask and with both maps estimable. As
    for the drift, they must be a random sample of the group.

    Parameters
    ----------
    area, before, after:
        The lesion's share of each picture, and the shares of the two maps. Shapes: (N,) each.
    groups, clusters:
        Group, and patient or duplicate group, of every image.

    Returns
    -------
    pandas.DataFrame
        Columns group, lesion_n (images that count), lesion_area, and lesion_before, lesion_after,
        lesion_change with bounds (``_low``, ``_high``) as in `drift.group_drift`.
    """
    grouping = Grouping.build(groups, len(area), order)
    known = np.isfinite(area) & np.isfinite(before) & np.isfinite(after)
    membership = grouping.one_hot()[known]
    counts = membership.sum(axis=0).astype(int)
    with np.errstate(invalid="ignore"):
        mean_area = (membership * area[known, None]).sum(axis=0) / np.where(counts, counts, np.nan)
    columns: dict[str, object] = {
        "group": list(grouping.names),
        "lesion_n": counts,
        "lesion_area": mean_area,
    }
    chosen = None if clusters is None else np.asarray(clusters)[known]
    bootstrap = Bootstrap(grouping.codes[known], chosen, resamples=resamples, seed=seed)
    for name, values, limits in (
        ("lesion_before", before, (0, 1)),
        ("lesion_after", after, (0, 1)),
        ("lesion_change", after - before, (-1, 1)),
    ):
        columns |= mean_with_interval(name, values[known], membership, bootstrap, limits, level)
    return pd.DataFrame(columns)
