"""The form that starts a run: which method, how long, and what else it should care about."""

from __future__ import annotations

import math
from typing import Any

import streamlit as st

from dashboard.backend.views import CaseView, MethodView, PlanPreview
from dashboard.components import state, tables
from dashboard.components.budget.controls import Asked
from dashboard.components.words import escaped
from fairquant_core.errors import FairQuantError
from fairquant_core.quantization.catalogue import (
    FAIRNESS_TERMS,
    METHODS,
    RECOMMENDED,
    MethodCard,
    RunConfig,
)

FAIRNESS = {
    "worst": "the worst-served group counts most",
    "gap": "the gap between groups counts",
    "none": "all images count the same",
}
CONTROL = "full_precision"
"""The method that changes no bits; budget and wishes do not concern it."""


def start(case: CaseView, asked: Asked, preview: PlanPreview) -> None:
    """Choose the method and start; the page then moves to the run."""
    methods = {method.name: method for method in state.services().methods()}
    left, middle, right = st.columns([2, 1, 1])
    name = left.selectbox(
        "Method",
        in_order(list(methods)),
        format_func=lambda key: method_title(methods[key]),
        key="run_method",
        persist_state="session",
    )
    card = METHODS[name]
    defaults = RunConfig(method=name)
    epochs = middle.number_input(
        "Epochs (passes over the photographs)",
        1,
        1000,
        defaults.epochs,
        key="run_epochs",
        disabled=not card.trains,
    )
    seed = right.number_input(
        "Seed", 0, 2**31 - 1, 0, key="run_seed", help="Another seed shows how much is chance."
    )
    st.caption(explained(card, asked))
    config: dict[str, Any] = {
        "method": name,
        "epochs": int(epochs),
        "seed": int(seed),
        **budget_fields(card, asked, preview),
    }
    with tables.details("More settings", "run_more", ":material/tune:") as is_open:
        if is_open:
            config |= _more(card, defaults)
    person = st.text_input(
        "Your name",
        key="person",
        persist_state="session",
        placeholder="for the audit log; without sign-in it is not checked",
    )
    if st.button("Start the run", type="primary", icon=":material/play_arrow:"):
        _start(case, config, person)


def in_order(names: list[str]) -> list[str]:
    """The recommended methods first, those to compare with behind them."""
    return sorted(names, key=lambda name: name not in RECOMMENDED)


def method_title(method: MethodView) -> str:
    """A method in the list; what is there to be compared with says so."""
    if method.name in RECOMMENDED:
        return method.title
    return f"To compare with: {method.title}"


def explained(card: MethodCard, asked: Asked) -> str:
    """What the method does, where it comes from, and which wishes it cannot follow."""
    parts = [card.sentence]
    if card.source:
        parts.append(f"Source: {card.source}.")
    if card.name == CONTROL:
        parts.append("It keeps all its bits, so the budget does not concern it.")
    elif not card.mixed and asked.narrowing:
        parts.append("It gives every layer the same width, so the wishes above are not passed on.")
    elif card.mixed and card.allocate != "minimax":
        parts.append("Its own plan differs from the one shown above, which weighs the groups.")
    return escaped(" ".join(parts))


def budget_fields(card: MethodCard, asked: Asked, preview: PlanPreview) -> dict[str, Any]:
    """The budget as the method can take it, and the wishes that it can follow."""
    if card.name == CONTROL:
        return {}
    bits = asked.bits
    size = {}
    if asked.size_bytes is not None:
        size = {"size_bytes": asked.size_bytes}
        # A note for the lists; the run finds the very bits when it plans.
        bits = (
            round(preview.requested_bits, 3) if card.mixed else math.floor(preview.requested_bits)
        )
    if not card.mixed:
        return {"bits": bits, **size}
    wishes = dict(asked.narrowing)
    if card.allocate != "minimax":
        wishes.pop("group_weights", None)
    return {"bits": bits, "granularity": asked.granularity, **size, **wishes}


def _more(card: MethodCard, defaults: RunConfig) -> dict[str, Any]:
    left, middle, right = st.columns(3)
    fairness = left.selectbox(
        "What training cares about",
        FAIRNESS_TERMS,
        index=FAIRNESS_TERMS.index(defaults.fairness),
        format_func=lambda key: FAIRNESS[key],
        key=f"run_fairness_{card.name}",
        disabled=not card.trains,
    )
    weight = middle.number_input(
        "Weight of that",
        0.0,
        100.0,
        defaults.fairness_weight,
        step=0.1,
        key="run_fairness_weight",
        disabled=not card.trains,
    )
    batch = right.number_input(
        "Batch size", 2, 1024, defaults.batch_size, key="run_batch", disabled=not card.trains
    )
    distil = st.toggle(
        "Learn from the full-precision classifier as well (distillation)",
        value=defaults.distillation,
        key="run_distillation",
        disabled=not card.trains,
    )
    rounded = st.toggle(
        "Round the activations to 8 bits as well",
        key="run_activations",
        disabled=card.name == CONTROL,
        help="For programs that compute with whole numbers (int8). Otherwise leave it off.",
    )
    return {
        "fairness": fairness,
        "fairness_weight": float(weight),
        "batch_size": int(batch),
        "distillation": distil,
        "activation_bits": 8 if rounded and card.name != CONTROL else None,
    }


def _start(case: CaseView, config: dict[str, Any], person: str) -> None:
    try:
        run_id = state.services().start_run(case.id, config, person=person.strip())
    except FairQuantError as error:
        st.error(escaped(str(error)))
        return
    state.services().ensure_worker()
    state.go("runs", case.id, run_id)
