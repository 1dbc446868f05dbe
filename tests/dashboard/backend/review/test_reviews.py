"""Reviews: nothing leaves without an approval that still fits every byte."""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from dashboard.backend.services import Services, open_services
from dashboard.backend.views import ReviewState
from fairquant_core.errors import FairQuantError, NotApproved
from tests.dashboard.backend.made_results import (
    approve,
    decide,
    finish_export,
    finish_run,
)


@pytest.fixture
def approved(ready: str) -> str:
    """Files checked, proposed, approved, report written: everything that a download needs."""
    return ready


def test_the_way_to_an_approval(finished_run: str, services: Services, tmp_path: Path) -> None:
    start = services.review(finished_run)
    assert (start.state, start.may_export, start.allowed) == ("none", False, ("propose",))
    assert start.overall_verdict == "WITHIN"
    assert not start.needs_override
    proposed = services.decide(finished_run, "Ada", "auditor", "propose", "Please look.")
    assert (proposed.state, proposed.may_export) == ("proposed", False)
    finish_export(services, finished_run, tmp_path, fast=None)
    done = decide(services, finished_run, "Kwame", "clinician", "approve", "Looks safe.")
    assert (done.state, done.may_export, done.why_not) == ("approved", True, "")
    decision = done.decisions[-1]
    assert (decision.person, decision.role, decision.verdict_seen) == (
        "Kwame",
        "clinician",
        "WITHIN",
    )
    assert not decision.authenticated
    assert set(decision.hashes) == {
        "model",
        "predictions",
        "audit",
        "plan",
        "classifier",
        "cohort",
        "split",
        "limits",
        "onnx",
        "onnx check",
    }
    assert services.run(finished_run).review_state == ReviewState.APPROVED
    assert services.verify_log() == []
    assert services.audit_log()["action"].tolist() == ["case created", "propose", "approve"]


@pytest.mark.parametrize(
    "name", ["Jos\u00e9", " jos\u00e9 ", "JOS\u00c9", "Jose\u0301", "Jos\u00e9\u200b"]
)
def test_who_proposed_cannot_approve(checked_run: str, services: Services, name: str) -> None:
    """However the name is typed: composed or decomposed, with spaces or letters that nobody sees."""
    decide(services, checked_run, "Jos\u00e9", "auditor", "propose")
    with pytest.raises(FairQuantError, match=r"Four-eyes.*proposed"):
        decide(services, checked_run, name, "clinician", "approve")


def test_who_started_cannot_approve(checked_run: str, services: Services) -> None:
    decide(services, checked_run, "Ada", "auditor", "propose")
    with pytest.raises(FairQuantError, match=r"Four-eyes.*started"):
        decide(services, checked_run, "rosa", "clinician", "approve")


def test_nobody_approves_without_a_proposal(checked_run: str, services: Services) -> None:
    with pytest.raises(FairQuantError, match="Possible: propose"):
        decide(services, checked_run, "Kwame", "clinician", "approve")


def test_without_the_rule_one_person_may_decide(checked_run: str, services: Services) -> None:
    alone = open_services(replace(services.settings, four_eyes=False))
    assert decide(alone, checked_run, "Rosa", "clinician", "approve").may_export


def test_nobody_approves_before_the_files_were_checked(
    finished_run: str, services: Services, tmp_path: Path
) -> None:
    """An approval that binds no file would let any file leave that somebody puts there later."""
    decide(services, finished_run, "Ada", "auditor", "propose")
    assert "Check the files first" in services.review(finished_run).why_no_approval
    for _ in range(2):
        with pytest.raises(FairQuantError, match="Check the files first"):
            decide(services, finished_run, "Kwame", "clinician", "approve")
        services.start_export(finished_run, "Ada")  # asked for, but not finished
    finish_export(services, finished_run, tmp_path)
    assert services.review(finished_run).why_no_approval == ""
    assert decide(services, finished_run, "Kwame", "clinician", "approve").may_export


def test_files_that_were_checked_and_lost_are_none(
    checked_run: str, services: Services, tmp_path: Path
) -> None:
    decide(services, checked_run, "Ada", "auditor", "propose")
    view = services.export_view(checked_run)
    assert view is not None
    services._artefacts.path(str(view.job.result_hash), "model.onnx").unlink()
    decide(services, checked_run, "Ada", "auditor", "propose")
    with pytest.raises(FairQuantError, match="Check the files first"):
        decide(services, checked_run, "Kwame", "clinician", "approve")


def test_an_approval_is_about_what_the_person_has_seen(
    finished_run: str, services: Services, tmp_path: Path
) -> None:
    """The page shows eight sums; the check of the files ends before the click."""
    decide(services, finished_run, "Ada", "auditor", "propose")
    finish_export(services, finished_run, tmp_path, fast=None)
    shown = services.review(finished_run).hashes
    services.start_export(finished_run, "Ada", again=True)
    finish_export(services, finished_run, tmp_path)
    for decision in ("approve", "reject", "request changes"):
        with pytest.raises(
            FairQuantError, match=r"fast file and the audit of the fast file.*not seen"
        ):
            services.decide(finished_run, "Kwame", "clinician", decision, "Yes.", seen=shown)
    with pytest.raises(FairQuantError, match="must say what it is about"):
        services.decide(finished_run, "Kwame", "clinician", "approve", "Yes.")
    assert [one.decision for one in services.review(finished_run).decisions] == ["propose"]
    assert decide(services, finished_run, "Kwame", "clinician", "approve").may_export


