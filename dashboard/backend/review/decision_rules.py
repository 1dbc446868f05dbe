"""What can be decided when, by whom, and when a decision counts no longer. Pure rules; nothing is read or written.

    none -> proposed -> approved | rejected | changes requested;  proposed, approved -> withdrawn

A proposal or an approval is void as soon as something that it is about has changed.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from dashboard.backend.records.schema import Review
from dashboard.backend.review.evidence import TITLES, changed_since
from dashboard.backend.views import DecisionKind, ReviewState
from fairquant_core.errors import FairQuantError
from fairquant_core.report.words import joined

AFTER = {
    DecisionKind.PROPOSE: ReviewState.PROPOSED,
    DecisionKind.APPROVE: ReviewState.APPROVED,
    DecisionKind.REJECT: ReviewState.REJECTED,
    DecisionKind.REQUEST_CHANGES: ReviewState.CHANGES_REQUESTED,
    DecisionKind.WITHDRAW: ReviewState.WITHDRAWN,
}
JUDGE = (DecisionKind.APPROVE, DecisionKind.REJECT, DecisionKind.REQUEST_CHANGES)
ALLOWED: dict[ReviewState, tuple[DecisionKind, ...]] = {
    ReviewState.NONE: (DecisionKind.PROPOSE,),
    ReviewState.PROPOSED: (*JUDGE, DecisionKind.WITHDRAW),
    ReviewState.APPROVED: (DecisionKind.WITHDRAW,),
    ReviewState.REJECTED: (DecisionKind.PROPOSE,),
    ReviewState.CHANGES_REQUESTED: (DecisionKind.PROPOSE,),
    ReviewState.WITHDRAWN: (DecisionKind.PROPOSE,),
    ReviewState.VOID: (DecisionKind.PROPOSE, DecisionKind.WITHDRAW),
}

ROLE_OF: dict[DecisionKind, str] = {
    DecisionKind.PROPOSE: "auditor",
    **dict.fromkeys(JUDGE, "clinician"),
}
"""Who may decide what; both may withdraw."""

LOOK_AGAIN = (
    "New or changed since this page was drawn: {what}. The decision was not recorded, because it would have been about "
    "something that you have not seen. Look at the page as it is now, and decide again."
)


def state_of(decisions: Sequence[Review], hashes: Mapping[str, str]) -> ReviewState:
    """Where a run stands after these decisions, with its files as they are now."""
    if not decisions:
        return ReviewState.NONE
    last = decisions[-1]
    state = AFTER[DecisionKind(last.decision)]
    binding = state in (ReviewState.PROPOSED, ReviewState.APPROVED)
    return ReviewState.VOID if binding and changed(last, hashes) else state


def changed(decision: Review, hashes: Mapping[str, str]) -> list[str]:
    """Words for what is not what it was when somebody decided."""
    whole = decision.decision == DecisionKind.APPROVE.value
    return changed_since(hashes, decision.hashes, whole=whole)


def require_seen(hashes: Mapping[str, str], seen: Mapping[str, str]) -> None:
    """What a person was shown is what there is.

    Raises
    ------
    FairQuantError
        Something was added or changed; the sentence names it and asks to look again.
    """
    other = [title for key, title in TITLES.items() if hashes.get(key) != seen.get(key)]
    if other:
        raise FairQuantError(LOOK_AGAIN.format(what=joined(other)))
