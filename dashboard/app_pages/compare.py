"""Compare: does anyone lose?"""

from __future__ import annotations

import streamlit as st

from dashboard.components import choices, data, live, page, state, tables
from dashboard.components.charts import full_audit as charts
from dashboard.components.compare import full_audit as full_audit_sections
from dashboard.components.compare import group_questions, pairs, sections
from dashboard.components.sentences import compare_sentence

QUESTION = "Does anyone lose?"
SHORT, FULL = "In short", "In full"

case, run = page.need_finished_run(QUESTION)
live.seen(run)
own = data.comparison(run, case.scheme)
page.opening(QUESTION, compare_sentence(own.verdicts, own.differences, case.limits))
sections.verdict_row(own.verdicts, own.differences, case.limits)

scheme = sections.chosen_scheme(case)
measures = data.measures(run)
shown = sections.chosen_measure(case, measures)
titles = data.comparable(run)
others = {key: title for key, title in titles.items() if key not in own.models}
beside = sections.chosen_beside(others)
rows = data.measure_rows(run, shown.title, scheme, beside)
groups = [group for group in dict.fromkeys(rows["group"]) if group != "unknown"]
models = [*sections.in_order(own.models), *(others[one] for one in beside)]
tables.chart(
    charts.measure_dots(rows, groups, models, shown),
    "compare_dots",
    charts.measure_alt(rows, groups, models, shown),
)
with st.container(horizontal=True, gap="medium", vertical_alignment="bottom"):
    reading = choices.segmented(
        "Read it", [SHORT, FULL], default=SHORT, required=True, key="compare_reading"
    )
    sections.scheme_control(case)
    sections.measure_control(case, shown, measures)
    sections.beside_control(others, beside)
sections.measure_twin(rows, shown)

pair = pairs.of_the_run(run)
if reading == FULL:
    st.subheader("What changed between two classifiers", anchor=False)
    pair = pairs.controls(run)
    comparable = pairs.in_full(case, run, pair, scheme, shown)
    if comparable and full_audit_sections.in_full(case, run, pair, scheme):
        group_questions.in_full(case, run, pair)
pairs.flips(case, run, pair, scheme)

state.next_button("does it still look at the lesion?", "saliency")