def test_a_withdrawal_is_possible_whatever_changed(approved: str, services: Services) -> None:
    shown = services.review(approved).hashes
    TAMPERS["model"](services, approved)
    done = services.decide(approved, "Kwame", "clinician", "withdraw", seen=shown)
    assert done.state == "withdrawn"


def test_a_fast_file_that_came_later_voids_an_approval(
    finished_run: str, services: Services, tmp_path: Path
) -> None:
    """The exact file and its check are the same, byte for byte; the fast one is new."""
    finish_export(services, finished_run, tmp_path, fast=None)
    approve(services, finished_run)
    services.start_export(finished_run, "Ada", again=True)
    finish_export(services, finished_run, tmp_path)
    view = services.review(finished_run)
    assert (view.state, view.may_export) == (ReviewState.VOID, False)
    assert "the fast file and the audit of the fast file changed since" in view.why_not


@pytest.mark.parametrize(
    ("role", "decision", "needed"),
    [
        ("clinician", "propose", "auditor"),
        ("auditor", "approve", "clinician"),
        ("auditor", "reject", "clinician"),
        ("auditor", "request changes", "clinician"),
    ],
)
def test_each_role_has_its_own_decisions(
    finished_run: str, services: Services, role: str, decision: str, needed: str
) -> None:
    if decision != "propose":
        services.decide(finished_run, "Ada", "auditor", "propose")
    before = services.review(finished_run).decisions
    with pytest.raises(FairQuantError, match=f"is for the {needed}"):
        services.decide(finished_run, "Kwame", role, decision, "Because.")
    assert services.review(finished_run).decisions == before


def test_a_verdict_that_is_no_pass_needs_an_override(
    ready_case: str, services: Services, tmp_path: Path
) -> None:
    run_id = services.start_run(ready_case, {"method": "uniform_ptq", "bits": 2})
    finish_run(services, run_id, tmp_path, candidate=0.0)
    finish_export(services, run_id, tmp_path)
    decide(services, run_id, "Ada", "auditor", "propose")
    assert services.review(run_id).needs_override
    for override in (None, "", "   "):
        with pytest.raises(FairQuantError, match=r"OUTSIDE.*override"):
            decide(services, run_id, "Kwame", "clinician", "approve", "ok", override)
    done = decide(
        services, run_id, "Kwame", "clinician", "approve", "ok", "Only for a research archive."
    )
    assert done.may_export
    assert done.decisions[-1].override == "Only for a research archive."


@pytest.mark.parametrize(
    ("person", "role", "decision", "comment", "message"),
    [
        ("", "auditor", "propose", "", "Name"),
        ("Ada", "king", "propose", "", "auditor or clinician"),
        ("Ada", "auditor", "praise", "", "praise"),
        ("Ada", "auditor", "withdraw", "", "none"),
    ],
)
def test_impossible_decisions_are_refused(
    finished_run: str,
    services: Services,
    person: str,
    role: str,
    decision: str,
    comment: str,
    message: str,
) -> None:
    with pytest.raises(FairQuantError, match=message):
        services.decide(finished_run, person, role, decision, comment)
    assert services.review(finished_run).decisions == ()


@pytest.mark.parametrize(
    ("decision", "state"),
    [("reject", "rejected"), ("request changes", "changes requested"), ("withdraw", "withdrawn")],
)
def test_other_ends_do_not_export(
    finished_run: str, services: Services, decision: str, state: str
) -> None:
    services.decide(finished_run, "Ada", "auditor", "propose")
    view = services.decide(finished_run, "Kwame", "clinician", decision, "Because.")
    assert view.state == state
    with pytest.raises(NotApproved):
        services.export(finished_run)
    assert services.decide(finished_run, "Ada", "auditor", "propose").state == "proposed"


def test_a_rejection_says_why(finished_run: str, services: Services) -> None:
    services.decide(finished_run, "Ada", "auditor", "propose")
    with pytest.raises(FairQuantError, match="Comment"):
        services.decide(finished_run, "Kwame", "clinician", "reject")


def test_an_approval_can_be_withdrawn(approved: str, services: Services) -> None:
    assert not services.decide(approved, "Kwame", "clinician", "withdraw").may_export
    with pytest.raises(NotApproved, match="withdrawn"):
        services.export(approved)


Tamper = Callable[[Services, str], None]


