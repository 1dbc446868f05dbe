"""Work in progress on the screen: one polling fragment per page that stops by itself.

No widgets inside and no fragment within a fragment: both are known to break on reload (issues
11660, 10719 and 15084 of Streamlit).
"""

from __future__ import annotations

from collections.abc import Callable

import streamlit as st

from dashboard.backend.views import JobState, JobView
from dashboard.components import chips, state
from dashboard.components.words import capital, escaped, time_left

POLL_SECONDS = 2.0
EPOCH_SHARE = "epoch_share"
"""Figure that training reports within an epoch: how much of the epoch is done, 0 to 1."""

STAGES = {
    "images": "Read the photographs",
    "fit": "Train the classifier",
    "sensitivity": "Find the sensitive layers",
    "measured": "Squeeze one layer after the other",
    "training": "Compress and train",
    "rounding": "Round, each layer making up for the one before",
    "norms": "Fit the norms to the rounded weights",
    "audit": "Judge on the audit photographs",
    "saliency": "Draw the maps",
    "exact file": "Write the exact file",
    "exact check": "Compare the exact file with the audit",
    "fast file": "Write the fast file",
    "fast check": "Measure the fast file",
    "own audit": "Audit the file by its own predictions",
    "report": "Write the report",
}
"""Stages of all jobs -> what a person reads."""


def follow(job_id: str, draw: Callable[[JobView], None], key: str) -> None:
    """Draw a job every two seconds until it ends, then run the whole page once more.

    Parameters
    ----------
    draw : draws the job without widgets.
    key : unique on the page.
    """
    active = state.services().job(job_id).state.active

    @st.fragment(run_every=POLL_SECONDS if active else None, key=key)
    def panel() -> None:
        job = state.services().job(job_id)
        draw(job)
        if active and not job.state.active:
            st.rerun()

    panel()


def fraction(job: JobView) -> float:
    """How much of the present stage is done, 0 to 1."""
    if job.state == JobState.FINISHED:
        return 1.0
    if not job.steps:
        return 0.0
    # While an epoch runs its number is reported already; what counts is how much of it is done.
    running = EPOCH_SHARE in job.figures
    done = job.step - 1 + float(job.figures[EPOCH_SHARE]) if running else job.step
    return min(1.0, max(0.0, done / job.steps))


def progress_text(job: JobView) -> str:
    """Return "Training · epoch 3 of 10 · about 12 minutes left"."""
    if job.state == JobState.QUEUED:
        return "Waiting for its turn"
    stage = STAGES.get(job.stage, capital(job.stage)) or "Starting"
    message = "" if job.message.lower() == stage.lower() else job.message
    parts = [stage, message, time_left(job.seconds_left)]
    return " · ".join(escaped(part) for part in parts if part)


def progress(job: JobView) -> None:
    """Draw the bar and its text, or how the job ended."""
    if job.cancel_requested and job.state.active:
        st.progress(fraction(job), text="Stopping…")
    elif job.state.active:
        st.progress(fraction(job), text=progress_text(job))
    else:
        ended(job)


def ended(job: JobView) -> None:
    """Draw the state of a job that is no longer active, with its error sentence."""
    chips.STATES[job.state].draw()
    if job.error:
        st.error(escaped(job.error))


def job_panel(job: JobView, key: str) -> None:
    """Progress of a job with its cancel or resume button, for pages that wait for one result."""
    state.services().ensure_worker()
    follow(job.id, progress, key)
    controls(job, key)


def seen(job: JobView | None) -> None:
    """Take a finished job out of the inbox: the person is looking at its result."""
    if job is not None and job.state == JobState.FINISHED and not job.seen:
        state.services().mark_seen(job.id)


def controls(job: JobView, key: str) -> None:
    """Cancel an active job, resume one that stopped."""
    if job.state.active:
        pressed = st.button(
            "Cancel", key=f"{key}_cancel", icon=":material/stop:", disabled=job.cancel_requested
        )
        if pressed:
            state.services().cancel(job.id)
            st.rerun()
    elif job.state.resumable and st.button(
        "Resume", key=f"{key}_resume", icon=":material/play_arrow:"
    ):
        state.services().resume(job.id)
        st.rerun()
