"""Controls, consequences and the start button of the budget page."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pandas as pd
import streamlit as st

from dashboard.backend.views import CaseView, JobState, PlanPreview, RunView
from dashboard.components import data, state, tables
from dashboard.components.glossary import tip
from dashboard.components.sentences import equal_costs
from dashboard.components.words import escaped, percent
from fairquant_core.errors import FairQuantError
from fairquant_core.quantization.catalogue import GRANULARITIES, MENU, RunConfig

LOWEST, HIGHEST, STEP, DEFAULT = float(min(MENU)), float(max(MENU)), 0.1, 4.0
CONTROL = "full_precision"
"""The method that changes no bits; its budget is not shown."""

FAIRNESS = {
    "worst": "the worst-served group counts most",
    "gap": "the gap between groups counts",
    "none": "all images count the same",
}
GRANULARITY_TITLES = {"channel": "every channel its own bits", "layer": "every layer its own bits"}

CONSEQUENCE_COLUMNS = {
    "group": "Group",
    "n": st.column_config.NumberColumn("Audit photographs"),
    "accuracy now": tables.share("Accuracy now"),
    "predicted rise": tables.number("Predicted rise of the loss (nats)", 3, tip("loss")),
    "same bits everywhere": tables.number("The same bits everywhere (nats)", 3, tip("uniform")),
    "in plain words": "In plain words (predicted)",
}


def chosen() -> tuple[float, str]:
    """Budget and granularity as the controls stand (drawn later on the page)."""
    bits = st.session_state.get("budget_bits", DEFAULT)
    granularity = st.session_state.get("budget_granularity") or GRANULARITIES[0]
    return round(float(bits), 1), granularity


def slider() -> None:
    """Choose the average bits and how finely they may be spread."""
    st.session_state.setdefault("budget_bits", DEFAULT)
    st.slider(
        "Budget: average bits per weight",
        LOWEST,
        HIGHEST,
        step=STEP,
        format="%.1f",
        key="budget_bits",
        help=tip("budget"),
        width=420,
        persist_state="session",
    )
    st.selectbox(
        "Plan",
        GRANULARITIES,
        format_func=lambda name: GRANULARITY_TITLES[name],
        key="budget_granularity",
        width=250,
        help=tip("bit plan"),
        persist_state="session",
    )


def finished_runs(runs: Sequence[RunView], case: CaseView) -> pd.DataFrame:
    """[run, bits, megabytes, loss_rise] of finished runs, measured on the audit photographs."""
    known = tuple(group for group in case.groups if group != "unknown")
    rows = []
    for run in runs:
        if run.state != JobState.FINISHED or not run.bytes_packed or run.method == CONTROL:
            continue
        rise = data.measured_rise(run, known)
        if rise is not None:
            name = f"{run.method} {run.bits:g}"
            rows.append((name, run.bits, run.bytes_packed / 1e6, rise))
    return pd.DataFrame(rows, columns=["run", "bits", "megabytes", "loss_rise"])


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


def certificate_words(preview: PlanPreview) -> str:
    """Say how good the plan is in terms of what is provably possible."""
    return (
        f"{preview.requested_bits:g} bits asked, {preview.achieved_bits:.3f} achieved. "
        f"No plan of this size can be better by more than {percent(preview.certificate, 1)} "
        "for the worst group, by the prediction it is made from."
    )


def start(case: CaseView, bits: float, granularity: str) -> None:
    """Choose the method and start; the page then moves to the run."""
    methods = {method.name: method for method in state.services().methods()}
    left, middle, right = st.columns([2, 1, 1])
    name = left.selectbox(
        "Method",
        list(methods),
        format_func=lambda key: methods[key].title,
        key="run_method",
        persist_state="session",
    )
    method = methods[name]
    defaults = RunConfig()
    epochs = middle.number_input(
        "Epochs (passes over the photographs)",
        1,
        1000,
        defaults.epochs,
        key="run_epochs",
        disabled=not method.trains,
    )
    seed = right.number_input(
        "Seed", 0, 2**31 - 1, 0, key="run_seed", help="Another seed shows how much is chance."
    )
    st.caption(f"{escaped(method.sentence)}")
    config: dict[str, Any] = {
        "method": name,
        "bits": bits,
        "epochs": int(epochs),
        "seed": int(seed),
        "granularity": granularity,
    }
    with tables.details("More settings", "run_more", ":material/tune:") as is_open:
        if is_open:
            config |= _more(defaults)
    person = st.text_input(
        "Your name",
        key="person",
        persist_state="session",
        placeholder="for the audit log; without sign-in it is not checked",
    )
    if st.button("Start the run", type="primary", icon=":material/play_arrow:"):
        _start(case, config, person)


def _more(defaults: RunConfig) -> dict[str, Any]:
    left, middle, right = st.columns(3)
    fairness = left.selectbox(
        "What training cares about",
        list(FAIRNESS),
        index=list(FAIRNESS).index(defaults.fairness),
        format_func=lambda key: FAIRNESS[key],
        key="run_fairness",
    )
    weight = middle.number_input(
        "Weight of that", 0.0, 100.0, defaults.fairness_weight, step=0.1, key="run_fairness_weight"
    )
    batch = right.number_input("Batch size", 2, 1024, defaults.batch_size, key="run_batch")
    distil = st.toggle(
        "Learn from the full-precision classifier as well (distillation)",
        value=defaults.distillation,
        key="run_distillation",
    )
    return {
        "fairness": fairness,
        "fairness_weight": float(weight),
        "batch_size": int(batch),
        "distillation": distil,
    }


def _start(case: CaseView, config: dict[str, Any], person: str) -> None:
    try:
        run_id = state.services().start_run(case.id, config, person=person.strip())
    except FairQuantError as error:
        st.error(escaped(str(error)))
        return
    state.services().ensure_worker()
    state.go("runs", case.id, run_id)