def _artefact(name: str) -> Tamper:
    def change(services: Services, run_id: str) -> None:
        path = services._artefacts.path(str(services.run(run_id).result_hash), name)
        content = bytearray(path.read_bytes())
        content[len(content) // 2] ^= 1
        path.write_bytes(content)

    return change


def _classifier(services: Services, run_id: str) -> None:
    case = services._cases.row(services.run(run_id).case_id)
    path = services._artefacts.path(str(case.classifier_hash), "classifier.safetensors")
    path.write_bytes(path.read_bytes() + b"x")


def _image(services: Services, run_id: str) -> None:
    cohort = services._cases.cohort(services.run(run_id).case_id)
    path = cohort.root / cohort.table["file"].iloc[0]
    path.write_bytes(path.read_bytes() + b"x")


def _sql(statement: str) -> Tamper:
    def change(services: Services, run_id: str) -> None:
        connection = sqlite3.connect(services.settings.data_folder / "store.sqlite3")
        with connection:
            connection.execute(statement)
        connection.close()

    return change


TAMPERS: dict[str, Tamper] = {
    "model": _artefact("model.safetensors"),
    "predictions": _artefact("predictions.parquet"),
    "audit": _artefact("audit.json"),
    "plan": _artefact("plan.json"),
    "manifest": _artefact("manifest.json"),
    "classifier": _classifier,
    "image of the cohort": _image,
    "limits": _sql("UPDATE cases SET limits = replace(limits, '0.45', '0.9')"),
    "withdrawal erased": _sql("DELETE FROM reviews WHERE decision = 'propose'"),
    "override invented": _sql("UPDATE reviews SET override = 'fine' WHERE decision = 'approve'"),
}


@pytest.mark.parametrize("tamper", TAMPERS.values(), ids=TAMPERS.keys())
def test_any_change_stops_the_export(approved: str, services: Services, tamper: Tamper) -> None:
    tamper(services, approved)
    with pytest.raises(NotApproved):
        services.export(approved)
    assert (
        not list(services.settings.exports.glob("*"))
        if services.settings.exports.exists()
        else True
    )


def test_a_changed_file_voids_on_every_page(approved: str, services: Services) -> None:
    TAMPERS["model"](services, approved)
    view = services.review(approved)
    assert (view.state, view.may_export) == (ReviewState.VOID, False)
    assert "the packed model changed" in view.why_not
    assert services.run(approved).review_state == ReviewState.VOID
    assert [run.id for run in services.inbox().awaiting_review] == [approved]
    with pytest.raises(FairQuantError, match="not what the run wrote"):
        services.decide(approved, "Ada", "auditor", "propose")


def test_a_decision_written_into_the_database_does_not_count(
    finished_run: str, services: Services
) -> None:
    """Somebody turns a proposal into an approval with an SQL tool."""
    services.decide(finished_run, "Ada", "auditor", "propose")
    _sql("UPDATE reviews SET decision = 'approve', person = 'Kwame'")(services, finished_run)
    with pytest.raises(NotApproved, match="not those in the log"):
        services.export(finished_run)


def test_a_tampered_log_stops_every_export(approved: str, services: Services) -> None:
    _sql("DROP TRIGGER audit_log_no_update")(services, approved)
    _sql("UPDATE audit_log SET person = 'Mallory' WHERE action = 'approve'")(services, approved)
    assert services.verify_log()
    with pytest.raises(NotApproved, match="tampered"):
        services.export(approved)


def test_two_people_deciding_at_once_cannot_both_win(checked_run: str, services: Services) -> None:
    services.decide(checked_run, "Ada", "auditor", "propose")
    shown = services.review(checked_run).hashes
    outcomes: list[str] = []

    def act(person: str, decision: str) -> None:
        own = open_services(services.settings)
        try:
            own.decide(checked_run, person, "clinician", decision, "Now.", seen=shown)
            outcomes.append(decision)
        except FairQuantError:
            outcomes.append("refused")

    threads = [
        threading.Thread(target=act, args=("Kwame", "reject")),
        threading.Thread(target=act, args=("Lin", "approve")),
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(outcomes).count("refused") == 1
    assert len(services.review(checked_run).decisions) == 2
    assert services.verify_log() == []


def test_an_unapproved_run_never_exports(finished_run: str, services: Services) -> None:
    with pytest.raises(NotApproved, match="proposed"):
        services.export(finished_run)
    assert "export" not in services.audit_log()["action"].tolist()


def test_a_withdrawal_cannot_be_hidden_by_removing_what_remembers_it(
    approved: str, services: Services
) -> None:
    """Its entry, its row and the head of the log are gone; then the log simply goes on."""
    services.decide(approved, "Kwame", "clinician", "withdraw")
    _sql("DROP TRIGGER audit_log_no_delete")(services, approved)
    _sql("DELETE FROM reviews WHERE decision = 'withdraw'")(services, approved)
    _sql("DELETE FROM audit_log WHERE action = 'withdraw'")(services, approved)
    (services.settings.data_folder / "audit_log.head").unlink()
    for _ in range(3):
        assert any("audit_log.head is missing" in text for text in services.verify_log())
        with pytest.raises(NotApproved, match=r"tampered.*audit_log.head is missing"):
            services.export(approved)
        services._log.record("case created", "another case")
