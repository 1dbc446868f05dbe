"""The part of the report on how well it works: figures of the audit, put beside one another."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from fairquant_core.audit.grouping import OVERALL
from fairquant_core.audit.limits import Limits
from fairquant_core.report.words import capital

OLD_FORMAT = (
    "This run was audited before the other figures existed (sensitivity, calibration, gaps between "
    "groups and more). Start the run again to have them."
)
FEW_CLASSES = 3
"""With more classes that must not be missed, their own tables go to the annex."""

ACCURACY = {
    "measure": "accuracy",
    "metric": "accuracy",
    "meaning": "Share of images whose most probable class is right.",
    "interval": "Wilson, at the effective sample size where images come in clusters",
    "higher_is_better": True,
    "classes": [],
}
_COUNTS = ("n", "n_positive", "n_negative", "classes_estimable")
_CHANGE = ("difference", "low", "high", "lost", "gained", "p_value", "p_holm")
_GAP = (
    *("groups_counted", "worst_group", "worst_value", "gap", "gap_low", "gap_high"),
    *("gap_by_chance", "estimable", "reason"),
)


def is_complete(audit: Mapping[str, Any]) -> bool:
    """Whether the audit holds the figures beyond accuracy."""
    return bool(audit.get("measures")) and bool(audit.get("metrics"))


def results(audit: Mapping[str, Any]) -> dict[str, Any]:
    """Values before and after, their change, gaps and calibration, ready for JSON."""
    before, after = audit["reference"], audit["candidate"]
    limits = Limits.from_json(audit["limits"])
    judged = limits.measure.title
    complete = is_complete(audit)
    kinds = audit["measures"] if complete else [ACCURACY]
    tables = [_measure(audit, kind, before, after, judged, complete) for kind in kinds]
    return {
        "before": before,
        "after": after,
        "complete": complete,
        "note": "" if complete else OLD_FORMAT,
        "groups": [row["group"] for row in tables[0]["rows"]],
        "judged": judged,
        "measures": tables,
        "accuracy": _accuracy_of_all(audit),
        "gaps": _gaps(audit, before, after) if complete else [],
        "fairness": _fairness(audit, before, after) if complete else [],
        "calibration": _calibration(audit, (before, after)) if complete else [],
    }


def main_measures(found: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The measures that every reader needs: the judged one first, then what a clinician asks for."""
    wanted = [found["judged"], "accuracy", "balanced accuracy"]
    by_name = {table["measure"]: table for table in found["measures"]}
    rates = [t for t in found["measures"] if t["metric"] in ("sensitivity", "specificity")]
    if len(rates) > 2 * FEW_CLASSES + 2:
        most = max(len(table["classes"]) for table in rates)
        rates = [table for table in rates if len(table["classes"]) == most]
    names = dict.fromkeys([*wanted, *(table["measure"] for table in rates)])
    return [by_name[name] for name in names if name in by_name]


