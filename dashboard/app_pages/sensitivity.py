"""Sensitivity: which layers matter to whom?"""

from __future__ import annotations

import streamlit as st

from dashboard.components import data, live, page, sensitivity_sections, state, tables
from dashboard.components.charts import sensitivity as charts
from dashboard.components.glossary import tip
from dashboard.components.sentences import no_sensitivity_sentence, sensitivity_sentence

QUESTION = "Which layers matter to whom?"

case = page.need_prepared_case(QUESTION)
services = state.services()
job = services.sensitivity_job(case.id)
maps = data.sensitivity(case)

if maps is None:
    page.opening(QUESTION, no_sensitivity_sentence(case, job is not None and job.state.active))
    if job is None:
        sensitivity_sections.start(case)
    else:
        live.job_panel(job, "sensitivity")
    page.end()

live.seen(job)
measured, predicted = maps
bits, measure = sensitivity_sections.chosen(measured, predicted)
values = sensitivity_sections.values(maps, bits, measure)
page.opening(QUESTION, sensitivity_sentence(values, predicted.layers, bits, measure))
if outdated := sensitivity_sections.outdated(predicted):
    st.warning(outdated, icon=":material/history:")
if job is not None and job.state != "finished":
    live.job_panel(job, "sensitivity")

figure_slot = st.container()
sensitivity_sections.controls(measured, predicted)
groups = [group for group in case.groups if group in set(values["group"])]
shown = sensitivity_sections.shown_layers(values, predicted.layers)
plan, plan_name = sensitivity_sections.plan_of_run(state.current().run)
numbers = {layer: place for place, layer in enumerate(predicted.layers, 1)}
with figure_slot:
    tables.chart(
        charts.heatmap(values, shown, groups, measure, plan, numbers),
        "heatmap",
        charts.heatmap_alt(values, measure, bits),
    )
    st.caption(sensitivity_sections.reading(measure, plan_name))
    if missing := sensitivity_sections.left_out(case, groups):
        st.caption(missing)
tables.twin(charts.readable(values, measure), f"Sensitivity at {bits} bits", "heatmap")

st.subheader("One layer over all its bits", anchor=False)
layer = st.selectbox(
    "Layer",
    list(predicted.layers),
    index=predicted.layers.index(sensitivity_sections.worst_layer(values, predicted.layers)),
    format_func=lambda name: f"{numbers[name]} · {name}",
    key="sensitivity_layer",
    help=tip("layer"),
    persist_state="session",
)
rows = sensitivity_sections.layer_rows(maps, layer, measure)
if rows["bits"].nunique() > 1:
    tables.chart(
        charts.layer_curve(rows, groups, measure),
        "layer_curve",
        charts.layer_alt(rows, layer, measure),
    )
else:
    st.caption("Only one width was measured. Measure more widths below to see the curve.")
tables.twin(
    charts.readable(rows, measure), f"Cost of {layer}", "layer_curve", label="The layer as a table"
)

label = "Measure again, with other widths"
with tables.details(label, "sensitivity_again", ":material/straighten:") as is_open:
    if is_open:
        sensitivity_sections.start(case)

state.next_button("how small can it get?", "budget")
