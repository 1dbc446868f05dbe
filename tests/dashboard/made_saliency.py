"""Saliency of made-up maps: spots that move further the darker the skin; figures by the real code."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from dashboard.backend.saliency.views import SaliencyChoice, SaliencyView
from fairquant_core.explain.drift import image_drift
from fairquant_core.explain.lesion import LesionShares, lesion_area, share_inside
from fairquant_core.explain.maps import ComparedMaps
from tests.dashboard.made_data import CLASSES, GROUPS

SHIFTS = {"FST I-II": 0.05, "FST III-IV": 0.1, "FST V-VI": 0.3}
SIDE = 64
PER_GROUP = 4


def made_saliency(
    cohort_rows: pd.DataFrame,
    choice: SaliencyChoice,
    titles: Sequence[str] = ("Candidate",),
    masks: bool = False,
) -> SaliencyView:
    """Maps of four images per group; every further candidate moves a little further.

    With `masks` the lesion is a disc in the middle; the first image has no mask.
    """
    random = np.random.default_rng(4)
    rows = cohort_rows[cohort_rows["split"] == "audit"].groupby("group").head(PER_GROUP)
    y, x = np.mgrid[-1 : 1 : SIDE * 1j, -1 : 1 : SIDE * 1j]
    maps = []
    for place in range(1 + len(titles)):
        shifts = [place * SHIFTS[group] for group in rows["group"]]
        spots = [np.exp(-5 * ((x - shift) ** 2 + y**2)) for shift in shifts]
        maps.append(np.array(spots) + random.normal(0, 0.05, (len(rows), SIDE, SIDE)))
    changes = [image_drift(maps[0], after) for after in maps[1:]]
    disc = (x**2 + y**2 < 0.25).astype(float)
    covers = [None, *[disc] * (len(rows) - 1)]
    lesion = LesionShares(
        np.stack([np.full_like(disc, np.nan) if one is None else one for one in covers]),
        lesion_area(covers),
        np.stack([share_inside(one, covers) for one in maps]),
    )
    complete = choice.method == "integrated_gradients"
    sums = np.full((len(maps), len(rows)), 0.02 if complete else np.nan)
    compared = ComparedMaps(
        method=choice.method,
        models=("full precision", *titles),
        ids=rows["id"].to_numpy(str),
        targets=np.zeros(len(rows), int),
        pictures=np.abs(np.array(maps)).astype(np.float32),
        completeness=sums,
        score_change=100 * sums,
        drift=np.stack([table["drift"].to_numpy() for table in changes]),
        overlap=np.stack([table["overlap"].to_numpy() for table in changes]),
        lesion=lesion if masks else None,
    )
    return as_view(compared, rows.reset_index(drop=True), choice)


def as_view(compared: ComparedMaps, rows: pd.DataFrame, choice: SaliencyChoice) -> SaliencyView:
    """The view of maps; every fifth image is a lost flip."""
    titles = compared.models[1:]
    flipped = np.arange(len(rows)) % 5 == 0
    frame = pd.DataFrame(
        {
            "id": rows["id"],
            "group": rows["group"],
            "label": rows["label"],
            "before": rows["label"],
            "target": rows["label"],
            "sampled": True,
            "problem": "",
            "place": np.arange(len(rows)),
            "lesion_area": np.nan if compared.lesion is None else compared.lesion.area,
            "mask_problem": "",
        }
    )
    changes = compared.changes().rename(columns={"model": "candidate"})
    changes["after"] = np.tile(np.where(flipped, CLASSES[0], rows["label"]), len(titles))
    changes["flip"] = np.tile(np.where(flipped, "lost", ""), len(titles))
    by_group = compared.by_group(rows["group"], np.ones(len(rows), bool), order=GROUPS)
    return SaliencyView(
        choice=choice,
        candidates=titles,
        frame=frame,
        changes=changes,
        pictures=compared.pictures,
        completeness=compared.completeness,
        score_change=compared.score_change,
        by_group=by_group.rename(columns={"model": "candidate"}).assign(flips=3, flips_shown=1),
        covers=None if compared.lesion is None else compared.lesion.covers,
        flips=pd.DataFrame({"group": GROUPS, "flips": 3, "asked": 1}),
    )
