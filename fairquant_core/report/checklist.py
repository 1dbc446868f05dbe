"""What reporting guidelines ask for, and whether this report shows it: every state comes from the evidence."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from fairquant_core.report.checklist_items import ITEMS
from fairquant_core.report.checklist_rules import STATES

__all__ = ["SOURCES", "STATES", "checklist", "counts"]

SOURCES = {
    "TRIPOD+AI": "Collins et al. 2024, BMJ 385:e078378",
    "CLAIM": "Mongan et al. 2020, Radiology: Artificial Intelligence 2:e200029",
    "DECIDE-AI": "Vasey et al. 2022, BMJ 377:e070904",
}
"""Guideline -> where it was published. The items are in our own words; the originals count."""


def checklist(content: Mapping[str, Any]) -> list[dict[str, str]]:
    """Every item with its state.

    Parameters
    ----------
    content : the report without its checklist.

    Returns
    -------
    list of dict
        guideline, item, asks (what it asks for), state (MET, PARTIAL or MISSING), shown (what is there), missing
        (what is not; "" if met), section (anchor in the report).
    """
    rows = []
    for item in ITEMS:
        found = item.rule(content)
        rows.append(
            {
                "guideline": item.guideline,
                "item": item.number,
                "asks": item.asks,
                "state": found.state,
                "shown": found.shown,
                "missing": found.missing,
                "section": item.section,
            }
        )
    return rows


def counts(rows: list[dict[str, str]]) -> dict[str, dict[str, int]]:
    """Guideline -> state -> number of items."""
    found = {name: dict.fromkeys(STATES, 0) for name in SOURCES}
    for row in rows:
        found[row["guideline"]][row["state"]] += 1
    return found
