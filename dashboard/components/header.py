"""The strip on every page: case, cohort, groups with their source, candidate and its verdict."""

from __future__ import annotations

from collections.abc import Sequence

import streamlit as st

from dashboard.backend.views import CaseView, JobState, RunView
from dashboard.components import chips, state
from dashboard.components.glossary import tip
from dashboard.components.limit_words import limit_sentence
from dashboard.components.words import counted, escaped, groups_with_source


def run_label(run: RunView) -> str:
    """Name a run in a list: "FairQuant BAQ, 4 bits, seed 0"."""
    text = f"{run.method_title or run.method}, {run.bits:g} bits, seed {run.seed}"
    return text if run.state == JobState.FINISHED else f"{text} ({run.state})"


def run_labels(runs: Sequence[RunView]) -> dict[str, str]:
    """Id -> label; two of the same label show their ids, or a choice would find the first only."""
    labels = [run_label(run) for run in runs]
    return {
        run.id: label if labels.count(label) == 1 else f"{label} ({run.id[-4:]})"
        for run, label in zip(runs, labels, strict=True)
    }


def strip(place: state.Place) -> None:
    """Draw the strip with the two selectors."""
    if place.notice:
        st.warning(place.notice)
    with st.container(border=True, key="header", gap="xsmall"):
        case_column, run_column = st.columns(2)
        with case_column:
            _case_selector(place)
        with run_column:
            _run_selector(place)
        with st.container(horizontal=True, gap="xsmall", vertical_alignment="center"):
            _chips(place)
            if place.case:
                st.caption(caption(place.case), width="content")


def caption(case: CaseView) -> str:
    """Say who is judged, with scale and source of the groups."""
    groups = groups_with_source(case.groups, case.group_source)
    audit = case.cohort.n_by_split.get("audit", 0)
    limit = escaped(limit_sentence(case.limits))
    return (
        f"{counted(case.cohort.n, 'photograph')}, {audit:,} of them locked for the audit · "
        f"groups: {escaped(groups)} · limit: {limit}"
    )


def _case_selector(place: state.Place) -> None:
    if not place.case:
        st.markdown("**No case yet**")
        return
    titles = {case.id: case.title for case in place.cases}
    st.session_state["choose_case"] = place.case.id
    st.selectbox(
        "Case",
        list(titles),
        format_func=lambda case_id: titles.get(case_id, case_id),
        key="choose_case",
        on_change=state.choose,
        args=("case",),
        help=tip("case"),
    )


def _run_selector(place: state.Place) -> None:
    if not place.run:
        st.selectbox(
            "Candidate", ["No run yet"], disabled=True, key="no_run", help=tip("candidate")
        )
        return
    labels = run_labels(place.runs)
    st.session_state["choose_run"] = place.run.id
    st.selectbox(
        "Candidate",
        list(labels),
        format_func=lambda run_id: labels.get(run_id, run_id),
        key="choose_run",
        on_change=state.choose,
        args=("run",),
        help=tip("candidate"),
    )


def _chips(place: state.Place) -> None:
    if place.case and place.case.cohort.synthetic:
        chips.SYNTHETIC.draw(
            "Drawn by a program; no patient. Nothing here says anything about real people."
        )
    run = place.run
    if run is None:
        return
    if run.state != JobState.FINISHED:
        chips.STATES[run.state].draw()
        return
    chips.verdict_chip(run.verdict).draw(tip("verdict"))
    chips.REVIEWS[run.review_state].draw(tip("review"))
