"""Verdict table, decision form, export and log of the review page."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial

import pandas as pd
import streamlit as st

from dashboard.backend.export.bundle_readme import has_tablet_page
from dashboard.backend.views import ROLES, CaseView, DecisionKind, ReviewView, RunView
from dashboard.components import chips, state, tables
from dashboard.components.glossary import tip
from dashboard.components.limit_words import limit_words
from dashboard.components.words import capital, escaped, megabytes, when
from fairquant_core.errors import FairQuantError

DECISIONS = {
    DecisionKind.PROPOSE: "Propose for approval",
    DecisionKind.APPROVE: "Approve",
    DecisionKind.REJECT: "Reject",
    DecisionKind.REQUEST_CHANGES: "Ask for changes",
    DecisionKind.WITHDRAW: "Withdraw the approval",
}
SEEN = "decision_seen"
"""What the page showed when this session's person pressed the button: (run id, hashes)."""

MADE_BUNDLE = "made_bundle"
"""Where this session's download lies: (run id, path). The file itself is the truth."""

TRY_IT = """\
The bundle brings a page along that classifies a photo, or the camera picture, on the tablet itself. Photos never leave
it, and it is no diagnosis.

1. Unpack the bundle and run `python tablet/serve.py` in its folder.
2. Open the address that it prints, on this machine. With `--network` it also prints one for a tablet in the same
   network.
3. Browsers allow the live camera picture, and use without a network, only over **https or localhost**: put the
   folder `tablet` on a web server with https, give `serve.py` a `--certificate` and a `--key`, or join an Android
   tablet by USB (`adb reverse tcp:8000 tcp:8000`, then `http://localhost:8000/`). Over plain http the page takes
   photos with the tablet's camera app instead.

After one visit over https the tablet keeps the page and works without a network. `classify.py` in the bundle does
the same in Python."""

UNAUTHENTICATED = ":orange-badge[unauthenticated (local demo)]"


def verdict_table(case: CaseView, review: ReviewView) -> None:
    """The limit against every group, as words, not only as colours."""
    limit = escaped(f"At most {limit_words(case.limits)} lost")
    rows = [
        {
            "Group": "**All photographs**" if row["group"] == "overall" else escaped(row["group"]),
            limit: chips.verdict_chip(row["verdict"]).markdown(),
            "Why": escaped(row["sentence"]),
        }
        for _, row in review.verdicts.iterrows()
    ]
    st.table(pd.DataFrame(rows), hide_index=True, border="horizontal", alt="Verdict per group")


def decision_form(run: RunView, review: ReviewView) -> None:
    """Who decides what, and why; the service checks everything again."""
    st.subheader("2 · Decide", anchor=False)
    chips.REVIEWS[review.state].draw(tip("review"))
    if not review.allowed:
        st.caption("No decision is possible in this state.")
        return
    if review.why_no_approval:
        st.info(escaped(review.why_no_approval), icon=":material/fact_check:")
    # A new decision starts with empty fields: their keys count the decisions so far.
    count = len(review.decisions)
    with st.form("decision", border=True):
        person = st.text_input("Your name", key="person", persist_state="session")
        role = st.segmented_control(
            "Your role", ROLES, format_func=capital, key=f"decision_role_{count}"
        )
        # Nothing is chosen beforehand: a decision about patients is never a default.
        decision = st.radio(
            "Decision",
            list(review.allowed),
            index=None,
            format_func=lambda kind: DECISIONS[kind],
            key=f"decision_kind_{count}",
        )
        comment = st.text_area("Reasons", key=f"decision_comment_{count}", height=90)
        override = None
        if review.needs_override and DecisionKind.APPROVE in review.allowed:
            override = st.text_area(
                "Override: why may it leave although a limit is not shown to be kept?",
                key=f"decision_override_{count}",
                height=90,
            )
        rules = "An auditor proposes; a clinician approves, rejects or asks for changes."
        if review.four_eyes:
            rules += " Four eyes: who started or proposed a run cannot approve it."
        st.caption(rules)
        sent = st.form_submit_button(
            "Record the decision",
            type="primary",
            icon=":material/gavel:",
            # A click draws the page anew before the decision is recorded; what counts is what was shown at the click.
            on_click=_remember_seen,
            args=(run.id, dict(review.hashes)),
        )
    if not sent:
        return
    if role and decision:
        _decide(run, person, role, decision, comment, override)
    else:
        st.error("Say who you are (your role) and what you decide.")


def _remember_seen(run_id: str, hashes: Mapping[str, str]) -> None:
    st.session_state[SEEN] = (run_id, hashes)


def _seen(run: RunView) -> Mapping[str, str] | None:
    run_id, hashes = st.session_state.pop(SEEN, ("", None))
    return hashes if run_id == run.id else None