def other_measures(found: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The measures of the annex."""
    shown = {table["measure"] for table in main_measures(found)}
    return [table for table in found["measures"] if table["measure"] not in shown]


def verdicts(audit: Mapping[str, Any]) -> dict[str, Any]:
    """The limits that were set before the run, and what the data say about them per group."""
    limits = Limits.from_json(audit["limits"])
    judged = audit["comparisons"][audit["candidate"]]
    changes = {row["group"]: row for row in judged["differences"]}
    rows = []
    for row in judged["verdicts"]:
        found = changes.get(row["group"], {})
        rows.append(
            {
                "group": row["group"],
                "verdict": str(row["verdict"]),
                "sentence": row["sentence"],
                "n": row["n"],
                "images_to_settle": row.get("images_to_settle"),
                **{name: found.get(name) for name in ("before", "after", "difference")},
                **{name: found.get(name) for name in ("low", "high", "lost", "gained")},
            }
        )
    return {
        "measure": limits.measure.title,
        "metric": limits.metric,
        "limits": audit["limits"],
        "limits_fingerprint": audit.get("limits_fingerprint", ""),
        "margin": limits.margin,
        "minimum_images": limits.minimum_images,
        "required_groups": list(limits.groups) or list(audit["groups"]),
        "rows": rows,
        "verdict": str(audit.get("verdict") or "INSUFFICIENT EVIDENCE"),
        "sentence": audit.get("sentence") or "",
        "gap_change": judged.get("gap_change", {}),
        "notes": list(audit.get("notes", [])),
        "questions": _questions(audit),
    }


def _measure(
    audit: Mapping[str, Any],
    kind: Mapping[str, Any],
    before: str,
    after: str,
    judged: str,
    complete: bool,
) -> dict[str, Any]:
    name = kind["measure"]
    old, new = (_by_group(audit, model, name, complete) for model in (before, after))
    changes = _changes(audit, after, name, complete)
    rows = []
    for group, was in old.items():
        now, moved = new.get(group, {}), changes.get(group, {})
        rows.append(
            {
                "group": group,
                **{field: was.get(field) for field in _COUNTS},
                "before": _value(was),
                "after": _value(now),
                "change": {field: moved.get(field) for field in _CHANGE},
                "reason": was.get("reason") or now.get("reason") or moved.get("reason") or "",
            }
        )
    return {
        "measure": name,
        "title": capital(name),
        "metric": kind["metric"],
        "classes": list(kind.get("classes") or []),
        "meaning": kind["meaning"],
        "interval": kind["interval"],
        "higher_is_better": bool(kind["higher_is_better"]),
        "judged": name == judged,
        "rows": rows,
    }


def _value(row: Mapping[str, Any]) -> dict[str, Any]:
    return {name: row.get(name) for name in ("value", "low", "high")}


def _by_group(
    audit: Mapping[str, Any], model: str, measure: str, complete: bool
) -> dict[str, dict[str, Any]]:
    if complete:
        rows = audit["metrics"][model]["by_group"]
        return {row["group"]: row for row in rows if row["measure"] == measure}
    found = audit["accuracy"][model]
    rows = [{**found["overall"], "group": OVERALL}, *found["by_group"]]
    return {
        row["group"]: {**row, "value": row["accuracy"] if row.get("estimable", True) else None}
        for row in rows
    }


def _changes(
    audit: Mapping[str, Any], after: str, measure: str, complete: bool
) -> dict[str, dict[str, Any]]:
    judged = audit["comparisons"][after]
    if complete:
        rows = [row for row in judged["metric_differences"] if row["measure"] == measure]
    elif Limits.from_json(audit["limits"]).metric == "accuracy":
        rows = judged["differences"]
    else:
        rows = []
    return {row["group"]: row for row in rows}


def _accuracy_of_all(audit: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Accuracy of every model, the naive ones included: [model, group, n, value, low, high]."""
    rows = []
    for model in audit["models"]:
        for group, row in _by_group(audit, model, "accuracy", False).items():
            rows.append({"model": model, "group": group, "n": row["n"], **_value(row)})
    return rows


def _gaps(audit: Mapping[str, Any], before: str, after: str) -> list[dict[str, Any]]:
    metric = {kind["measure"]: kind["metric"] for kind in audit["measures"]}
    old, new = (
        {row["measure"]: row for row in audit["metrics"][model]["between_groups"]}
        for model in (before, after)
    )
    return [
        {
            "measure": name,
            "title": capital(name),
            "metric": metric[name],
            "before": _picked(row, _GAP),
            "after": _picked(new[name], _GAP),
        }
        for name, row in old.items()
        if name in new
    ]


def _fairness(audit: Mapping[str, Any], before: str, after: str) -> list[dict[str, Any]]:
    fields = ("value", "low", "high", "by_chance", "estimable", "reason")
    old, new = (
        {(row["criterion"], row["about"]): row for row in audit["metrics"][model]["fairness"]}
        for model in (before, after)
    )
    return [
        {
            "criterion": criterion,
            "about": about,
            "classes_estimable": row.get("classes_estimable"),
            "classes": row.get("classes"),
            "before": _picked(row, fields),
            "after": _picked(new[criterion, about], fields),
        }
        for (criterion, about), row in old.items()
        if (criterion, about) in new
    ]


def _calibration(audit: Mapping[str, Any], models: Iterable[str]) -> list[dict[str, Any]]:
    fields = ("group", "n", "confidence", "accuracy", "low", "high", "bin_low", "bin_high")
    return [
        {"model": model, **_picked(row, fields)}
        for model in models
        for row in audit["metrics"][model]["calibration"]
    ]


def _questions(audit: Mapping[str, Any]) -> dict[str, Any]:
    """The same question with other groups: who labelled, how finely, tone and sex together."""
    asked = audit.get("questions") or {}
    schemes = [
        {
            "column": each.get("column", ""),
            "title": each.get("title", each.get("scheme", "")),
            "verdict": each.get("verdict"),
            "sentence": each.get("sentence") or "",
        }
        for each in [*asked.get("schemes", []), *asked.get("intersections", [])]
        if each.get("verdict")
        and (each.get("column"), each.get("scheme")) != (audit["group_column"], audit["scheme"])
    ]
    annotators = [
        {
            "column": each["column"],
            "other": each["other"],
            "changes": each.get("changes"),
            "sentence": each.get("sentence") or "",
            "exact": each.get("agreement", {}).get("types", {}).get("exact", {}),
            "within_one_step": each.get("agreement", {}).get("types", {}).get("within_one_step"),
            "n": each.get("agreement", {}).get("types", {}).get("n"),
        }
        for each in asked.get("annotators", [])
    ]
    return {
        "schemes": schemes,
        "annotators": annotators,
        "unknown": asked.get("unknown") or {"n": audit.get("unknown", 0), "share": None},
    }


def _picked(row: Mapping[str, Any], fields: Iterable[str]) -> dict[str, Any]:
    return {name: row.get(name) for name in fields}
