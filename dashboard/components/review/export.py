"""The first step of the review page: are the files what was audited, and what do they cost?"""

from __future__ import annotations

from typing import Any

import pandas as pd
import streamlit as st

from dashboard.backend.export.exports import ExportView
from dashboard.backend.views import CaseView, JobState, RunView
from dashboard.components import chips, live, state, tables
from dashboard.components.glossary import tip
from dashboard.components.review.export_words import (
    cost_frame,
    difference_sentence,
    fast_sentence,
    group_name,
    parity_frame,
    runtime_frame,
    same_sentence,
)
from dashboard.components.words import capital, escaped, megabytes
from fairquant_core.errors import FairQuantError
from fairquant_core.export.leaving_size import leaving_size

QUESTION = "1 · Is the file really the model that was audited?"


def check(case: CaseView, run: RunView, audit: dict[str, Any]) -> None:
    """Everything about the files of a run: ask for them, watch, read what was found."""
    st.subheader(QUESTION, anchor=False)
    try:
        view = state.services().export_view(run.id)
    except FairQuantError as error:
        st.error(escaped(str(error)))
        return
    st.markdown(escaped(same_sentence(view)))
    sizes(case, run, audit, view)
    if view is None or (view.check is None and view.job.state == JobState.FINISHED):
        _start(run)
        return
    if view.check is None:
        live.job_panel(view.job, "export")
        return
    if view.job.state != JobState.FINISHED:
        # Checked once before; what was found then stands below until the new check has ended.
        live.job_panel(view.job, "export")
    live.seen(view.job)
    for sentence in view.objections:
        st.error(escaped(capital(sentence) + "."), icon=":material/block:")
    left, right = st.columns(2, gap="large")
    with left:
        _parity(view)
    with right:
        _costs(view)
    _fast(view)
    with tables.details(
        "Which program runs it as what?", "export_runtimes", ":material/memory:"
    ) as is_open:
        if is_open:
            tables.table(runtime_frame(view.check), "Runtimes", "export_runtimes")
            for note in view.check["notes"]:
                st.caption(escaped(note))
            _again(run)


def sizes(case: CaseView, run: RunView, audit: dict[str, Any], view: ExportView | None) -> None:
    """Bits asked and achieved, bytes on disk beside full precision: of the exported file, if there is one."""
    size = leaving_size(audit.get("size"), view.check if view is not None else None)
    on_disk = size.on_disk or run.bytes_packed or 0
    full = size.full or 1e6 * case.classifier.megabytes
    with st.grid(4):
        st.metric("Bits asked", f"{run.bits:g}", border=True, help=tip("budget"))
        achieved = run.achieved_bits
        st.metric("Bits achieved", "-" if achieved is None else f"{achieved:.3f}", border=True)
        st.metric("File on disk", megabytes(on_disk), border=True)
        times = f"{full / on_disk:.1f} times" if on_disk else "-"
        st.metric("Smaller by", times, border=True, help=f"Full precision: {megabytes(full)}")


def _start(run: RunView) -> None:
    if st.button("Check the files", type="primary", icon=":material/fact_check:"):
        _ask(run)
    st.caption("Takes about a minute. Nothing can leave before; a decision binds what was found.")


def _ask(run: RunView, again: bool = False) -> None:
    person = st.session_state.get("person", "")
    try:
        state.services().start_export(run.id, person, again=again)
    except FairQuantError as error:
        st.error(escaped(str(error)))
        return
    st.rerun()


def _again(run: RunView) -> None:
    """Measure anew, where the machine was busy or is another one."""
    st.caption(
        "Measured while this machine was busy? Check again. A decision that saw the old check is void then."
    )
    if st.button("Check again", icon=":material/refresh:"):
        _ask(run, again=True)


def _parity(view: ExportView) -> None:
    assert view.check is not None
    st.markdown("**Same answer as the audited model, per group**")
    frame = parity_frame(view)
    shown = pd.DataFrame(
        {
            "Group": [escaped(capital(group_name(group))) for group in frame["group"]],
            "Same class": _of(frame["same class"], frame["photographs"]),
            "Scores apart by": [f"{value:.0e}" for value in frame["largest difference"]],
        }
    )
    if "same class, fast file" in frame:
        fast = zip(frame["same class, fast file"], frame["photographs"], strict=True)
        shown["Fast file"] = [f"{same:,} of {all_:,}" for same, all_ in fast]
    st.table(shown, hide_index=True, border="horizontal", alt="Same class per group")
    st.caption(escaped(difference_sentence(view.check)))
    tables.twin(frame, "Parity per group", "export_parity", label="As a table to download")


def _of(same: pd.Series, photographs: pd.Series) -> list[str]:
    """ "566 of 566", with a mark that is no colour."""
    return [
        f"{':material/check:' if one == all_ else ':material/close:'} {one:,} of {all_:,}"
        for one, all_ in zip(same, photographs, strict=True)
    ]


def _costs(view: ExportView) -> None:
    st.markdown("**What it costs, measured on this machine**")
    frame = cost_frame(view)
    shown = frame.rename(columns={name: capital(name) for name in frame.columns})
    st.table(shown, hide_index=True, border="horizontal", alt="Cost of the files")
    tables.twin(frame, "Cost of the files", "export_costs", label="As a table to download")


def _fast(view: ExportView) -> None:
    """The fast file with its own verdict, or why there is none."""
    text = escaped(fast_sentence(view))
    if view.fast_audit is None:
        st.info(text, icon=":material/speed:")
        return
    verdict = chips.verdict_chip(view.fast_audit.get("verdict")).markdown()
    st.info(f"{text} Its verdict: {verdict}", icon=":material/speed:")
    with tables.details(
        "Verdict of the fast file per group", "export_fast", ":material/table_chart:"
    ) as is_open:
        if is_open:
            tables.table(_verdicts(view.fast_audit), "Verdicts of the fast file", "export_fast")


def _verdicts(audit: dict[str, Any]) -> pd.DataFrame:
    judged = audit["comparisons"][audit["candidate"]]["verdicts"]
    frame = pd.DataFrame(judged)
    return frame[[name for name in ("group", "n", "verdict", "sentence") if name in frame]]