def _decide(
    run: RunView,
    person: str,
    role: str,
    decision: DecisionKind,
    comment: str,
    override: str | None,
) -> None:
    try:
        state.services().decide(
            run.id,
            person.strip(),
            role,
            decision.value,
            comment.strip(),
            (override or "").strip() or None,
            seen=_seen(run),
        )
    except FairQuantError as error:
        st.error(escaped(str(error)))
        return
    st.toast("The decision is recorded.", icon=":material/check:")
    st.rerun()


def export(run: RunView, review: ReviewView) -> None:
    """The bundle of an approved run, made on demand, or the reason why there is none."""
    st.subheader("3 · Download", anchor=False)
    services = state.services()
    for sentence in services.withdrawn_bundles(review):
        st.info(escaped(sentence), icon=":material/inventory_2:")
    if not review.may_export:
        st.warning(escaped(review.why_not), icon=":material/lock:")
        return
    missing = services.missing_for_export(review)
    for sentence in missing:
        st.warning(escaped(sentence), icon=":material/lock:")
    if missing:
        if st.button("To the report", icon=":material/description:"):
            state.go("report")
        return
    # Every export is logged, so it happens when a person asks, not when the page is drawn.
    if st.button("Make the bundle", type="primary", icon=":material/inventory_2:"):
        _make_bundle(run)
    made_for, path = st.session_state.get(MADE_BUNDLE, ("", None))
    if made_for != run.id or path is None or not path.is_file():
        st.caption("Every file is checked again, byte for byte, before it is packed.")
        return
    st.download_button(
        f"Download the bundle ({megabytes(path.stat().st_size)})",
        # Asks for the approval once more: the page may have been drawn before somebody withdrew it.
        partial(services.deliver, run.id, path.name),
        file_name=path.name,
        mime="application/zip",
        icon=":material/download:",
        key="bundle",
        help="The approval is checked once more. If it counts no longer, nothing is downloaded and the page says why.",
    )
    st.caption(
        "The exact file, its check, the packed weights, the bit plan, the predictions, the audit, the report, the "
        "decisions, and a signed list of SHA-256 sums. Check it with:"
    )
    st.code(f"python -m fairquant_core verify {path.name}", language=None, wrap_lines=True)
    for sentence in services.left_out(run.id):
        st.caption(f":material/info: {escaped(sentence)}")
    _public_key()
    if has_tablet_page(path):
        with tables.details(
            "Try it on your tablet", "review_tablet", ":material/tablet_mac:"
        ) as is_open:
            if is_open:
                st.markdown(TRY_IT)


def _public_key() -> None:
    """What others need to check who signed, and until when it counts."""
    try:
        key = state.services().public_key()
    except FairQuantError as error:
        st.error(escaped(str(error)))
        return
    if key is None:
        return
    until = f", counts until {key.expires}" if key.expires else ""
    st.caption(f"Signed with the key of this installation{until}. Its fingerprint:")
    st.code(key.fingerprint, language=None, wrap_lines=True)
    st.caption(
        "Whoever receives the bundle needs the public key too, once, and not from the bundle itself: send it another "
        "way, and let them compare the fingerprint with you."
    )
    st.download_button(
        "Download the public key",
        key.content,
        file_name=key.file,
        mime="application/x-pem-file",
        icon=":material/key:",
        key="public_key",
        on_click="ignore",
    )


def _make_bundle(run: RunView) -> None:
    st.session_state.pop(MADE_BUNDLE, None)
    try:
        with st.spinner("Checking every file and packing"):
            path = state.services().export(run.id, person=st.session_state.get("person", ""))
    except FairQuantError as error:
        st.error(escaped(str(error)))
        return
    st.session_state[MADE_BUNDLE] = (run.id, path)


def decisions(review: ReviewView) -> None:
    """What people decided so far, newest first."""
    st.subheader("Decisions so far", anchor=False)
    if not review.decisions:
        st.caption("Nobody has decided yet.")
    for entry in reversed(review.decisions):
        with st.container(border=True, gap="xsmall"):
            mark = "" if entry.authenticated else f" {UNAUTHENTICATED}"
            who = f"{escaped(entry.person)}, {escaped(entry.role)}"
            st.markdown(f"**{DECISIONS[entry.decision]}** · {who}{mark}")
            st.caption(when(entry.time))
            if entry.comment:
                st.markdown(escaped(entry.comment))
            if entry.override:
                st.markdown(f":orange-badge[override] {escaped(entry.override)}")


def hashes(review: ReviewView) -> None:
    """The sums a decision is bound to; a changed byte voids it."""
    tables.hashes(review.hashes)


def audit_log() -> None:
    """The append-only log with the result of checking its chain."""
    problems = state.services().verify_log()
    if problems:
        for text in problems:
            st.error(escaped(text))
    else:
        st.success("The hash chain of the log is intact.", icon=":material/link:")
    frame = state.services().audit_log()
    tables.table(frame.iloc[::-1], "Audit log", "audit_log")
