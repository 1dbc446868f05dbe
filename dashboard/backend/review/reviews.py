"""Reviews: what people decided about a run, and whether the run may leave the tool.

    none -> proposed -> approved | rejected | changes requested;  proposed, approved -> withdrawn

A decision is bound to the bytes it was made about. If one of them changes, an approval is void.
This is the only place that says yes to an export.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from dashboard.backend.records.artefacts import Artefacts
from dashboard.backend.records.audit_log import AuditLog
from dashboard.backend.records.schema import AuditEntry, Case, Job, Review
from dashboard.backend.records.store import Store
from dashboard.backend.review.decision_rules import (
    ALLOWED,
    JUDGE,
    ROLE_OF,
    changed,
    require_seen,
    state_of,
)
from dashboard.backend.review.evidence import Evidence, EvidenceReader, files_checked
from dashboard.backend.settings import Settings
from dashboard.backend.views import (
    ROLES,
    DecisionKind,
    DecisionView,
    JobState,
    ReviewState,
    ReviewView,
)
from fairquant_core.audit.criteria import Limits, Verdict
from fairquant_core.errors import FairQuantError, NotApproved
from fairquant_core.export.decision_chain import same_person

LOG_ONLY = ("limits", "fast_verdict_seen")
"""What an entry of the log says about a decision beyond the decision's own row."""

NO_PERSON = "Name: say who you are; a decision without a name counts for nothing."
NO_ROLE = "Role: choose one of {roles}."
NO_DECISION = "Decision: {decision!r} does not exist; choose one of {known}."
OTHER_ROLE = "Role: '{decision}' is for the {needed}; you said that you are the {role}."
NOT_NOW = "This run is {state}; '{decision}' is not possible now. Possible: {allowed}."
NOT_FINISHED = "This run is {state}; only a finished run can be reviewed."
FOUR_EYES = (
    "Four-eyes rule: {person} {did} this run and cannot approve it; somebody else has to look at "
    "it."
)
NEEDS_OVERRIDE = (
    "The verdict is {verdict}. To approve nevertheless, write down why (override); it is kept in "
    "the log."
)
NEEDS_COMMENT = "Comment: say why, so that the next person knows what to do."
LIMITS_CHANGED = (
    "The limits of the case are not those that this run was judged by. Start the run again to "
    "have it judged by the present limits."
)
CHECK_FIRST = "Check the files first (step 1): an approval binds the very files that may leave."
NOT_SHOWN = (
    "An approval must say what it is about: which files and figures the person has seen. Open the review page and "
    "decide there."
)
DECIDED_MEANWHILE = "Somebody decided about this run meanwhile. Look at the review page again."
NOT_WHOLE = "Files of this run are not what the run wrote: {what}. Start the run again."

NOT_APPROVED = {
    ReviewState.NONE: "Nobody has proposed this run for approval yet.",
    ReviewState.PROPOSED: "This run is proposed; somebody has to approve it first.",
    ReviewState.REJECTED: "This run was rejected.",
    ReviewState.CHANGES_REQUESTED: "Changes were requested; this run is not approved.",
    ReviewState.WITHDRAWN: "The proposal or approval was withdrawn.",
}
VOID = "The decision is void: {what} changed since. Propose the run again after looking into it."
LOG_BROKEN = "The decision log was tampered with, so no decision in it can be relied on: {problem}"
UNLOGGED = (
    "The decisions about this run in the store are not those in the log; none of them can be "
    "relied on."
)


