"""Which images saliency maps are drawn of: a random sample of each group, and decisions that flipped.

A statement about a group rests on its sample alone. Flips are what people want to see first, but they drift more than
others; those of images without a known skin tone are shown as well, and count in no group.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from dashboard.backend.records.schema import Case
from fairquant_core.data.skin_tone import UNKNOWN

if TYPE_CHECKING:
    import pandas as pd

LOST, GAINED = "lost", "gained"


@dataclass(frozen=True)
class Decisions:
    """What a run decided on the audit images: [id, group, label, before, after, flip]."""

    run_id: str
    frame: pd.DataFrame

    def flips(self, shown: Collection[str]) -> pd.DataFrame:
        """[group, flips, flips_shown]."""
        flipped = self.frame[self.frame["flip"] != ""]
        drawn = flipped[flipped["id"].isin(shown)]
        counts = flipped.groupby("group").size().rename("flips").to_frame()
        counts["flips_shown"] = drawn.groupby("group").size()
        return counts.fillna(0).astype(int).reset_index()


def sample(case: Case, decisions: Sequence[Decisions], count: int) -> list[str]:
    """Ids drawn per group: random, but the same for every candidate of the case and everybody."""
    frame = decisions[0].frame
    found: list[str] = []
    for group in case.groups:
        ids = frame.loc[frame["group"] == group, "id"].tolist()
        ids.sort(key=lambda one: hashlib.sha256(f"{case.id}:{one}".encode()).digest())
        found += ids[:count]
    return found


def flips_by_group(case: Case, decisions: Sequence[Decisions]) -> dict[str, list[str]]:
    """Group -> ids of flips by any candidate, lost ones first; those of unknown skin tone come last."""
    found: dict[str, list[str]] = {}
    for group in (*case.groups, UNKNOWN):
        inside: dict[str, None] = {}
        for kind in (LOST, GAINED):
            for decided in decisions:
                frame = decided.frame
                rows = frame[(frame["group"] == group) & (frame["flip"] == kind)]
                inside |= dict.fromkeys(rows["id"])
        found[group] = list(inside)
    return found


def flip_counts(flips: dict[str, list[str]], asked: Collection[str]) -> pd.DataFrame:
    """[group, flips, asked]: how many there are by any candidate, and of how many maps were asked for."""
    import pandas as pd

    asked = set(asked)
    rows = [
        {"group": group, "flips": len(ids), "asked": len(asked.intersection(ids))}
        for group, ids in flips.items()
        if ids
    ]
    return pd.DataFrame(rows, columns=["group", "flips", "asked"])
