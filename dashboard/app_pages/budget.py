"""Budget: how small can it get, and who pays?"""

from __future__ import annotations

import streamlit as st

from dashboard.components import budget_sections, data, page, state, tables
from dashboard.components.charts import budget as charts
from dashboard.components.sentences import budget_sentence
from dashboard.components.words import escaped, megabytes
from fairquant_core.errors import FairQuantError

QUESTION = "How small can it get, and who pays?"

case = page.need_prepared_case(QUESTION)
curve = data.budget_curve(case)
if curve is None:
    page.opening(QUESTION, "First the layers have to be measured: the bit plan is made from that.")
    if st.button("Measure the layers", type="primary", icon=":material/straighten:"):
        state.go("sensitivity")
    st.stop()

bits, granularity = budget_sections.chosen()
try:
    preview = data.plan_preview(case, bits, granularity)
except FairQuantError as error:
    page.opening(QUESTION, "This budget cannot be met.")
    st.error(escaped(str(error)))
    budget_sections.slider()
    st.stop()

full_size = 1e6 * case.classifier.megabytes
page.opening(QUESTION, budget_sentence(bits, preview.bytes, full_size, preview.predicted))

runs = budget_sections.finished_runs(state.current().runs, case)
tables.chart(
    charts.tradeoff(curve, preview.bytes / 1e6, bits, runs),
    "tradeoff",
    charts.tradeoff_alt(curve, bits),
)
with st.container(horizontal=True, vertical_alignment="bottom", gap="large"):
    budget_sections.slider()
    st.metric("Size of the file", megabytes(preview.bytes), width="content")
    st.metric("Bits achieved", f"{preview.achieved_bits:.2f}", width="content")
st.caption(
    "Curve and squares are predictions before any training; above about 1 nat they only warn. "
    "Training usually wins part of the loss back. Diamonds are finished runs, measured on the audit "
    "photographs."
)
tables.twin(curve, "Predicted cost of every budget", "tradeoff")

st.subheader("What it means for each group", anchor=False)
consequences = budget_sections.consequences(case, preview, curve, bits)
st.dataframe(
    consequences,
    hide_index=True,
    column_config=budget_sections.CONSEQUENCE_COLUMNS,
    alt=f"Predicted consequence per group at {bits:g} bits",
)

label = "Bits of every layer"
with tables.details(label, "budget_plan", ":material/bar_chart:") as is_open:
    if is_open:
        tables.chart(charts.plan_bars(preview.layers), "plan_bars", charts.plan_alt(preview.layers))
        st.caption(budget_sections.certificate_words(preview))
        tables.table(preview.layers, "Bit plan per layer", "plan_bars")

st.subheader("Start a run", anchor=False)
budget_sections.start(case, bits, granularity)

state.next_button("how is training going?", "runs")
