"""Saliency: does it still look at the lesion?"""

from __future__ import annotations

import streamlit as st

from dashboard.components import data, live, page, saliency_sections, state, tables
from dashboard.components.charts import saliency as charts
from dashboard.components.sentences import COMPLETENESS_NOTE, saliency_sentence

QUESTION = "Does it still look at the lesion?"

case, run = page.need_finished_run(QUESTION)
services = state.services()
methods = services.saliency_methods()
method = saliency_sections.chosen_method(methods)
view = data.saliency(run, method)
job = services.saliency_job(run.id, method)

if view is None:
    page.opening(QUESTION, "The maps for this candidate have not been drawn yet.")
    saliency_sections.method_control(methods)
    if job is None or job.state == "finished":
        saliency_sections.start(run, method)
    else:
        live.job_panel(job, "saliency")
    st.caption(COMPLETENESS_NOTE)
    st.stop()

live.seen(job)
by_group = saliency_sections.group_means(view)
page.opening(QUESTION, saliency_sentence(by_group))
picture_slot = st.container()
with st.container(border=True):
    rows, strength = saliency_sections.picture_controls(view, methods)
with picture_slot:
    saliency_sections.pictures(case, view, rows, strength)
st.caption(COMPLETENESS_NOTE)

st.subheader("How far the gaze moved, per group", anchor=False)
groups = [group for group in case.groups if group in set(by_group["group"])]
tables.chart(charts.overlap_dots(by_group, groups), "overlap", charts.overlap_alt(by_group))
tables.twin(by_group, "Saliency drift per group", "overlap")
with tables.details("Every photograph", "saliency_images", ":material/list:") as is_open:
    if is_open:
        saliency_sections.image_table(view)

state.next_button("may it leave?", "review")
