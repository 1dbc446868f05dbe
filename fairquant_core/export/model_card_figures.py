"""Which figures of an audit a model card shows, and how they are written."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from fairquant_core.audit.grouping import OVERALL, UNKNOWN
from fairquant_core.audit.limits import Limits

NOT_ESTIMABLE = "not estimable"

_MARKS = re.compile(r"([\\`*\[\]<>|~&#])")
_IN_PERCENT = (
    *("accuracy", "balanced accuracy", "sensitivity", "specificity"),
    *("ppv", "npv", "ece"),
)
_OVER_ALL_CLASSES = ("accuracy", "balanced accuracy", "macro auroc", "brier", "ece")
_OF_CONDITIONS = ("sensitivity", "specificity", "auroc")
_ACCURACY = {
    "measure": "accuracy",
    "metric": "accuracy",
    "meaning": "Share of images whose most probable class is right.",
    "interval": "Wilson, at the effective sample size where images come in clusters",
    "classes": [],
    "higher_is_better": True,
}
Row = Mapping[str, Any]


def plain(text: object) -> str:
    """A text that somebody typed, on one line and without meaning for Markdown.

    >>> plain("a | b\\n# <c>")
    'a \\\\| b \\\\# \\\\<c\\\\>'
    """
    return _MARKS.sub(r"\\\1", " ".join(str(text).split()))


def joined(names: Iterable[object]) -> str:
    """Names as a list in a sentence.

    >>> joined(["I", "II", "III"])
    'I, II and III'
    """
    *rest, last = [plain(name) for name in names] or [""]
    return f"{', '.join(rest)} and {last}" if rest else last


def group_title(group: str) -> str:
    """A group as the head of a row."""
    return plain({OVERALL: "All images", UNKNOWN: "Group unknown"}.get(group, group))


def figure(value: float | None, metric: str, *, signed: bool = False) -> str:
    """A figure in the unit in which people read it.

    >>> figure(0.4625, "accuracy"), figure(0.8, "auroc"), figure(-0.01, "accuracy", signed=True)
    ('46.2 %', '0.800', '-1.0 points')
    >>> figure(None, "accuracy")
    'not estimable'
    """
    if value is None:
        return NOT_ESTIMABLE
    sign = "+" if signed else ""
    if metric not in _IN_PERCENT:
        return f"{value:{sign}.3f}"
    return f"{100 * value:{sign}.1f} {'points' if signed else '%'}"


def with_interval(row: Row, metric: str, *, of: str = "value", signed: bool = False) -> str:
    """A figure and its interval; words where it cannot be estimated."""
    value = row.get(of)
    text = figure(value, metric, signed=signed)
    low, high = row.get("low"), row.get("high")
    if value is None or low is None or high is None:
        return text
    scale, digits = (100, 1) if metric in _IN_PERCENT else (1, 3)
    sign = "+" if signed else ""
    return f"{text} ({scale * low:{sign}.{digits}f} to {scale * high:{sign}.{digits}f})"


def judged_model(audit: Row) -> str:
    """The model that the card is about."""
    return str(audit["candidate"] or audit["reference"])


def shown_measures(audit: Row) -> list[Row]:
    """The measures of the card: the judged one, those over all classes, and of what must not be missed.

    Of several conditions that must not be missed only the figures of all of them together; every other
    figure is in audit.json.
    """
    measures = audit.get("measures") or [_ACCURACY]
    judged = judged_measure(audit)
    most = max((len(row["classes"]) for row in measures), default=0)
    return [
        row
        for row in measures
        if row["measure"] == judged
        or row["metric"] in _OVER_ALL_CLASSES
        or (row["metric"] in _OF_CONDITIONS and len(row["classes"]) == most)
    ]


def judged_measure(audit: Row) -> str:
    """The measure that the limits are about."""
    return Limits.from_json(audit["limits"]).measure.title


def rows_of(audit: Row, model: str, measure: str) -> dict[str, Row]:
    """The figures of one measure by group, "overall" first."""
    found = (audit.get("metrics") or {}).get(model, {}).get("by_group")
    if found:
        return {row["group"]: row for row in found if row["measure"] == measure}
    if measure != "accuracy":
        return {}
    accuracy = audit["accuracy"][model]
    rows = [{**accuracy["overall"], "group": OVERALL}, *accuracy["by_group"]]
    return {row["group"]: {**row, "value": row["accuracy"]} for row in rows}


def judgement(audit: Row) -> Row:
    """The comparison with the original: differences, verdicts, flips; {} without a candidate."""
    return (audit.get("comparisons") or {}).get(audit["candidate"]) or {}


def by_group(rows: Sequence[Row]) -> dict[str, Row]:
    """Rows by their group."""
    return {str(row["group"]): row for row in rows}
