"""All figures of one audit as one JSON document, and that document as a table for people."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from fairquant_core.audit.bootstrap import RESAMPLES, Bootstrap, group_means, percentile_interval
from fairquant_core.audit.comparison import GAINED, LOST, flips, paired_difference
from fairquant_core.audit.criteria import Limits, Verdict, judge, overall_verdict
from fairquant_core.audit.grouping import OVERALL, UNKNOWN, Grouping
from fairquant_core.audit.metrics import (
    AccuracyTable,
    balanced_accuracy,
    class_rates,
    group_accuracy,
)
from fairquant_core.audit.predictions import Predictions
from fairquant_core.audit.summary_text import print_table, summary_table, table_text
from fairquant_core.data.skin_tone import SCHEMES, ordered
from fairquant_core.errors import EvaluationError

__all__ = ["audit_summary", "print_table", "summary_table", "table_text"]

FORMAT = 1
LEVEL = 0.95
#: A bootstrap over fewer changed images would give the change of the gap too narrow an interval.
MINIMUM_FLIPS = 10


def audit_summary(
    predictions: Predictions,
    *,
    reference: str = "full precision",
    candidate: str | None = "candidate",
    group_column: str,
    scheme: str,
    limits: Limits,
    must_not_miss: Sequence[str] = (),
    split: str | None = "audit",
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> dict:
    """Everything an audit says, ready for JSON (not estimable = null).

    Parameters
    ----------
    candidate:
        Model that the verdict is about; None audits the reference alone (no verdict).
    split:
        Images to judge on; None takes all, for a cohort that was never trained on.

    Returns
    -------
    dict
        "accuracy", "balanced_accuracy" and "must_not_miss_rates" per model; "comparisons" of every
        other model with the reference (differences, verdicts, flips, gap_change); "verdict",
        "sentence" of the candidate; "notes" on what could not be estimated.

    Raises
    ------
    EvaluationError
        A model, column or class is missing, or no image is in the split.
    """
    table = predictions if split is None else predictions.part(split)
    for model in (reference, *((candidate,) if candidate else ())):
        if model not in table.models:
            raise EvaluationError(
                f"the predictions table has no model '{model}'; it has {', '.join(table.models)}"
            )
    groups = table.groups(group_column, scheme)
    order = _order(groups, scheme)
    settings: dict[str, Any] = {
        "order": order,
        "level": LEVEL,
        "resamples": resamples,
        "seed": seed,
    }
    rates: dict[str, Any] = {"order": order, "level": LEVEL}
    grouping = Grouping.build(groups, len(table), order)
    clusters = int(table.frame["cluster"].nunique())

    comparisons = {
        model: _comparison(table, reference, model, groups, grouping, limits, settings)
        for model in table.models
        if model != reference
    }
    result = {
        "format": FORMAT,
        "split": split,
        "images": len(table),
        "clusters": clusters,
        "classes": list(table.classes),
        "models": list(table.models),
        "reference": reference,
        "candidate": candidate,
        "group_column": group_column,
        "scheme": scheme,
        "scheme_title": SCHEMES[scheme].title,
        "groups": list(grouping.known),
        "unknown": int((groups == UNKNOWN).sum()),
        "must_not_miss": list(must_not_miss),
        "limits": limits.to_json(),
        "limits_fingerprint": limits.fingerprint,
        "method": {
            "level": LEVEL,
            "resamples": resamples,
            "seed": seed,
            "clustered": clusters < len(table),
        },
        "accuracy": {
            model: _accuracy(
                group_accuracy(table, model, groups, minimum=limits.minimum_images, **settings)
            )
            for model in table.models
        },
        "balanced_accuracy": {
            model: _records(balanced_accuracy(table, model, groups, **settings))
            for model in table.models
        },
        "must_not_miss_rates": {
            model: _records(class_rates(table, model, groups, must_not_miss, **rates))
            for model in table.models
            if must_not_miss
        },
        "comparisons": comparisons,
        "verdict": comparisons[candidate]["verdict"] if candidate else None,
        "sentence": comparisons[candidate]["sentence"] if candidate else None,
        "notes": _notes(grouping, limits),
    }
    return _plain(result)


def _comparison(
    table: Predictions,
    reference: str,
    model: str,
    groups: pd.Series,
    grouping: Grouping,
    limits: Limits,
    settings: dict[str, Any],
) -> dict:
    differences = paired_difference(
        table, reference, model, groups, metric=limits.metric, positive=limits.positive, **settings
    )
    verdicts = judge(differences, limits)
    verdict = overall_verdict(verdicts)
    changed = flips(table, reference, model, groups)
    by_group = changed.groupby(["group", "kind"]).size()
    return {
        "differences": _records(differences),
        "verdicts": _records(verdicts),
        "verdict": verdict,
        "sentence": _overall_sentence(verdicts, verdict, limits),
        "flips": {
            LOST: int((changed["kind"] == LOST).sum()),
            GAINED: int((changed["kind"] == GAINED).sum()),
            "by_group": {
                name: {kind: int(by_group.get((name, kind), 0)) for kind in (LOST, GAINED)}
                for name in grouping.names
            },
        },
        "gap_change": _gap_change(table, reference, model, grouping, settings),
    }


def _overall_sentence(verdicts: pd.DataFrame, verdict: Verdict, limits: Limits) -> str:
    limit = f"{100 * limits.margin:g} points of {limits.metric}"
    named = verdicts[verdicts["group"] != OVERALL]
    failing = [str(name) for name in verdicts.loc[verdicts["verdict"] == verdict, "group"]]
    names = ", ".join("all images together" if name == OVERALL else name for name in failing)
    if named.empty:
        return "No image has a known group, so nothing can be said about groups."
    if verdict == Verdict.WITHIN:
        return f"No group loses {limit} or more; the data are enough to say so."
    if verdict == Verdict.OUTSIDE:
        return f"More than {limit} are lost for: {names}."
    return f"The data cannot tell whether {limit} or more are lost for: {names}."


def _gap_change(
    table: Predictions, before: str, after: str, grouping: Grouping, settings: dict[str, Any]
) -> dict:
    """Change of the largest gap between groups; its interval only where enough images changed."""
    counted = [
        index
        for index, name in enumerate(grouping.names)
        if name != UNKNOWN and grouping.sizes[index]
    ]
    empty = {"value": None, "low": None, "high": None}
    if len(counted) < 2:
        return empty
    membership = grouping.one_hot()[:, counted]
    was, now = table.correct(before), table.correct(after)

    def statistic(counts: np.ndarray) -> np.ndarray:
        new, old = (group_means(counts, right, membership) for right in (now, was))
        return (np.ptp(new, axis=1) - np.ptp(old, axis=1))[:, None]

    value = statistic(np.ones((1, len(table)), np.float32))[0, 0]
    if int((was != now).sum()) < MINIMUM_FLIPS:
        return empty | {"value": float(value)}
    bootstrap = Bootstrap(
        grouping.codes,
        table.frame["cluster"].to_numpy(),
        resamples=settings["resamples"],
        seed=settings["seed"],
    )
    low, high = percentile_interval(bootstrap.statistics(statistic), settings["level"])
    return {"value": float(value), "low": float(low[0]), "high": float(high[0])}


def _accuracy(table: AccuracyTable) -> dict:
    return {
        "overall": table.overall.to_dict(),
        "by_group": _records(table.by_group),
        "worst_group": table.worst_group,
        "worst_accuracy": None if table.worst is None else table.worst["accuracy"],
        "gap": {"value": table.gap, "low": table.gap_low, "high": table.gap_high},
        "macro": {"value": table.macro, "low": table.macro_low, "high": table.macro_high},
    }


def _notes(grouping: Grouping, limits: Limits) -> list[str]:
    notes = []
    for name, size in zip(grouping.names, grouping.sizes, strict=True):
        if name == UNKNOWN:
            notes.append(f"{size} images have no known group; they count in no group's verdict.")
        elif size == 0:
            notes.append(f"{name}: no image, not estimable.")
        elif size < limits.minimum_images:
            notes.append(
                f"{name}: only {size} images, fewer than the {limits.minimum_images} set; "
                "it is never called the worst group."
            )
    if sum(grouping.mask(name).sum() >= limits.minimum_images for name in grouping.known) < 2:
        notes.append("Fewer than two known groups hold enough images, so there is no gap.")
    return notes


def _order(groups: pd.Series, scheme: str) -> list[str]:
    """All groups of the scheme, also those without an image: absence must be seen."""
    return ordered({*SCHEMES[scheme].groups, *groups}, scheme)


def _records(table: pd.DataFrame) -> list[dict]:
    return table.to_dict("records")


def _plain(value: Any) -> Any:
    """Python values that JSON knows; NaN becomes null."""
    if isinstance(value, dict):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value if not isinstance(value, str) else str(value)