class Reviews:
    """Recording decisions and answering whether a run may be exported."""

    def __init__(
        self,
        store: Store,
        settings: Settings,
        artefacts: Artefacts,
        log: AuditLog,
        exported: Callable[[Job], Mapping[str, Path]],
    ) -> None:
        self._store = store
        self._settings = settings
        self._artefacts = artefacts
        self._log = log
        self._evidence = EvidenceReader(settings, artefacts, exported)

    def states(self, runs: list[Job], cases: dict[str, Case]) -> dict[str, ReviewState]:
        """State of every finished run, for lists; unchanged files are not read again."""
        with self._store.read() as session:
            query = select(Review).order_by(Review.sequence)
            by_run: dict[str, list[Review]] = {}
            for decision in session.scalars(query):
                by_run.setdefault(decision.run_id, []).append(decision)
        found = {}
        for run in runs:
            decisions = by_run.get(run.id, [])
            if not decisions or run.state != JobState.FINISHED.value:
                found[run.id] = ReviewState.NONE
                continue
            hashes = self._evidence.hashes(run, cases[run.case_id], fresh=False)
            found[run.id] = state_of(decisions, hashes)
        return found

    def view(self, run: Job, case: Case, *, fresh: bool = False) -> ReviewView:
        """Where the run stands. Raises FairQuantError while it is not finished."""
        import pandas as pd

        _require_finished(run)
        evidence = self._evidence.read(run, case, fresh=fresh)
        with self._store.read() as session:
            decisions, problem = self._decisions(session, run.id)
        state = state_of(decisions, evidence.hashes)
        why_not = problem or self._why_not(state, decisions, evidence, run, fresh)
        comparison = _judged(evidence.audit)
        verdict = str(evidence.audit.get("verdict") or Verdict.INSUFFICIENT)
        return ReviewView(
            run_id=run.id,
            state=state,
            verdicts=pd.DataFrame(
                comparison.get("verdicts", []), columns=["group", "verdict", "sentence", "n"]
            ),
            overall_verdict=verdict,
            needs_override=verdict != Verdict.WITHIN,
            decisions=tuple(_decision_view(decision) for decision in decisions),
            hashes=evidence.hashes,
            may_export=not why_not,
            why_not=why_not,
            four_eyes=self._settings.four_eyes,
            allowed=self._allowed(state),
            why_no_approval="" if files_checked(evidence.hashes) else CHECK_FIRST,
        )

    def approved(
        self, run: Job, case: Case, *, fresh: bool = False, as_in: ReviewView | None = None
    ) -> ReviewView:
        """The review of a run that may leave now.

        Parameters
        ----------
        fresh : read every byte again.
        as_in : an earlier review, which must rest on the same decision about the same bytes.

        Raises
        ------
        NotApproved
            With the reason: no approval, a changed byte, or a decision log that does not verify.
        """
        review = self.view(run, case, fresh=fresh)
        if not review.may_export:
            raise NotApproved(review.why_not)
        if as_in is not None and review.decisions != as_in.decisions:
            raise NotApproved(DECIDED_MEANWHILE)
        return review

    def decide(
        self,
        run: Job,
        case: Case,
        *,
        person: str,
        role: str,
        decision: str,
        comment: str,
        override: str | None,
        seen: Mapping[str, str] | None,
    ) -> None:
        """Record a decision.

        Parameters
        ----------
        seen : the hashes of what the person was shown. An approval needs them; only a withdrawal is possible
            whatever has changed since.

        Raises
        ------
        FairQuantError
            Why it is not possible.
        """
        _require_finished(run)
        if not person.strip():
            raise FairQuantError(NO_PERSON)
        if role not in ROLES:
            raise FairQuantError(NO_ROLE.format(roles=" or ".join(ROLES)))
        if decision not in set(DecisionKind):
            known = ", ".join(DecisionKind)
            raise FairQuantError(NO_DECISION.format(decision=decision, known=known))
        kind = DecisionKind(decision)
        needed = ROLE_OF.get(kind, role)
        if role != needed:
            raise FairQuantError(OTHER_ROLE.format(decision=kind, needed=needed, role=role))
        reason = (override or "").strip()
        evidence = self._evidence.read(run, case, fresh=kind == DecisionKind.APPROVE)
        verdict = str(evidence.audit.get("verdict") or Verdict.INSUFFICIENT)
        if kind != DecisionKind.WITHDRAW and seen is not None:
            require_seen(evidence.hashes, seen)
        with self._log.writing() as session:
            decisions = _decisions_of(session, run.id)
            state = state_of(decisions, evidence.hashes)
            if kind not in self._allowed(state):
                raise FairQuantError(
                    NOT_NOW.format(
                        state=state, decision=kind, allowed=", ".join(self._allowed(state))
                    )
                )
            if kind in (DecisionKind.REJECT, DecisionKind.REQUEST_CHANGES) and not comment.strip():
                raise FairQuantError(NEEDS_COMMENT)
            if kind in (DecisionKind.PROPOSE, DecisionKind.APPROVE):
                self._require_whole(run, case, evidence)
            if kind == DecisionKind.APPROVE:
                if not files_checked(evidence.hashes):
                    raise FairQuantError(CHECK_FIRST)
                if seen is None:
                    raise FairQuantError(NOT_SHOWN)
                self._require_other_eyes(person, run, decisions)
                if verdict != Verdict.WITHIN and not reason:
                    raise FairQuantError(NEEDS_OVERRIDE.format(verdict=verdict))
            content = {
                "decision": kind.value,
                "comment": comment.strip(),
                "override": reason,
                "verdict_seen": verdict,
                "limits_hash": evidence.hashes["limits"],
                "hashes": evidence.hashes,
                # Names are typed in local mode: nobody has proved who they are.
                "authenticated": False,
            }
            entry = self._log.append(
                session,
                kind.value,
                run.id,
                person=person.strip(),
                role=role,
                details={
                    **content,
                    "limits": case.limits,
                    "fast_verdict_seen": evidence.fast_audit.get("verdict"),
                },
            )
            session.add(
                Review(
                    sequence=entry.sequence,
                    run_id=run.id,
                    time=entry.time,
                    person=entry.person,
                    role=role,
                    **content,
                )
            )

    def _allowed(self, state: ReviewState) -> tuple[DecisionKind, ...]:
        allowed = ALLOWED[state]
        if not self._settings.four_eyes and DecisionKind.PROPOSE in allowed:
            # Without the rule one person may decide at once; with it, a named one has to propose.
            allowed = (*allowed, *JUDGE)
        return allowed

    def _require_other_eyes(self, person: str, run: Job, decisions: list[Review]) -> None:
        if not self._settings.four_eyes:
            return
        proposers = [d.person for d in decisions if d.decision == DecisionKind.PROPOSE.value]
        for did, other in (("started", run.started_by), ("proposed", proposers[-1])):
            if other and same_person(person, other):
                raise FairQuantError(FOUR_EYES.format(person=person.strip(), did=did))

    def _require_whole(self, run: Job, case: Case, evidence: Evidence) -> None:
        problems = self._artefacts.problems(str(run.result_hash))
        if problems:
            raise FairQuantError(NOT_WHOLE.format(what="; ".join(problems)))
        judged_by = evidence.audit.get("limits_fingerprint")
        if judged_by != Limits.from_json(case.limits).fingerprint:
            raise FairQuantError(LIMITS_CHANGED)

    def _why_not(
        self,
        state: ReviewState,
        decisions: list[Review],
        evidence: Evidence,
        run: Job,
        fresh: bool,
    ) -> str:
        if state == ReviewState.VOID:
            what = changed(decisions[-1], evidence.hashes)
            return VOID.format(what=" and ".join(what))
        if state != ReviewState.APPROVED:
            return NOT_APPROVED[state]
        problems = self._artefacts.problems(str(run.result_hash)) if fresh else []
        return NOT_WHOLE.format(what="; ".join(problems)) if problems else ""

    def _decisions(self, session: Session, run_id: str) -> tuple[list[Review], str]:
        """The decisions about a run, and why they cannot be relied on ("" if they can)."""
        decisions = _decisions_of(session, run_id)
        problems = self._log.problems()
        if problems:
            return decisions, LOG_BROKEN.format(problem=problems[0])
        query = select(AuditEntry).where(AuditEntry.subject == run_id)
        said = [e for e in session.scalars(query) if e.action in set(DecisionKind)]
        entries = {entry.sequence: entry for entry in said}
        # Both ways: a decision that was never logged, and one that was taken out of the table.
        whole = set(entries) == {decision.sequence for decision in decisions} and all(
            _says_the_same(entries[decision.sequence], decision) for decision in decisions
        )
        if not whole:
            return decisions, UNLOGGED
        return decisions, ""


