"""Review and export: may it leave?"""

from __future__ import annotations

import streamlit as st

from dashboard.components import page, state, tables
from dashboard.components.review import export as export_sections
from dashboard.components.review import sections
from dashboard.components.sentences import review_sentence

QUESTION = "May it leave?"

case, run = page.need_finished_run(QUESTION)
services = state.services()
review = services.review(run.id)
page.opening(QUESTION, review_sentence(review, case.limits))

sections.verdict_table(case, review)
export_sections.check(case, run, services.audit(run.id))

left, right = st.columns(2, gap="large")
with left:
    sections.decision_form(run, review)
with right:
    sections.export(run, review)
    sections.decisions(review)

with tables.details(
    "Fingerprints this decision is bound to", "review_hashes", ":material/tag:"
) as is_open:
    if is_open:
        sections.hashes(review)
with tables.details("Audit log", "review_log", ":material/history:") as is_open:
    if is_open:
        sections.audit_log()

state.next_button("what does the board read?", "report")
