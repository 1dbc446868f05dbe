"""Runs: how is training going?"""

from __future__ import annotations

import streamlit as st

from dashboard.backend.views import JobState
from dashboard.components import cards, live, page, state, tables
from dashboard.components.runs import board as board_sections
from dashboard.components.runs import sections
from dashboard.components.words import counted

QUESTION = "How is training going?"

case = page.need_case(QUESTION)
run = state.current().run
if run is None:
    page.opening(QUESTION, "No run has been started in this case.")
    if st.button("Choose a budget", type="primary", icon=":material/compress:"):
        state.go("budget")
    board_sections.several(case)
    page.end()

if run.state.active:
    state.services().ensure_worker()

st.title(QUESTION, anchor=False)
sections.live_panel(run, case.groups)

live.controls(run, "run")
live.seen(run)

board_sections.board(case, state.current().runs)
board_sections.several(case)

with tables.details("Configuration", "run_config", ":material/settings:") as is_open:
    if is_open:
        sections.configuration(run)
with tables.details("Log", "run_log", ":material/article:") as is_open:
    if is_open:
        sections.log(run)
runs = state.current().runs
label = f"All runs of this case ({counted(len(runs), 'run')})"
with tables.details(label, "run_board", ":material/list:") as is_open:
    if is_open:
        tables.table(cards.run_table(runs), "Runs of this case", "run_board")

if run.state == JobState.FINISHED:
    state.next_button("does anyone lose?", "compare")