def _decisions_of(session: Session, run_id: str) -> list[Review]:
    query = select(Review).where(Review.run_id == run_id).order_by(Review.sequence)
    return list(session.scalars(query))


def _says_the_same(entry: AuditEntry, decision: Review) -> bool:
    said: dict[str, Any] = json.loads(entry.details)
    return (
        (entry.time, entry.person, entry.role) == (decision.time, decision.person, decision.role)
        and (entry.action, entry.subject) == (decision.decision, decision.run_id)
        and all(
            getattr(decision, name, None) == value
            for name, value in said.items()
            if name not in LOG_ONLY
        )
    )


def _judged(audit: dict[str, Any]) -> dict[str, Any]:
    return audit.get("comparisons", {}).get(audit.get("candidate"), {})


def _decision_view(decision: Review) -> DecisionView:
    return DecisionView(
        sequence=decision.sequence,
        time=decision.time,
        person=decision.person,
        role=decision.role,
        decision=DecisionKind(decision.decision),
        comment=decision.comment,
        override=decision.override,
        verdict_seen=decision.verdict_seen,
        limits_hash=decision.limits_hash,
        hashes=dict(decision.hashes),
        authenticated=decision.authenticated,
    )


def _require_finished(run: Job) -> None:
    if run.state != JobState.FINISHED.value:
        raise FairQuantError(NOT_FINISHED.format(state=run.state))
