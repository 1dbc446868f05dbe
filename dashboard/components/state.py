"""Where we are: the services, and the case and run that the address names.

The address (``?case=...&run=...``) is the only memory of the place; what is true is in the store.
Session state hands the place from the entrypoint to the page of the same run, no further.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import streamlit as st

from dashboard.backend.views import CaseView, JobState, RunView
from fairquant_core.errors import FairQuantError

if TYPE_CHECKING:
    from dashboard.backend.services import Services

CURRENT = "current_place"
NEW = "new"
"""Value of the query parameter "view" that opens the form for a new case."""

PAGES = {
    "inbox": "app_pages/inbox.py",
    "case": "app_pages/case.py",
    "sensitivity": "app_pages/sensitivity.py",
    "budget": "app_pages/budget.py",
    "runs": "app_pages/runs.py",
    "compare": "app_pages/compare.py",
    "saliency": "app_pages/saliency.py",
    "review": "app_pages/review.py",
    "report": "app_pages/report.py",
}


@dataclass(frozen=True)
class Place:
    """The case and run that the page is about.

    Attributes
    ----------
    case, run : None when there is none yet.
    cases, runs : what can be chosen instead; runs of this case only, newest first.
    notice : what to tell the person when the address named something that does not exist.
    """

    case: CaseView | None
    run: RunView | None
    cases: tuple[CaseView, ...]
    runs: tuple[RunView, ...]
    notice: str = ""


@st.cache_resource(show_spinner=False)
def services() -> Services:
    """Open the backend once per server; tests put a fake here."""
    from dashboard.backend.services import open_services

    return open_services()


def arrive() -> Place:
    """Look up the place that the address names. Called by the entrypoint on every page run.

    An address without a case means the default one and stays as it is; only a name that does not
    exist is corrected, because every correction adds an entry to the browser's history.
    """
    named = st.query_params
    place = find_place(named.get("case", ""), named.get("run", ""))
    st.session_state[CURRENT] = place
    for name, found in (("case", place.case), ("run", place.run)):
        if name in named and named[name] != (found.id if found else None):
            if found:
                named[name] = found.id
            else:
                del named[name]
    return place


def current() -> Place:
    """The place as the entrypoint found it at the start of this page run."""
    return st.session_state[CURRENT]


def find_place(case_id: str, run_id: str) -> Place:
    """Look up a case and run by id; what is missing or wrong falls back to the default."""
    cases = tuple(services().cases())
    notice = ""
    wanted_run = _run_or_none(run_id)
    if wanted_run is not None and not case_id:
        case_id = wanted_run.case_id
    case = next((known for known in cases if known.id == case_id), None)
    if case is None:
        if case_id:
            notice = "The case in the address does not exist here; this is the default case."
        case = services().default_case()
    if case is None:
        return Place(None, None, cases, (), notice)
    runs = tuple(services().runs(case.id))
    run = next((known for known in runs if known.id == run_id), None)
    return Place(case, run or default_run(runs), cases, runs, notice)


def default_run(runs: tuple[RunView, ...]) -> RunView | None:
    """The newest finished run, else the newest one."""
    finished = (run for run in runs if run.state == JobState.FINISHED)
    return next(finished, runs[0] if runs else None)


def address(place: Place) -> dict[str, str]:
    """The query parameters that name a place."""
    return query(place.case.id if place.case else None, place.run.id if place.run else None)


def query(case_id: str | None, run_id: str | None) -> dict[str, str]:
    """Query parameters of the ids that are there."""
    return {name: value for name, value in (("case", case_id), ("run", run_id)) if value}


def go(page: str, case_id: str | None = None, run_id: str | None = None, **more: str) -> None:
    """Open a page at a place; without a case, at the present one."""
    where = query(case_id, run_id) if case_id or run_id else address(current())
    st.switch_page(PAGES[page], query_params=where | more)


def next_button(
    label: str, page: str, case_id: str | None = None, run_id: str | None = None
) -> None:
    """The one step onwards at the end of every page."""
    st.space("small")
    pressed = st.button(
        f"Next: {label}",
        key="next",
        type="primary",
        icon=":material/arrow_forward:",
        icon_position="right",
    )
    if pressed:
        go(page, case_id, run_id)


def choose(name: str) -> None:
    """Callback of the selectors in the header strip: write the choice into the address."""
    chosen = st.session_state[f"choose_{name}"]
    st.query_params.pop("view", None)
    if name == "case":
        st.query_params.pop("run", None)
    st.query_params[name] = chosen


def _run_or_none(run_id: str) -> RunView | None:
    if not run_id:
        return None
    try:
        return services().run(run_id)
    except FairQuantError:
        return None
