"""What the saliency page asks for and reads; records without behaviour, as in `views`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd

TARGETS = ("predicted", "candidate", "true", "class")
"""Whose class is explained: full precision's decision, the run's, the diagnosis, or a named one."""


@dataclass(frozen=True)
class SaliencyChoice:
    """Which saliency maps of a run are wanted.

    `others` are ids of further finished runs of the case, shown beside the run itself. `per_group`
    images of every group are drawn at random, and as many flips are shown before somebody asks for more.
    """

    method: str = "integrated_gradients"
    target: str = "predicted"
    target_class: str = ""
    others: tuple[str, ...] = ()
    per_group: int = 8


@dataclass(frozen=True)
class SaliencyView:
    """Maps of the same images and target classes by full precision and by one or more candidates.

    `frame`: one row per image [id, group, label, target, before, sampled, problem, place, lesion_area,
    mask_problem]; `place` is its position in the maps, -1 where `problem` says why it has none.
    `changes`: one per candidate and image [candidate, id, after, flip, drift, overlap, estimable,
    lesion_before, lesion_after]; the last two are the shares of full precision's and of the
    candidate's map on the lesion, NaN where not estimable. `by_group`: one per candidate and
    group [candidate, group, images, n, drift, overlap and their bounds, flips, flips_shown], with masks
    also the columns of `explain.lesion.group_shares`. `covers`: where the lesion is in the maps, None
    if these maps were drawn without masks. `flips`: [group, flips, asked], how many there are by any
    candidate and of how many maps were asked for; the group "unknown" last. `crop`: share of
    the shorter side that the classifier sees, from the middle.

    Shapes: covers (N, P, P), NaN for an image without a mask; pictures (1 + candidates, N, P, P) float32, full
    precision first; completeness and score_change (1 + candidates, N), NaN where not defined.
    """

    choice: SaliencyChoice
    candidates: tuple[str, ...]
    frame: pd.DataFrame
    changes: pd.DataFrame
    pictures: np.ndarray
    completeness: np.ndarray
    score_change: np.ndarray
    by_group: pd.DataFrame
    crop: float = 1.0
    covers: np.ndarray | None = None
    flips: pd.DataFrame | None = None
