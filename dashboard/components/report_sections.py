"""Preview, downloads and checklist of the report page."""

from __future__ import annotations

import pandas as pd
import streamlit as st

from dashboard.backend.report.views import ReportView
from dashboard.backend.views import CaseView, JobState, RunView
from dashboard.components import chips, live, state, tables
from dashboard.components.words import capital, escaped, megabytes, when
from fairquant_core.errors import FairQuantError

PREVIEW_HEIGHT = 900
NOT_WRITTEN = "Nothing is written yet: one page for everybody, and all figures behind it."
BEING_WRITTEN = "The report is being written."
STOPPED = "The report was not written; the reason stands below."
OUT_OF_DATE = (
    "The report of {when} is out of date: something was decided, drawn, measured or checked since."
)
FINAL = "The report of {when} tells of the approval; the bundle will hold it."
DRAFT = "The report of {when} is a draft: DRAFT: NOT APPROVED stands on every page."

CHIPS = {
    "MET": chips.Chip("Met", ":material/check_circle:", "green"),
    "PARTIAL": chips.Chip("Partial", ":material/contrast:", "orange"),
    "MISSING": chips.Chip("Missing", ":material/radio_button_unchecked:", "red"),
}
DOWNLOADS = (
    ("report.pdf", "The report (PDF)", "application/pdf", ":material/picture_as_pdf:"),
    ("report.html", "The report (HTML)", "text/html", ":material/public:"),
    ("label.pdf", "Model facts, one page (PDF)", "application/pdf", ":material/label:"),
    ("report.json", "Every figure (JSON)", "application/json", ":material/data_object:"),
    ("checklist.json", "The checklist (JSON)", "application/json", ":material/checklist:"),
)
ALL = "All"
HEAD_OF_PREVIEW = '<head><base href="about:srcdoc">'
"""Links inside the report stay inside the frame; without it they would open this application in there."""


def report_sentence(view: ReportView | None) -> str:
    """Answer what there is to read."""
    if view is None:
        return NOT_WRITTEN
    if not view.files:
        return BEING_WRITTEN if view.job.state.active else STOPPED
    text = DRAFT
    if not view.up_to_date:
        text = OUT_OF_DATE
    elif view.approved:
        text = FINAL
    return text.format(when=when(view.made))


def make(case: CaseView, run: RunView, view: ReportView | None) -> None:
    """Choose whether photographs are shown, write the report, and watch that."""
    with st.container(horizontal=True, vertical_alignment="center"):
        images = st.toggle(
            "Show photographs in it",
            value=view.images if view and view.files else case.cohort.synthetic,
            key="report_images",
            help="Photographs of patients leave this machine with the report. Off unless the cohort is synthetic.",
        )
        fresh = view is not None and view.up_to_date and view.images == images
        label = "Write the report" if view is None else "Write it again"
        if st.button(
            label, type="secondary" if fresh else "primary", icon=":material/edit_document:"
        ):
            _start(run, images)
    if view is not None and view.job.state != JobState.FINISHED:
        live.job_panel(view.job, "report")


def _start(run: RunView, images: bool) -> None:
    try:
        job_id = state.services().start_report(
            run.id, images=images, person=st.session_state.get("person", "")
        )
    except FairQuantError as error:
        st.error(escaped(str(error)))
        return
    if state.services().job(job_id).state.active:
        st.rerun()
    st.caption("Nothing changed since: the report below is the one that would be written.")


def downloads(view: ReportView) -> None:
    """Every file of the report."""
    with st.container(horizontal=True, key="report_downloads"):
        for name, label, mime, icon in DOWNLOADS:
            path = view.files[name]
            st.download_button(
                f"{label}, {megabytes(path.stat().st_size)}",
                path.read_bytes,
                file_name=f"{view.run_id}-{name}",
                mime=mime,
                icon=icon,
                key=f"report_{name}",
                on_click="ignore",
                type="primary" if name == "report.pdf" else "secondary",
            )


def preview(view: ReportView) -> None:
    """The pages as they are; the file itself forbids scripts and anything from outside."""
    page = view.files["report.html"].read_text(encoding="utf-8")
    st.iframe(
        page.replace("<head>", HEAD_OF_PREVIEW, 1),
        height=PREVIEW_HEIGHT,
        tab_index=0,
        alt="The report for the ethics board",
    )


def checklist(view: ReportView) -> None:
    """What the guidelines ask for, with the state of every item as a word, an icon and a colour."""
    st.subheader("What do the guidelines ask for?", anchor=False)
    total = {name: sum(found[name] for found in view.counts.values()) for name in CHIPS}
    parts = [f"{CHIPS[name].markdown()} {number}" for name, number in total.items()]
    st.markdown(" · ".join(parts))
    st.caption(
        "Every state is derived from what the report holds. What only people can say stays missing until somebody "
        "says it. The items are in our own words; the published guidelines count."
    )
    with st.container(horizontal=True):
        guideline = st.segmented_control(
            "Guideline", [ALL, *view.counts], default=ALL, required=True, key="checklist_guideline"
        )
        wanted = st.segmented_control(
            "State",
            [ALL, *CHIPS],
            default=ALL,
            required=True,
            key="checklist_state",
            format_func=capital_word,
        )
    rows = [
        {
            "Item": f"**{row['guideline']} {row['item']}**",
            "Asks for": escaped(row["asks"]),
            "State": CHIPS[row["state"]].markdown(),
            "Here": escaped(capital(row["shown"])),
            "Missing": escaped(capital(row["missing"])),
        }
        for row in view.checklist
        if guideline in (ALL, row["guideline"]) and wanted in (ALL, row["state"])
    ]
    if not rows:
        st.caption("No item is in this state.")
        return
    st.table(pd.DataFrame(rows), hide_index=True, border="horizontal", alt="Checklist")
    tables.twin(
        pd.DataFrame(view.checklist),
        "Checklist",
        "report_checklist",
        label="As a table to download",
    )


def capital_word(word: str) -> str:
    """Return "Met" for "MET"."""
    return capital(word.lower())
