"""What a budget means for each group, and how good the plan is."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd
import streamlit as st

from dashboard.backend.views import CaseView, JobState, PlanPreview, RunView
from dashboard.components import data, tables
from dashboard.components.budget.controls import Asked, described
from dashboard.components.budget.run_form import CONTROL
from dashboard.components.charts.budget import Chosen
from dashboard.components.glossary import tip
from dashboard.components.sentences import equal_costs
from dashboard.components.words import megabytes, nats, percent
from fairquant_core.quantization.catalogue import MENU

HARDLY = 0.01
"""A price below this share of the cost itself is not worth a number."""

CONSEQUENCE_COLUMNS = {
    "group": "Group",
    "n": st.column_config.NumberColumn("Audit photographs"),
    "accuracy now": tables.share("Accuracy now"),
    "predicted rise": tables.number("Predicted rise of the loss (nats)", 3, tip("loss")),
    "same bits everywhere": tables.number("The same bits everywhere (nats)", 3, tip("uniform")),
    "in plain words": "In plain words (predicted)",
}


def finished_runs(runs: Sequence[RunView], case: CaseView) -> pd.DataFrame:
    """[method, bits, megabytes, loss_rise] of finished runs, measured on the audit photographs."""
    known = tuple(group for group in case.groups if group != "unknown")
    rows = []
    for run in runs:
        if run.state != JobState.FINISHED or not run.bytes_packed or run.method == CONTROL:
            continue
        rise = data.measured_rise(run, known)
        if rise is not None:
            method = run.method_title or run.method
            rows.append((method, run.bits, run.bytes_packed / 1e6, rise))
    return pd.DataFrame(rows, columns=["method", "bits", "megabytes", "loss_rise"])


def chosen_point(asked: Asked, preview: PlanPreview) -> Chosen:
    """Where the plan lies on the figure, named by what was asked."""
    label = f"{asked.bits:g} bits" if asked.size_bytes is None else megabytes(asked.size_bytes)
    return Chosen(label, preview.bytes / 1e6, max(preview.predicted.values(), default=float("nan")))


def consequences(
    case: CaseView, preview: PlanPreview, curve: pd.DataFrame, bits: float
) -> pd.DataFrame:
    """One row per group: today's accuracy, the predicted cost, the cost of the uniform way."""
    baseline = data.baseline(case)
    now = baseline.by_group.set_index("group") if baseline is not None else pd.DataFrame()
    width = min(MENU, key=lambda menu_bits: abs(menu_bits - bits))
    uniform = curve[(curve["kind"] == "uniform") & (curve["bits"] == width)].set_index("group")
    worst = max(preview.predicted, key=lambda group: preview.predicted[group], default=None)
    equal = bool(preview.predicted) and equal_costs(preview.predicted)
    rows = []
    for group, rise in preview.predicted.items():
        share = "pays the same" if equal else "pays most" if group == worst else "pays less"
        naive = uniform["predicted_loss_rise"].get(group)
        rows.append(
            {
                "group": group,
                "n": int(now["n"].get(group, 0)) if len(now) else None,
                "accuracy now": now["accuracy"].get(group) if len(now) else None,
                "predicted rise": rise,
                "same bits everywhere": naive,
                "in plain words": plain_consequence(rise, naive, width, share),
            }
        )
    return tables.in_percent(pd.DataFrame(rows), ["accuracy now"])


def plain_consequence(rise: float, naive: float | None, width: int, text: str) -> str:
    """Say what a predicted cost means beside the simple way of the same size."""
    if naive is None or naive <= 0:
        return text
    share = rise / naive
    if share < 0.5:
        return f"{text}; far less harm than {width} bits everywhere"
    if share < 0.95:
        return f"{text}; {percent(1 - share)} less harm than {width} bits everywhere"
    if share > 1.05:
        return f"{text}; more harm than {width} bits everywhere"
    return f"{text}; as much harm as {width} bits everywhere"


def price_of_wishes(case: CaseView, asked: Asked, preview: PlanPreview) -> str:
    """Name the wishes and what they cost beside the plan of as many bits without them; empty without any."""
    if not asked.narrowing or not preview.predicted:
        return ""
    text = f"Wishes: {described(asked)}"
    free = data.plan_preview(case, preview.achieved_bits, asked.granularity)
    if free is None:
        return f"{text}."
    usual = max(free.predicted.values())
    price = max(preview.predicted.values()) - usual
    if abs(price) <= HARDLY * usual:
        return f"{text}. They cost the worst group next to nothing."
    verb, size = ("cost", price) if price > 0 else ("spare", -price)
    return (
        f"{text}. They {verb} the worst group {nats(size)}, beside the plan of as many bits without them "
        "(predicted)."
    )


def certificate_words(preview: PlanPreview) -> str:
    """Say how good the plan is in terms of what is provably possible."""
    return (
        f"{round(preview.requested_bits, 3):g} bits asked, {preview.achieved_bits:.3f} achieved. "
        f"No plan of this size can be better by more than {percent(preview.certificate, 1)} "
        "for the worst group, by the prediction it is made from."
    )
