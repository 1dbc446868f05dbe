"""Review and export: may it leave?"""

from __future__ import annotations

import streamlit as st

from dashboard.components import export_sections, page, review_sections, state, tables
from dashboard.components.sentences import review_sentence

QUESTION = "May it leave?"

case, run = page.need_finished_run(QUESTION)
services = state.services()
review = services.review(run.id)
page.opening(QUESTION, review_sentence(review, case.limits))

review_sections.verdict_table(case, review)
export_sections.check(case, run, services.audit(run.id))

left, right = st.columns(2, gap="large")
with left:
    review_sections.decision_form(run, review)
with right:
    review_sections.export(run, review)
    review_sections.decisions(review)

with tables.details(
    "Fingerprints this decision is bound to", "review_hashes", ":material/tag:"
) as is_open:
    if is_open:
        review_sections.hashes(review)
with tables.details("Audit log", "review_log", ":material/history:") as is_open:
    if is_open:
        review_sections.audit_log()

state.next_button("what does the board read?", "report")
