"""Case: what are we judging, on whom?"""

from __future__ import annotations

import streamlit as st

from dashboard.components import choices, data, live, page, state, tables
from dashboard.components.case import cohort as cohort_sections
from dashboard.components.case import intended_use, new_case
from dashboard.components.charts import cohort as charts
from dashboard.components.sentences import case_sentence

QUESTION = "What are we judging, on whom?"

if st.query_params.get("view") == state.NEW:
    new_case.form()
    page.end()

case = page.need_case(QUESTION)
counts = data.cell_counts(case)
page.opening(QUESTION, case_sentence(case, counts))
if not case.ready:
    page.preparation(case)
elif case.prepare_job:
    live.seen(state.services().job(case.prepare_job))

minimum = case.limits.minimum_images
figure_slot = st.container()
part = choices.segmented(
    "Photographs",
    ["audit", "train", "validation"],
    default="audit",
    required=True,
    key="case_split",
    format_func=lambda split: {"audit": "audit (locked)"}.get(split, split),
    help="The audit photographs alone decide the verdict.",
)
inside = counts[counts["split"] == part]
cells = charts.cells(inside, case.groups, case.must_not_miss, minimum)
with figure_slot:
    tables.chart(
        charts.cell_bars(cells, case.groups, minimum), "case_cells", charts.cell_alt(cells, minimum)
    )
    small, unknown = charts.small_cells_sentence(cells, minimum), charts.unknown_sentence(inside)
    st.caption(f"{small} {unknown}".strip())
tables.twin(cells, "Images per class and group", "case_cells")

cohort_sections.baseline(case)

with tables.details("Limits, set before any run", "case_limits", ":material/gavel:") as is_open:
    if is_open:
        cohort_sections.limits(case)
with tables.details("What it is for", "case_use", ":material/clinical_notes:") as is_open:
    if is_open:
        intended_use.statements(case)
with tables.details("Example photographs", "case_examples", ":material/image:") as is_open:
    if is_open:
        cohort_sections.examples(case)
with tables.details("Splits and fingerprints", "case_splits", ":material/lock:") as is_open:
    if is_open:
        cohort_sections.splits(case, counts)
known_issues = f"Known weaknesses of the data ({len(case.warnings)})"
with tables.details(known_issues, "case_warnings", ":material/warning:") as is_open:
    if is_open:
        cohort_sections.warnings(case)

if st.button("New case", icon=":material/add:"):
    state.go("case", view=state.NEW)
state.next_button("which layers matter to whom?", "sensitivity")
