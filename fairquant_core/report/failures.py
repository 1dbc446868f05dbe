"""Where the classifier changed its mind, and where it looks: the parts that show single images."""

from __future__ import annotations

from collections import Counter
from typing import Any

from fairquant_core.audit.comparison import flips
from fairquant_core.report.facts import Facts, SaliencyFacts
from fairquant_core.report.pictures import overlay, photograph, picture_data
from fairquant_core.report.words import known

LISTED = 60
"""More changed decisions than these are counted, not listed; the predictions table holds all."""

THUMBNAILS = 12
PANEL_PER_GROUP = 2
SIDE = 220
FEW = 5
"""A transition between two classes is named when it happened at least as often in the list."""


def failures(facts: Facts) -> dict[str, Any]:
    """Decisions that were right and are wrong now, and the reverse, per group and image."""
    audit = facts.audit
    judged = audit["comparisons"][audit["candidate"]]
    counted = judged["flips"]
    found: dict[str, Any] = {
        "lost": counted["lost"],
        "gained": counted["gained"],
        "by_group": [{"group": group, **kinds} for group, kinds in counted["by_group"].items()],
        "listed": [],
        "left_out": 0,
        "transitions": [],
        "pictures": [],
        "critical_lost": None,
    }
    if facts.predictions is None:
        return found
    table = facts.predictions
    groups = table.groups(audit["group_column"], audit["scheme"])
    rows = flips(table, audit["reference"], audit["candidate"], groups).astype(str)
    critical = set(audit["must_not_miss"])
    rows["critical"] = rows["label"].isin(critical)
    # What harms a patient comes first: a condition that must not be missed and is missed now.
    rank = (rows["kind"] != "lost").astype(int) * 2 + (~rows["critical"]).astype(int)
    rows = rows.assign(rank=rank).sort_values("rank", kind="stable").drop(columns="rank")
    lost = rows[rows["kind"] == "lost"]
    found["critical_lost"] = int(lost["critical"].sum())
    found["listed"] = rows.head(LISTED).to_dict("records")
    found["left_out"] = max(0, len(rows) - LISTED)
    steps = Counter(zip(lost["label"], lost["after"], strict=True))
    found["transitions"] = [
        {"label": label, "after": after, "n": number}
        for (label, after), number in sorted(steps.items(), key=lambda item: (-item[1], item[0]))
    ][:FEW]
    if facts.photograph is not None:
        crop = facts.saliency.crop if facts.saliency else 1.0
        for row in lost.head(THUMBNAILS).to_dict("records"):
            picture = photograph(facts.photograph, row["id"], SIDE, crop)
            found["pictures"].append(
                {**row, "picture": None if picture is None else picture_data(picture)}
            )
    return found


def saliency(facts: Facts) -> dict[str, Any] | None:
    """How far the gaze moved per group, and pictures of it where the report may hold images."""
    found = facts.saliency
    if found is None:
        return None
    rows = [
        {name: _plain(value) for name, value in row.items()}
        for row in found.by_group.to_dict("records")
    ]
    return {
        "method": found.method,
        "target": found.target,
        "by_group": rows,
        "pictures": _panel(facts, found) if facts.photograph is not None else [],
        "with_images": facts.photograph is not None,
    }


def _panel(facts: Facts, found: SaliencyFacts) -> list[dict[str, Any]]:
    """Of every group the first images, original beside both maps."""
    assert facts.photograph is not None
    panel = []
    images = found.images.reset_index(drop=True)
    for group in facts.audit["groups"]:
        for place in images.index[images["group"] == group][:PANEL_PER_GROUP]:
            row = images.loc[place]
            picture = photograph(facts.photograph, str(row["id"]), SIDE, found.crop)
            if picture is None:
                continue
            maps = (found.before[place], found.after[place])
            panel.append(
                {
                    "id": str(row["id"]),
                    "group": group,
                    "label": str(row["label"]),
                    "target": str(row["target"]),
                    "overlap": _plain(row["overlap"]),
                    "drift": _plain(row["drift"]),
                    "original": picture_data(picture),
                    "before": picture_data(overlay(picture, maps[0], maps)),
                    "after": picture_data(overlay(picture, maps[1], maps)),
                }
            )
    return panel


def _plain(value: Any) -> Any:
    """A value that JSON knows; not-a-number becomes none."""
    if hasattr(value, "item"):
        value = value.item()
    return value if not isinstance(value, float) or known(value) else None
