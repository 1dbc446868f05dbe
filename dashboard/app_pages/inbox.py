"""Inbox: what needs me?"""

from __future__ import annotations

import streamlit as st

from dashboard.components import cards, state, tables
from dashboard.components.page import opening
from dashboard.components.sentences import inbox_sentence
from dashboard.components.words import escaped

QUESTION = "What needs me?"

services = state.services()
services.ensure_worker()
inbox = services.inbox()
place = state.current()
titles = {case.id: case.title for case in place.cases}

opening(QUESTION, inbox_sentence(inbox))

if services.start_problem:
    st.warning(escaped(services.start_problem), title="The demo case could not be made")

with st.container(horizontal=True):
    if place.case and st.button("Open the case", icon=":material/groups:", type="primary"):
        state.go("case")
    if st.button("New case", icon=":material/add:"):
        state.go("case", view=state.NEW)

if inbox.running:
    st.subheader("Running", anchor=False)
    cards.running_cards(inbox.running, titles)
if inbox.awaiting_review:
    st.subheader("Awaiting review", anchor=False)
    for run in inbox.awaiting_review:
        cards.review_card(run, titles)
if inbox.failed:
    st.subheader("Failed or interrupted", anchor=False)
    for job in inbox.failed:
        cards.failed_card(job, titles)
if inbox.unseen_finished:
    st.subheader("Finished and not yet seen", anchor=False)
    for job in inbox.unseen_finished:
        cards.finished_card(job, titles)

with tables.details("All cases", "inbox_cases", ":material/folder:") as is_open:
    if is_open:
        if place.cases:
            tables.table(cards.case_table(place.cases), "All cases", "inbox_cases")
        else:
            st.caption("There is no case yet.")
with tables.details("All runs", "inbox_runs", ":material/list:") as is_open:
    if is_open:
        runs = services.runs()
        if runs:
            tables.table(cards.run_table(runs, titles), "All runs", "inbox_runs")
        else:
            st.caption("No run has been started yet.")

if place.case:
    state.next_button("what are we judging, on whom?", "case")
