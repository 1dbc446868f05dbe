"""Cards and lists of jobs for the inbox and the runs page."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd
import streamlit as st
from streamlit.delta_generator import DeltaGenerator

from dashboard.backend.views import CaseView, JobKind, JobState, JobView, RunView
from dashboard.components import chips, live, state
from dashboard.components.run_sentences import achieved
from dashboard.components.words import KIND_TITLES, escaped, short, when

PAGE_OF_KIND = {
    JobKind.PREPARE: "case",
    JobKind.SENSITIVITY: "sensitivity",
    JobKind.RUN: "runs",
    JobKind.SALIENCY: "saliency",
    JobKind.EXPORT: "review",
    JobKind.REPORT: "report",
}


def job_title(job: JobView) -> str:
    """Name a job for a person."""
    return escaped(job.title or KIND_TITLES[job.kind])


def destination(job: JobView) -> tuple[str, str | None]:
    """Return the page that shows a job, and the run it is about."""
    page = PAGE_OF_KIND[job.kind]
    if job.kind == JobKind.RUN:
        return ("compare" if job.state == JobState.FINISHED else page), job.id
    return page, job.run_id


def card(job: JobView, case_titles: dict[str, str]) -> tuple[DeltaGenerator, DeltaGenerator]:
    """Open a card with its title; return the slot for its body and the row for its buttons."""
    box = st.container(border=True, key=f"card_{job.id}", gap="small")
    head = box.container(horizontal=True, vertical_alignment="center", gap="small")
    head.markdown(f"**{job_title(job)}**", width="content")
    head.caption(escaped(case_titles.get(job.case_id, "")), width="content")
    body = box.container(gap="small")
    return body, box.container(horizontal=True, gap="small")


def open_button(job: JobView, label: str = "Open", primary: bool = False) -> None:
    """Go to the page that shows the job; a finished or failed one then counts as seen."""
    pressed = st.button(
        label,
        key=f"open_{job.id}",
        icon=":material/arrow_forward:",
        type="primary" if primary else "secondary",
    )
    if pressed:
        if not job.state.active:
            state.services().mark_seen(job.id)
        page, run_id = destination(job)
        state.go(page, job.case_id, run_id)


def running_cards(jobs: Sequence[JobView], case_titles: dict[str, str]) -> None:
    """Cards whose progress moves by itself; their buttons stand outside the polling fragment."""
    slots = {}
    for job in jobs:
        body, buttons = card(job, case_titles)
        slots[job.id] = body
        with buttons:
            open_button(job, "Watch")
            live.controls(job, f"running_{job.id}")

    @st.fragment(run_every=live.POLL_SECONDS, key="inbox_running")
    def poll() -> None:
        now = [state.services().job(job_id) for job_id in slots]
        for job in now:
            with slots[job.id]:
                live.progress(job)
        if any(not job.state.active for job in now):
            st.rerun()

    poll()


def review_card(run: RunView, case_titles: dict[str, str]) -> None:
    """A finished run that waits for a person."""
    body, buttons = card(run, case_titles)
    with body, st.container(horizontal=True, gap="small"):
        chips.verdict_chip(run.verdict).draw()
        chips.REVIEWS[run.review_state].draw()
        st.caption(achieved(run), width="content")
    with buttons:
        open_button(run, "Compare")
        if st.button("Review", key=f"review_{run.id}", icon=":material/rate_review:"):
            state.go("review", run.case_id, run.id)


def finished_card(job: JobView, case_titles: dict[str, str]) -> None:
    """Something that ended since the person last looked."""
    body, buttons = card(job, case_titles)
    with body:
        st.caption(f"Finished {when(job.ended)}")
    with buttons:
        open_button(job, "See the result")
        if st.button("Mark as seen", key=f"seen_{job.id}", type="tertiary"):
            state.services().mark_seen(job.id)
            st.rerun()


def failed_card(job: JobView, case_titles: dict[str, str]) -> None:
    """Something that stopped, with the reason and the way on."""
    body, buttons = card(job, case_titles)
    with body:
        live.ended(job)
    with buttons:
        live.controls(job, f"failed_{job.id}")
        open_button(job, "Details")
        if st.button("Dismiss", key=f"seen_{job.id}", type="tertiary"):
            state.services().mark_seen(job.id)
            st.rerun()


def run_table(runs: Sequence[RunView], case_titles: dict[str, str] | None = None) -> pd.DataFrame:
    """List runs with what was asked, what came out and where they stand."""
    rows = [
        {
            "case": (case_titles or {}).get(run.case_id, ""),
            "method": run.method_title or run.method,
            "bits asked": run.bits,
            "bits achieved": run.achieved_bits,
            "size (MB)": run.bytes_packed / 1e6 if run.bytes_packed else None,
            "seed": run.seed,
            "epochs": run.epochs,
            "state": str(run.state),
            "verdict": run.verdict or "",
            "review": str(run.review_state),
            "created": when(run.created),
        }
        for run in runs
    ]
    frame = pd.DataFrame(rows)
    return frame.drop(columns="case") if rows and not case_titles else frame


def case_table(cases: Sequence[CaseView]) -> pd.DataFrame:
    """List cases with their data."""
    return pd.DataFrame(
        [
            {
                "case": case.title,
                "classifier": case.classifier.name,
                "cohort": case.cohort.name,
                "photographs": case.cohort.n,
                "groups": ", ".join(case.groups),
                "annotated by": case.group_source,
                "data": "synthetic" if case.cohort.synthetic else "real",
                "ready": case.ready,
                "created": when(case.created),
                "fingerprint": short(case.cohort.fingerprint),
            }
            for case in cases
        ]
    )
