"""The part of the report on whom the classifier was judged, and how it was made smaller."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd

from fairquant_core.export.leaving_size import leaving_size
from fairquant_core.quantization.plan import LEGAL_WIDTHS, BitPlan
from fairquant_core.report.facts import Facts
from fairquant_core.sensitivity.maps import MeasuredMap, SensitivityMap

SPLITS = ("train", "validation", "audit")
UNIT_PREDICTED = "rise of the loss, predicted from the curvature (nats)"
UNIT_MEASURED = "points of accuracy lost, measured on validation images"


def data(facts: Facts) -> dict[str, Any]:
    """Images per group and split, of them such that must not be missed, source and licence."""
    audit = facts.audit
    return {
        "cohort": {**{"name": "", "licence": "", "n": audit["images"]}, **facts.cohort},
        "group_source": facts.case.get("group_source", ""),
        "group_column": audit["group_column"],
        "scheme_title": audit.get("scheme_title", audit["scheme"]),
        "classes": list(audit["classes"]),
        "must_not_miss": list(audit["must_not_miss"]),
        "audited": audit["images"],
        "clusters": audit.get("clusters"),
        "unknown": audit.get("unknown", 0),
        "warnings": list(facts.case.get("warnings", [])),
        "columns": list(facts.columns),
        "rows": _cells(facts.cells, audit) if facts.cells is not None else [],
        "audit_rows": _audit_classes(facts.cells, audit) if facts.cells is not None else [],
    }


def compression(facts: Facts) -> dict[str, Any]:
    """Bits and bytes, asked for and achieved; how many weights have which width.

    The size is that of the exported file, if there is one: that is the file which leaves.
    """
    size = dict(facts.audit.get("size", {}))
    config = dict(facts.audit.get("config", {}))
    leaving = leaving_size(size, facts.export)
    plan = facts.plan
    return {
        "method": facts.run.get("method_title") or config.get("method", ""),
        "bits_asked": size.get("bits_requested", config.get("bits")),
        "bits_achieved": size.get("bits_achieved"),
        "bytes_on_disk": leaving.on_disk,
        "bytes_ideal": leaving.ideal,
        "bytes_full_precision": leaving.full,
        "times_smaller": leaving.times_smaller,
        "seed": config.get("seed"),
        "epochs": facts.run.get("epochs", config.get("epochs")),
        "config": config,
        "widths": _widths(plan) if plan is not None else [],
        "layers": plan.layer_table().to_dict("records") if plan is not None else [],
        "plan": dict(facts.audit.get("plan", {})),
        "export": _export(facts.export, facts.own_audit) if facts.export else None,
        "fast": _export(facts.fast, facts.fast_audit) if facts.fast and facts.fast_audit else None,
    }


def layers(facts: Facts) -> dict[str, Any] | None:
    """Layer by group: what squeezing one layer alone costs each group; None if nobody looked.

    Measured on validation images where that was done, else the prediction the plan was made from.
    """
    bits = facts.audit.get("size", {}).get("bits_requested") or 4
    if facts.measured is not None:
        return _measured(facts.measured, bits, facts.plan)
    if facts.sensitivity is not None:
        return _predicted(facts.sensitivity, bits, facts.plan)
    return None


def _cells(cells: pd.DataFrame, audit: Mapping[str, Any]) -> list[dict[str, Any]]:
    rows = []
    critical = set(audit["must_not_miss"])
    for group in dict.fromkeys(cells["group"]):
        inside = cells[cells["group"] == group]
        row: dict[str, Any] = {"group": str(group)}
        for split in SPLITS:
            part = inside[inside["split"] == split]
            row[split] = int(part["n"].sum())
            row[f"{split}_critical"] = int(part.loc[part["label"].isin(critical), "n"].sum())
        row["n"] = int(inside["n"].sum())
        row["critical"] = int(inside.loc[inside["label"].isin(critical), "n"].sum())
        rows.append(row)
    return rows


def _audit_classes(cells: pd.DataFrame, audit: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Images of the audit split per class and group."""
    part = cells[cells["split"] == "audit"]
    table = part.pivot_table(index="label", columns="group", values="n", aggfunc="sum")
    table = table.reindex(index=audit["classes"], columns=list(dict.fromkeys(cells["group"])))
    return [
        {
            "class": str(name),
            "critical": name in audit["must_not_miss"],
            "n": {str(group): int(value) for group, value in row.fillna(0).items()},
        }
        for name, row in table.iterrows()
    ]


