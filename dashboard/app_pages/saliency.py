"""Saliency: does it still look at the lesion?"""

from __future__ import annotations

import streamlit as st

from dashboard.components import choices, data, live, page, state, tables
from dashboard.components.charts.saliency import DRIFT, OVERLAP
from dashboard.components.saliency import flips, gallery, lesion, sections
from dashboard.components.sentences import COMPLETENESS_NOTE

QUESTION = "Does it still look at the lesion?"
SHORT, FULL = "In short", "In full"

case, run = page.need_finished_run(QUESTION)
services = state.services()
methods = services.saliency_methods()
choice = sections.chosen(case, run, methods)
view = data.saliency(run, choice)
job = services.saliency_job(run.id, choice)

if view is None:
    page.opening(QUESTION, "These maps have not been drawn yet.")
    with st.container(border=True):
        sections.choice_controls(case, run, choice, methods)
    if job is None or job.state == "finished":
        sections.start(run, choice)
    else:
        live.job_panel(job, "saliency")
    st.caption(COMPLETENESS_NOTE)
    page.end()

live.seen(job)
page.opening(QUESTION, lesion.answer(view))
if job is None or not job.state.active:
    lesion.redraw(run, choice, view)
picture_slot = st.container()
with st.container(border=True):
    reading = choices.segmented(
        "Read it", [SHORT, FULL], default=SHORT, required=True, key="saliency_reading"
    )
    sections.choice_controls(case, run, choice, methods)
    shelf = gallery.controls(view, reading == FULL)
with picture_slot:
    gallery.pictures(case, run, view, shelf)
st.caption(COMPLETENESS_NOTE)
if job is not None and job.state != "finished":
    # Further maps, or these with new masks; what was drawn before stays above.
    live.job_panel(job, "saliency")
flips.section(run, choice, view, job)
flips.unknown(case, run, choice, view, shelf, job)

lesion.section(case, view)
st.subheader("How far the gaze moved, per group", anchor=False)
sections.groups_chart(case, view, OVERLAP)
if reading == FULL:
    sections.groups_chart(case, view, DRIFT)
st.caption(sections.sample_words(view))
sections.group_table(view)
if reading == FULL:
    st.caption(sections.completeness_words(view))
    with tables.details("Every photograph", "saliency_images", ":material/list:") as is_open:
        if is_open:
            sections.image_table(view)
    with tables.details("All notes", "saliency_notes", ":material/edit_note:") as is_open:
        if is_open:
            sections.note_table(run, view)

state.next_button("may it leave?", "review")
