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

__all__ = ["JUDGING", "Limits", "Verdict", "judge", "overall_verdict"]


#: How verdicts are made; written into every audit. 1: every group by itself. 2: a group that is
#: OUTSIDE must stand among all that are judged, and the balanced accuracy has other intervals.
JUDGING = 2


def judge(differences: pd.DataFrame, limits: Limits, *, together: bool = True) -> pd.DataFrame:
    """Verdict per group on the table of `comparison.paired_difference`.

    WITHIN: the largest loss that the data allow is below the margin. OUTSIDE: the smallest loss
    that they allow is above it, also where allowance is made for all groups that are judged at once.
    Everything else is INSUFFICIENT EVIDENCE, as are groups with fewer images (or positive or other
    images) than the limits ask for. "overall" is judged too; "unknown" is not.

    Parameters
    ----------
    together:
        False judges every group by itself, as audits did before `JUDGING` was 2.

    Returns
    -------
    pandas.DataFrame
        Columns group, verdict (`Verdict`), sentence, n, images_to_settle (about how many images of
        the group would settle it if the same share changed; NaN when settled, not estimable or
        beyond 100,000).

    Source
    ------
    Where no group loses more than the margin, any of them (or all images) is called OUTSIDE in at
    most 5 % of audits: Holm 1979, Scandinavian Journal of Statistics 6:65, over all that hold enough
    images, on intervals with 2.5 % on that side or fewer. WITHIN needs no such allowance: all groups
    have to pass, and that is the harder the more there are (Berger 1982, Technometrics 24:295).
    """
    rows = {str(row["group"]): row for row in differences.to_dict("records")}
    wanted = limits.groups or tuple(name for name in rows if name not in (OVERALL, UNKNOWN))
    names = dict.fromkeys((*((OVERALL,) if OVERALL in rows else ()), *wanted))
    able = {
        name: rows[name]
        for name in names
        if name in rows and rows[name]["estimable"] and not shortages(rows[name], limits)
    }
    among = len(able) if together else 1
    harmed = _harmed(able, limits) if together else set(able)
    judged = []
    for name in names:
        row = rows.get(name)
        needed = math.nan
        if row is None or not row["estimable"]:
            verdict = Verdict.INSUFFICIENT
            reason = (row or {}).get("reason") or "no image"
            sentence = f"{title(name)}: {reason}, not estimable: insufficient evidence."
        else:
            missing = shortages(row, limits)
            verdict = Verdict.INSUFFICIENT if missing else _verdict(row, limits, name in harmed)
            if verdict == Verdict.INSUFFICIENT:
                needed = images_to_settle(row, limits, among)
            sentence = verdict_sentence(row, limits, verdict, missing, needed, among)
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


def _harmed(able: Mapping[str, Mapping], limits: Limits) -> set[str]:
    """Holm's procedure: each harm that is found leaves fewer groups to make allowance for."""
    found: set[str] = set()
    while True:
        left = len(able) - len(found)
        more = {
            name
            for name, row in able.items()
            if name not in found and -row["high_among"][left - 1] > limits.margin
        }
        if not more:
            return found
        found |= more


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


def _verdict(row: Mapping, limits: Limits, harmed: bool) -> Verdict:
    if -row["low"] < limits.margin:
        return Verdict.WITHIN
    return Verdict.OUTSIDE if harmed and -row["high"] > limits.margin else Verdict.INSUFFICIENT
