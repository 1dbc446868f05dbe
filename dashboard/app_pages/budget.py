"""Budget: how small can it get, and who pays?"""

from __future__ import annotations

import streamlit as st

from dashboard.components import data, page, sensitivity_sections, state, tables
from dashboard.components.budget import controls, run_form, sections
from dashboard.components.charts import budget as charts
from dashboard.components.sentences import budget_sentence
from dashboard.components.words import escaped, megabytes
from fairquant_core.errors import FairQuantError
from fairquant_core.quantization.catalogue import PRUNING_BELOW

QUESTION = "How small can it get, and who pays?"

case = page.need_prepared_case(QUESTION)
curve = data.budget_curve(case)
if curve is None:
    page.opening(QUESTION, "First the layers have to be measured: the bit plan is made from that.")
    if st.button("Measure the layers", type="primary", icon=":material/straighten:"):
        state.go("sensitivity")
    page.end()

asked = controls.asked(case)
preview, refusal = None, ""
try:
    preview = data.plan_preview(case, asked.bits, asked.granularity, asked.wishes)
except FairQuantError as error:
    refusal = str(error)
if preview is None:
    page.opening(QUESTION, "This cannot be met together.")
    st.error(escaped(refusal))
    with st.container(horizontal=True, vertical_alignment="bottom", gap="medium"):
        controls.budget(case, curve, asked, None)
    controls.wishes(case, asked)
    page.end()

bits = preview.requested_bits
full_size = 1e6 * case.classifier.megabytes
page.opening(
    QUESTION,
    budget_sentence(bits, preview.bytes, full_size, preview.predicted, asked.size_bytes),
)

maps = data.sensitivity(case)
if maps is not None and (outdated := sensitivity_sections.outdated(maps[1])):
    st.warning(outdated, icon=":material/history:")
runs = sections.finished_runs(state.current().runs, case)
tables.chart(
    charts.tradeoff(curve, sections.chosen_point(asked, preview), runs),
    "tradeoff",
    charts.tradeoff_alt(curve, bits),
)
with st.container(horizontal=True, vertical_alignment="bottom", gap="medium"):
    controls.budget(case, curve, asked, preview.bytes / 1e6)
    st.metric("Size of the file", megabytes(preview.bytes), width="content")
    st.metric("Bits achieved", f"{preview.achieved_bits:.2f}", width="content")
if price := sections.price_of_wishes(case, asked, preview):
    st.markdown(price)
controls.wishes(case, asked)
st.caption(
    "Curve and squares predict what rounding costs without training, once the network's averages are set anew; "
    f"above about 1 nat they only warn, and below {PRUNING_BELOW:g} bits the curve is too hopeful about the "
    "channels that are left out. The squares are rounded as carefully as the plan: the usual way costs more. A run "
    "without training measures it in about a minute, and training wins part of it back. Diamonds are finished runs, "
    "measured on the audit photographs."
)
tables.twin(curve, "Predicted cost of every budget", "tradeoff")

st.subheader("What it means for each group", anchor=False)
consequences = sections.consequences(case, preview, curve, bits)
st.dataframe(
    consequences,
    hide_index=True,
    column_config=sections.CONSEQUENCE_COLUMNS,
    alt=f"Predicted consequence per group at {round(bits, 2):g} bits",
)

label = "Bits of every layer"
with tables.details(label, "budget_plan", ":material/bar_chart:") as is_open:
    if is_open:
        tables.chart(charts.plan_bars(preview.layers), "plan_bars", charts.plan_alt(preview.layers))
        st.caption(sections.certificate_words(preview))
        tables.table(preview.layers, "Bit plan per layer", "plan_bars")

st.subheader("Start a run", anchor=False)
run_form.start(case, asked, preview)

state.next_button("how is training going?", "runs")
