"""Compare: does anyone lose?"""

from __future__ import annotations

import streamlit as st

from dashboard.components import (
    compare_sections,
    data,
    full_audit_sections,
    group_question_sections,
    live,
    page,
    state,
    tables,
)
from dashboard.components.charts import comparison as charts
from dashboard.components.sentences import compare_sentence

QUESTION = "Does anyone lose?"
SHORT, FULL = "In short", "In full"

case, run = page.need_finished_run(QUESTION)
live.seen(run)
scheme = compare_sections.chosen_scheme(case)
view = data.comparison(run, scheme)
own = view if scheme == case.scheme else data.comparison(run, case.scheme)
page.opening(QUESTION, compare_sentence(own.verdicts, own.differences, case.limits.margin))
compare_sections.verdict_row(own.verdicts, own.differences)

shown = ["overall", *(group for group in view.groups if group != "unknown")]
models = compare_sections.in_order(view.models)
tables.chart(
    charts.accuracy_dots(view.accuracy, shown, models),
    "compare_dots",
    charts.accuracy_alt(view.accuracy, shown),
)
with st.container(horizontal=True, gap="large", vertical_alignment="bottom"):
    reading = st.segmented_control(
        "Read it", [SHORT, FULL], default=SHORT, required=True, key="compare_reading"
    )
    compare_sections.scheme_control(case)
shares = {name: tables.share(f"{name} (%)") for name in ("accuracy", "low", "high")}
accuracy = tables.in_percent(view.accuracy, list(shares))
tables.twin(accuracy, "Accuracy per group and model", "compare_dots", shares)

if reading == FULL:
    compare_sections.in_full(case, view)
    full_audit_sections.in_full(run)
    group_question_sections.in_full(run)
compare_sections.flips(case, view.flips)

state.next_button("does it still look at the lesion?", "saliency")