def _widths(plan: BitPlan) -> list[dict[str, Any]]:
    """Share of the weights at every width. Units: fraction of all quantised weights."""
    counts = np.zeros(max(LEGAL_WIDTHS) + 1)
    for layer, widths in plan.widths.items():
        counts += np.bincount(widths, minlength=len(counts)) * plan.weights_per_channel[layer]
    return [{"bits": bits, "share": float(counts[bits] / counts.sum())} for bits in LEGAL_WIDTHS]


def _export(found: Mapping[str, Any], audit: Mapping[str, Any] | None) -> dict[str, Any]:
    """The figures of the check of an exported file that people need.

    Parameters
    ----------
    audit : its own audit, where its answers are not those that were audited.
    """
    parity, size = found.get("parity", {}), found.get("size", {})
    overall = parity.get("overall", {})
    return {
        "sha256": found.get("sha256", ""),
        "on_disk": size.get("on_disk"),
        "ideal": size.get("ideal"),
        "float32": size.get("float32"),
        "images": overall.get("images"),
        "same_class": overall.get("same_class"),
        "largest_difference": overall.get("largest_difference"),
        "milliseconds": found.get("latency", {}).get("milliseconds"),
        "baseline_milliseconds": found.get("latency", {}).get("baseline_milliseconds"),
        "may_be_offered": found.get("may_be_offered"),
        "objections": list(found.get("objections", [])),
        "runtimes": list(found.get("runtimes", [])),
        "own_verdict": None if audit is None else str(audit.get("verdict")),
        "own_sentence": "" if audit is None else str(audit.get("sentence") or ""),
    }


def _nearest(menu: tuple[int, ...], bits: float) -> int:
    return min((width for width in menu if width), key=lambda width: (abs(width - bits), width))


def _measured(found: MeasuredMap, asked: float, plan: BitPlan | None) -> dict[str, Any]:
    bits = _nearest(found.menu, asked)
    frame = found.frame[found.frame["bits"] == bits]
    rows = [
        {
            "layer": str(row["layer"]),
            "group": str(row["group"]),
            # A change of -0.031 is a loss of 0.031; the interval's ends change places.
            "value": -float(row["accuracy_change"]),
            "low": _number(-row["accuracy_high"]),
            "high": _number(-row["accuracy_low"]),
            "n": int(row["n"]),
        }
        for row in frame.to_dict("records")
    ]
    return _heat(
        "measured", UNIT_MEASURED, bits, list(found.groups), list(found.layers), rows, plan
    )


def _predicted(found: SensitivityMap, asked: float, plan: BitPlan | None) -> dict[str, Any]:
    bits = _nearest(found.menu, asked)
    rows = [
        {
            "layer": str(row["layer"]),
            "group": str(row["group"]),
            **{name: _number(row[name]) for name in ("value", "low", "high")},
            "n": int(row["n"]),
        }
        for row in found.layer_frame(bits).to_dict("records")
    ]
    unit = UNIT_PREDICTED if found.measure != "measured" else UNIT_MEASURED
    return _heat(found.measure, unit, bits, list(found.groups), list(found.layers), rows, plan)


def _heat(
    measure: str,
    unit: str,
    bits: int,
    groups: list[str],
    names: list[str],
    rows: list[dict[str, Any]],
    plan: BitPlan | None,
) -> dict[str, Any]:
    cells = {(row["layer"], row["group"]): row for row in rows}
    highest = max((row["value"] for row in rows if row["value"] is not None), default=0.0)
    given = {} if plan is None else {r["layer"]: r for r in plan.layer_table().to_dict("records")}
    table = [
        {
            "number": place + 1,
            "layer": name,
            "bits": given.get(name, {}).get("bits"),
            "weights": given.get(name, {}).get("weights"),
            "cells": [cells.get((name, group)) for group in groups],
        }
        for place, name in enumerate(names)
    ]
    certain = [row for row in rows if row["low"] is not None and row["low"] > 0]
    top = max(certain or rows, key=lambda row: row["value"] or 0.0, default=None)
    return {
        "measure": measure,
        "is_measured": unit == UNIT_MEASURED,
        "unit": unit,
        "bits": bits,
        "groups": groups,
        "highest": highest,
        "rows": table,
        "top": top,
        "top_is_certain": bool(certain),
        "has_intervals": any(row["low"] is not None for row in rows),
    }


def _number(value: Any) -> float | None:
    return None if pd.isna(value) else float(value)
