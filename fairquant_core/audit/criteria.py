"""The verdict that the data allow on limits that were set before."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping

import pandas as pd

from fairquant_core.audit.grouping import OVERALL, UNKNOWN
from fairquant_core.audit.limits import Limits, Verdict
from fairquant_core.audit.verdict_text import (
    images_to_settle,
    shortages,
    title,
    verdict_sentence,
)

__all__ = ["Limits", "Verdict", "judge", "overall_verdict"]


def judge(differences: pd.DataFrame, limits: Limits) -> pd.DataFrame:
    """Verdict per group on the table of `comparison.paired_difference`.

    WITHIN: the largest loss that the data allow is below the margin. OUTSIDE: the smallest loss
    that they allow is above it. Everything else is INSUFFICIENT EVIDENCE, as are groups with fewer
    images (or positive or other images) than the limits ask for. "overall" is judged too; "unknown"
    is not.

    Returns
    -------
    pandas.DataFrame
        Columns group, verdict (`Verdict`), sentence, n, images_to_settle (about how many images of
        the group would settle it if the same share changed; NaN when settled, not estimable or
        beyond 100,000).
    """
    rows = {str(row["group"]): row for row in differences.to_dict("records")}
    wanted = limits.groups or tuple(name for name in rows if name not in (OVERALL, UNKNOWN))
    judged = []
    for name in (*((OVERALL,) if OVERALL in rows else ()), *wanted):
        row = rows.get(name)
        needed = math.nan
        if row is None or not row["estimable"]:
            verdict = Verdict.INSUFFICIENT
            reason = (row or {}).get("reason") or "no image"
            sentence = f"{title(name)}: {reason}, not estimable: insufficient evidence."
        else:
            missing = shortages(row, limits)
            verdict = Verdict.INSUFFICIENT if missing else _verdict(row, limits)
            if verdict == Verdict.INSUFFICIENT:
                needed = images_to_settle(row, limits)
            sentence = verdict_sentence(row, limits, verdict, missing, needed)
        judged.append(
            {
                "group": name,
                "verdict": verdict,
                "sentence": sentence,
                "n": int(row["n"]) if row else 0,
                "images_to_settle": needed,
            }
        )
    return pd.DataFrame(judged, columns=["group", "verdict", "sentence", "n", "images_to_settle"])


def overall_verdict(verdicts: Iterable[str] | pd.DataFrame) -> Verdict:
    """OUTSIDE if any group is; else INSUFFICIENT EVIDENCE if any is, or none was judged."""
    if isinstance(verdicts, pd.DataFrame):
        named = verdicts[verdicts["group"] != OVERALL]
        if named.empty:
            # Without a single known group nothing is known about groups, whatever the total says.
            found = {Verdict.INSUFFICIENT, *map(Verdict, verdicts["verdict"])}
        else:
            found = set(map(Verdict, verdicts["verdict"]))
    else:
        found = set(map(Verdict, verdicts))
    if Verdict.OUTSIDE in found:
        return Verdict.OUTSIDE
    return Verdict.WITHIN if found == {Verdict.WITHIN} else Verdict.INSUFFICIENT


def _verdict(row: Mapping, limits: Limits) -> Verdict:
    if -row["low"] < limits.margin:
        return Verdict.WITHIN
    return Verdict.OUTSIDE if -row["high"] > limits.margin else Verdict.INSUFFICIENT
