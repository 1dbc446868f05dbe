"""How every page opens: the question, the answer, and what to do when there is nothing to show."""

from __future__ import annotations

from typing import NoReturn

import streamlit as st

from dashboard.backend.views import CaseView, JobState, RunView
from dashboard.components import live, state
from dashboard.components.words import escaped
from fairquant_core.errors import FairQuantError

FROM_THE_TOP = "show_from_the_top"
SCROLL_UP = "<script>document.querySelector('[data-testid=\"stMain\"]').scrollTo(0, 0)</script>"


class PageEnd(Exception):
    """Leaves a page early; the entrypoint catches it, so that the script still comes to its end."""


def end() -> NoReturn:
    """Leave the page here.

    Not `st.stop`: after that Streamlit keeps the choices of widgets that are gone, and when they come
    back they show their defaults while the page still uses the old choices.
    """
    raise PageEnd


def refused(error: FairQuantError) -> None:
    """What is wrong, where a page cannot go on; what was drawn above it stays."""
    st.error(escaped(str(error)))
    st.caption("The page ends here. Nothing was changed or lost.")


def show_from_the_top() -> None:
    """Let the next page begin at its top, also where it is this one: then Streamlit keeps the place of before."""
    st.session_state[FROM_THE_TOP] = True


def opening(question: str, answer: str) -> None:
    """The question as the title and one sentence of answer below it."""
    if st.session_state.pop(FROM_THE_TOP, False):
        st.html(SCROLL_UP, unsafe_allow_javascript=True)
    with st.container(gap=None):
        st.title(question, anchor=False)
        st.header(answer, anchor=False)


def need_case(question: str) -> CaseView:
    """Return the case, or say that there is none and stop the page."""
    case = state.current().case
    if case is None:
        opening(question, "There is no case yet.")
        if st.button("New case", type="primary", icon=":material/add:"):
            state.go("case", view=state.NEW)
        end()
    return case


def need_prepared_case(question: str) -> CaseView:
    """Return the case once its photographs are decoded and scored; until then show that work."""
    case = need_case(question)
    if not case.ready:
        opening(question, "The case is still being prepared.")
        preparation(case)
        end()
    return case


def preparation(case: CaseView) -> None:
    """Progress of the job that decodes the photographs and scores the full-precision classifier."""
    if case.prepare_job is None:
        st.caption("No preparation was started for this case.")
        return
    live.job_panel(state.services().job(case.prepare_job), "prepare")


def need_finished_run(question: str) -> tuple[CaseView, RunView]:
    """Return case and finished run, or say what is missing, offer the way there, and stop."""
    case = need_case(question)
    run = state.current().run
    if run is None:
        opening(question, "No candidate yet: nothing has been compressed in this case.")
        if st.button("Choose a budget", type="primary", icon=":material/compress:"):
            state.go("budget")
        end()
    if run.state != JobState.FINISHED:
        opening(question, f"The candidate above is not finished: it is {run.state}.")
        if st.button("Watch the run", type="primary", icon=":material/monitoring:"):
            state.go("runs")
        end()
    return case, run
