"""Was this bundle approved, and is it these bytes that were approved? Answered from the packed decision log."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from fairquant_core.export.bundle_check import (
    AUDIT_FILE,
    DECISIONS_FILE,
    EXACT_FILE,
    FAST_FILE,
    MODEL_FILE,
    PREDICTIONS_FILE,
    Check,
    CheckFailed,
    OpenedBundle,
    Result,
)
from fairquant_core.export.decision_chain import is_shown, problems, same_person

BOUND_FILES = {
    "model": MODEL_FILE,
    "predictions": PREDICTIONS_FILE,
    "audit": AUDIT_FILE,
    "plan": "plan.json",
    "onnx": EXACT_FILE,
    "onnx check": "export.json",
    "onnx audit": "model_audit.json",
    "fast onnx": FAST_FILE,
    "fast audit": "fast_audit.json",
}
"""Hash in a decision -> the file that it is of."""

ALWAYS_BOUND = ("model", "predictions", "audit")
"""What must be there; of all other files in `BOUND_FILES` those that are there must be named by the approval."""

PROPOSE, APPROVE, WITHIN = "propose", "approve", "WITHIN"
DECISIONS = (PROPOSE, APPROVE, "reject", "request changes", "withdraw")

CHAIN, APPROVAL = "Decision log", "Approval"

NO_DECISIONS = "There is no {name}, so nobody has approved this."
WHOLE = "{shown} of {all} entries of the log are shown; their hashes form one unbroken chain."
OTHER_RUN = "{name} is about '{found}', the bundle about '{run}'."
NOT_APPROVED = "The last decision about this run is '{decision}', not 'approve'."
NO_DECISION = "The log holds no decision about this run."
OTHER_BYTES = (
    "What {person} approved is not what lies here: {files} differ from the approved files."
)
NOT_BOUND = "The approval of {person} names no hash of {file}."
OTHER_LIMITS = "The audit was judged by other limits than those that {person} approved."
OTHER_COHORT = "The audit is about another cohort than the one that {person} approved."
OTHER_VERDICT = "{person} approved the verdict '{seen}', but the audit says '{verdict}'."
OTHER_TOLD = "The manifest says that the verdict is '{told}', but the audit says '{verdict}'."
NO_OVERRIDE = "{person} approved '{verdict}' without writing down why."
APPROVED = "{person} ({role}) approved exactly these files on {time}, verdict {verdict}{override}{proposer}."
OVERRIDE = ', with an override: "{text}"'
SAME_PERSON = "; the same person had proposed it"
PROPOSED_BY = "; proposed by {person}"
NAMES_TYPED = " The names were typed, nobody proved who they are."
DAMAGED = "A decision in the log is damaged ({reason!r})."


def check_chain(opened: OpenedBundle) -> Check:
    """Whether an entry of the log was edited, removed, added or moved."""
    try:
        decisions = _decisions(opened)
        found = problems(decisions)
        if found:
            raise CheckFailed(" ".join(found))
        shown = sum(map(is_shown, decisions["entries"]))
        text = WHOLE.format(shown=shown, all=decisions["log_entries"])
        return Check(CHAIN, Result.PASSED, text)
    except CheckFailed as failure:
        return Check(CHAIN, Result.FAILED, str(failure))


def check_approval(opened: OpenedBundle) -> Check:
    """Whether the last word about the run is a yes, and a yes to exactly these bytes."""
    try:
        return Check(APPROVAL, Result.PASSED, _approval(opened))
    except CheckFailed as failure:
        return Check(APPROVAL, Result.FAILED, str(failure))
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        return Check(APPROVAL, Result.FAILED, DAMAGED.format(reason=error))


def _approval(opened: OpenedBundle) -> str:
    decisions = _decisions(opened)
    run = opened.manifest["about"].get("run")
    if decisions["run"] != run:
        raise CheckFailed(OTHER_RUN.format(name=DECISIONS_FILE, found=decisions["run"], run=run))
    about_run = [
        entry
        for entry in decisions["entries"]
        if is_shown(entry) and entry["subject"] == run and entry["action"] in DECISIONS
    ]
    if not about_run:
        raise CheckFailed(NO_DECISION)
    last = about_run[-1]
    if last["action"] != APPROVE:
        raise CheckFailed(NOT_APPROVED.format(decision=last["action"]))
    details = json.loads(last["details"])
    _require_same_files(opened, details["hashes"], last["person"])
    verdict = _require_same_audit(opened, details, last["person"])
    override = details["override"].strip()
    if verdict != WITHIN and not override:
        raise CheckFailed(NO_OVERRIDE.format(person=last["person"], verdict=verdict))
    text = APPROVED.format(
        person=last["person"],
        role=last["role"],
        time=last["time"],
        verdict=verdict,
        override=OVERRIDE.format(text=override) if override else "",
        proposer=_proposer(about_run, last["person"]),
    )
    return text if details.get("authenticated") else text + NAMES_TYPED


def _require_same_files(opened: OpenedBundle, hashes: Mapping[str, str], person: str) -> None:
    bound = {
        key: name for key, name in BOUND_FILES.items() if key in ALWAYS_BOUND or opened.has(name)
    }
    for key, name in bound.items():
        if key not in hashes:
            raise CheckFailed(NOT_BOUND.format(person=person, file=name))
    other = [name for key, name in bound.items() if opened.sha256(name) != hashes[key]]
    if other:
        raise CheckFailed(OTHER_BYTES.format(person=person, files=", ".join(other)))


def _require_same_audit(opened: OpenedBundle, details: Mapping[str, Any], person: str) -> str:
    """The verdict, after comparing what the approval says of the audit with the audit."""
    audit = opened.json(AUDIT_FILE)
    hashes, verdict = details["hashes"], str(audit.get("verdict") or "INSUFFICIENT EVIDENCE")
    if hashes.get("limits", audit["limits_fingerprint"]) != audit["limits_fingerprint"]:
        raise CheckFailed(OTHER_LIMITS.format(person=person))
    cohort = (audit.get("cohort") or {}).get("fingerprint")
    if cohort and hashes.get("cohort", cohort) != cohort:
        raise CheckFailed(OTHER_COHORT.format(person=person))
    told = opened.manifest["about"].get("verdict", verdict)
    if told != verdict:
        raise CheckFailed(OTHER_TOLD.format(told=told, verdict=verdict))
    if details["verdict_seen"] != verdict:
        raise CheckFailed(
            OTHER_VERDICT.format(person=person, seen=details["verdict_seen"], verdict=verdict)
        )
    return verdict


def _proposer(about_run: list[Mapping[str, Any]], approver: str) -> str:
    proposers = [entry["person"] for entry in about_run if entry["action"] == PROPOSE]
    if not proposers:
        return ""
    same = same_person(proposers[-1], approver)
    return SAME_PERSON if same else PROPOSED_BY.format(person=proposers[-1])


def _decisions(opened: OpenedBundle) -> dict[str, Any]:
    if not opened.has(DECISIONS_FILE):
        raise CheckFailed(NO_DECISIONS.format(name=DECISIONS_FILE))
    return opened.json(DECISIONS_FILE)
