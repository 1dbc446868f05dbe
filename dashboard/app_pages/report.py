"""Report: what does the board read?"""

from __future__ import annotations

import streamlit as st

from dashboard.components import live, page, report_sections, state
from dashboard.components.words import escaped
from fairquant_core.errors import FairQuantError

QUESTION = "What does the board read?"

case, run = page.need_finished_run(QUESTION)
try:
    view = state.services().report_view(run.id)
except FairQuantError as error:
    page.opening(QUESTION, report_sections.STOPPED)
    st.error(escaped(str(error)))
    report_sections.make(case, run, None)
    st.stop()
page.opening(QUESTION, report_sections.report_sentence(view))
report_sections.make(case, run, view)
if view is not None and view.files:
    live.seen(view.job)
    report_sections.downloads(view)
    report_sections.preview(view)
    report_sections.checklist(view)

state.next_button("may it leave?", "review")
